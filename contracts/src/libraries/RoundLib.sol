// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Parameters, Phase } from "../Types.sol";
import { IScoringRounds } from "../interfaces/IScoringRounds.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @notice A round as it is stored, packed by what is read together. `status` is never Stalled; Reporting and Committing
/// move on by the clock too, and then the word is not rewritten.
struct Round {
    Phase status;
    /// One digest holds quorum in this attempt.
    bool quorum;
    uint32 attempt;
    uint40 reportDeadline;
    uint40 commitDeadline;
    uint40 attestDeadline;
    uint40 seedBlock;
    uint16 slashBps;
    uint16 reporterBps;
    // ---
    uint128 reportedWeight;
    uint128 committedWeight;
    // ---
    uint128 attestedWeight;
    uint128 totalWeight;
    // --- what contributors can earn in this round, and what they had earned before it
    uint128 pool;
    uint128 earnedBefore;
    // ---
    bytes32 manifest;
    bytes32 seed;
    // ---
    uint64 firstId;
    uint64 endId;
    uint40 openedAt;
    uint40 closedAt;
    uint32 parametersVersion;
    // ---
    uint128 fee;
    // --- set when it is finalised
    bytes32 digest;
    bytes32 scoresRoot;
    bytes32 evidence;
}

/// @title RoundLib
/// @notice The clock of a round, its quorum, and what an attestation of it must say.
library RoundLib {
    using SafeCast for uint256;

    /// @notice Begins an attempt, whose deadlines count from now.
    function start(Round storage round, uint32 attempt, Parameters memory p) internal {
        uint256 reportDeadline = block.timestamp + p.reportSeconds;
        uint256 commitDeadline = reportDeadline + p.commitSeconds;

        round.status = Phase.Reporting;
        round.attempt = attempt;
        round.reportDeadline = reportDeadline.toUint40();
        round.commitDeadline = commitDeadline.toUint40();
        round.attestDeadline = (commitDeadline + p.attestSeconds).toUint40();
    }

    /// @notice Reverts unless the attestation is of this attempt, under the round's manifest and seed, and pays no more
    /// than the round offers. Amounts are checked here and not by the pool alone: a quorum that the pool refuses could be
    /// neither finalised nor retried.
    function requireConsistent(Round storage round, Attestation calldata a) internal view {
        require(a.attempt == round.attempt, IScoringRounds.WrongAttempt(a.round, a.attempt, round.attempt));
        require(a.manifest == round.manifest, IScoringRounds.WrongManifest(a.manifest, round.manifest));
        require(a.seed == round.seed, IScoringRounds.WrongSeed(a.seed, round.seed));
        require(a.roundTotal <= round.pool, IScoringRounds.PoolExceeded(a.roundTotal, round.pool));
        uint256 earned = uint256(round.earnedBefore) + a.roundTotal;
        require(a.earnedTotal == earned, IScoringRounds.WrongEarnedTotal(a.earnedTotal, earned));
    }

    /// @notice Whether nothing of the round can change any more, fees and faults apart.
    function isSettled(Round storage round) internal view returns (bool) {
        Phase status = round.status;
        return status == Phase.Finalised || status == Phase.Abandoned;
    }

    /// @notice The phase of a round now.
    ///
    ///   seed draw or retry        reportDeadline        commitDeadline        attestDeadline
    ///        |------ Reporting -------|----- Committing ----|----- Attesting -----|--- Stalled ...
    ///
    /// A phase ends early when all weight has acted. `Attesting` lasts, past its deadline too, while a digest holds quorum
    /// and waits to be finalised. `Stalled` begins early where no quorum can be reached any more: too little weight has
    /// committed, or every commit has been revealed.
    function phase(Round storage round) internal view returns (Phase current) {
        current = round.status;
        if (current == Phase.Reporting && block.timestamp > round.reportDeadline) current = Phase.Committing;
        if (current == Phase.Committing && block.timestamp > round.commitDeadline) current = Phase.Attesting;
        if (current == Phase.Attesting && !round.quorum && isHopeless(round)) current = Phase.Stalled;
    }

    /// @notice Whether attestations are taken: when commits are over, and of late validators after quorum.
    function takesAttestations(Round storage round) internal view returns (bool) {
        Phase status = round.status;
        if (block.timestamp > round.attestDeadline) return false;
        if (status == Phase.Attesting || status == Phase.Finalised) return true;

        return isRunning(round) && block.timestamp > round.commitDeadline;
    }

    /// @notice Whether an attempt is under way or has stalled: the seed is drawn and the round is not settled.
    function isRunning(Round storage round) internal view returns (bool) {
        Phase status = round.status;
        return status == Phase.Reporting || status == Phase.Committing || status == Phase.Attesting;
    }

    /// @notice Whether an attempt whose commits are over, and that has no quorum, will have none.
    function isHopeless(Round storage round) internal view returns (bool) {
        uint256 committed = round.committedWeight;
        return block.timestamp > round.attestDeadline || !isQuorum(committed, round.totalWeight)
            || round.attestedWeight == committed;
    }

    /// @notice Whether commits of the current attempt that were not revealed are faults: their time is over, and enough
    /// had committed for a quorum, so that revealing made sense.
    function blamesUnrevealed(Round storage round) internal view returns (bool) {
        return block.timestamp > round.attestDeadline && isQuorum(round.committedWeight, round.totalWeight);
    }

    /// @notice Whether `weight` is more than two thirds of `total`.
    function isQuorum(uint256 weight, uint256 total) internal pure returns (bool) {
        return weight * 3 > total * 2;
    }
}
