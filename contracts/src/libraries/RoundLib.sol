// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Phase } from "../Types.sol";

/// @notice A round as it is stored, packed by who reads it together. `status` is None, Open, Closed, Reporting (for any
/// phase between the seed draw and the end), Finalised or Abandoned.
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

/// @notice How far a validator has come in an attempt.
enum Stage {
    None,
    Committed,
    Attested
}

/// @notice What a validator did in one attempt of one round. `answer` is a word that each step overwrites, which is what
/// keeps a round cheap: the hash of the reported bitmap, then the commit, then the digest of the attestation.
struct Ballot {
    uint128 weight;
    bool reported;
    Stage stage;
    bool equivocated;
    bool charged;
    // ---
    bytes32 answer;
}

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
    function phase(Round storage round) internal view returns (Phase) {
        Phase status = round.status;
        if (status != Phase.Reporting) return status;
        if (round.quorum) return Phase.Attesting;

        uint256 total = round.totalWeight;
        uint256 committed = round.committedWeight;
        if (block.timestamp <= round.reportDeadline && round.reportedWeight < total) return Phase.Reporting;
        if (block.timestamp <= round.commitDeadline && committed < total) return Phase.Committing;

        bool open = block.timestamp <= round.attestDeadline && round.attestedWeight < committed;
        return open && isQuorum(committed, total) ? Phase.Attesting : Phase.Stalled;
    }

    /// @notice Whether attestations are taken: in the attesting phase, and of late validators after quorum.
    function takesAttestations(Round storage round) internal view returns (bool) {
        if (block.timestamp > round.attestDeadline) return false;
        Phase current = phase(round);
        return current == Phase.Attesting || current == Phase.Finalised;
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
