// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

/// @notice Where a round stands. `Stalled` is derived from the clock and the weights, never stored.
enum Phase {
    None,
    Open,
    Closed,
    Reporting,
    Committing,
    Attesting,
    Finalised,
    Stalled,
    Abandoned
}

/// @notice What the DAO sets. A round keeps the parameters that held when it opened.
struct Parameters {
    /// Seconds a round stays open before it may be closed; a full round may be closed at once.
    uint32 openSeconds;
    /// Seconds of each phase, counted from the seed draw (or the retry), one after the other.
    uint32 reportSeconds;
    uint32 commitSeconds;
    uint32 attestSeconds;
    /// Contributions in one round.
    uint32 maxContributions;
    /// Stalled attempts after which a round is abandoned.
    uint32 maxAttempts;
    /// Seconds between the request to exit and the withdrawal of stake.
    uint32 exitSeconds;
    /// Share of the stake slashed for an equivocation, and share of any slashed amount that goes to the reporter.
    uint16 slashBps;
    uint16 reporterBps;
    /// Wei per submission.
    uint128 deposit;
    /// Reward-token units offered to the contributors of a round.
    uint128 roundBudget;
    /// Reward-token units offered to all validators of a round together, shared by weight.
    uint128 validatorFee;
    /// Stake-token units: least stake to join, most weight one validator can have.
    uint128 minStake;
    uint128 maxWeight;
    /// Stake-token units taken for a commit that was not revealed.
    uint128 unrevealedFee;
}

/// @notice One contribution. The content is known by the SHA-256 digest of its CIDv1.
struct Contribution {
    address contributor;
    /// The round in which it was submitted. An abandoned or overfull round hands it on to a later one.
    uint64 round;
    uint32 keyEpoch;
    bytes32 digest;
    /// Multicodec of the CID: 0 raw, 1 dag-pb.
    uint8 codec;
    /// Declared bytes.
    uint64 size;
    /// Wei still held; 0 once settled.
    uint128 deposit;
    /// Who paid the deposit and gets it back.
    address payer;
}

/// @notice One validator. The operator holds the stake and reports; the signer signs attestations.
struct Validator {
    address signer;
    /// X25519 public key to which the DAO wraps key epochs.
    bytes32 hpkeKey;
    uint128 stake;
    /// Weight in the round now open.
    uint128 weight;
    /// Unix time from which the stake can be withdrawn; 0 while no exit is requested.
    uint64 exitAt;
}

/// @notice What a validator signs for a round: EIP-712 type `ScoreAttestation`, fields in this order.
struct Attestation {
    uint64 round;
    uint32 attempt;
    bytes32 manifest;
    bytes32 seed;
    bytes32 inputsRoot;
    bytes32 scoresRoot;
    bytes32 earningsRoot;
    uint128 roundTotal;
    uint128 earnedTotal;
    uint32 count;
    bytes32 evidence;
}

/// @notice A leaf of the scores tree.
struct ScoreLeaf {
    uint64 id;
    address contributor;
    uint8 status;
    uint128 payable_;
    int128 raw;
    uint128 stderr_;
}

/// @notice A round as a reader sees it. Times are Unix seconds, `endId` is exclusive, `attempt` counts from 1.
struct RoundInfo {
    Phase phase;
    uint32 attempt;
    uint64 firstId;
    uint64 endId;
    bytes32 manifest;
    bytes32 seed;
    uint64 seedBlock;
    uint64 openedAt;
    uint64 closedAt;
    uint64 reportDeadline;
    uint64 commitDeadline;
    uint64 attestDeadline;
    uint128 pool;
    uint256 totalWeight;
    uint256 reportedWeight;
    uint256 committedWeight;
    uint256 attestedWeight;
    bytes32 digest;
    bytes32 scoresRoot;
    bytes32 evidence;
}
