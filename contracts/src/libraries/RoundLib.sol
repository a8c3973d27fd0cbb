// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Phase } from "../Types.sol";

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

/// @notice What a validator did in one attempt of one round, and what it was when it first did something. `answer` is a
/// word that each step overwrites, which is what keeps a round cheap: the hash of the reported bitmap, then the commit,
/// then the digest of the attestation.
struct Ballot {
    address signer;
    uint88 weight;
    /// The marks below.
    uint8 marks;
    // ---
    bytes32 answer;
}

uint8 constant REPORTED = 1;
uint8 constant COMMITTED = 2;
uint8 constant ATTESTED = 4;
uint8 constant CHARGED = 8;
uint8 constant EQUIVOCATED = 16;

/// @title RoundLib
/// @notice The clock of a round, and its quorum.
library RoundLib {
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
