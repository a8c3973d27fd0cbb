// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Parameters, Phase, RoundInfo, ScoreLeaf } from "../Types.sol";
import { IContributionRegistry } from "./IContributionRegistry.sol";
import { IDataDAO } from "./IDataDAO.sol";
import { IRewardPool } from "./IRewardPool.sol";
import { IValidatorSet } from "./IValidatorSet.sol";

/// @title The rounds
/// @notice The life of a round: it closes over a range of contributions, draws a seed, and the validators report which
/// contents they hold, commit to an attestation, and reveal it. Equal attestations of more than two thirds of the weight
/// finalise it. A round that stalls is retried by anybody and at last abandoned, and then its contributions and its pool
/// go to the next one. This is the entry contract: all others are read from it.
/// @dev Times are Unix seconds; a deadline is the last second at which an act is taken. Rounds, ids and attempts count
/// from 1. At most one round, the one before the open round, is closed and not settled (finalised or abandoned).
interface IScoringRounds {
    /* EVENTS */

    /// @notice A round takes contributions, under the latest parameters and this manifest.
    event RoundOpened(uint64 indexed round, bytes32 manifest);
    /// @notice A round holds the contributions [firstId, endId); `pool` is what they can earn together.
    event RoundClosed(
        uint64 indexed round, uint64 firstId, uint64 endId, uint128 pool, uint256 totalWeight, uint64 seedBlock
    );
    /// @notice The hash of the seed block was out of reach: the seed comes from this block.
    event SeedRearmed(uint64 indexed round, uint64 seedBlock);
    /// @notice The first attempt began.
    event SeedDrawn(
        uint64 indexed round,
        bytes32 seed,
        bytes32 beacon,
        uint64 reportDeadline,
        uint64 commitDeadline,
        uint64 attestDeadline
    );
    /// @notice An operator holds the contributions of the bitmap, with its weight in this round.
    event AvailabilityReported(
        uint64 indexed round, uint32 attempt, address indexed operator, uint256 weight, bytes bitmap
    );
    /// @notice An operator committed to an attestation.
    event Committed(uint64 indexed round, uint32 attempt, address indexed operator, bytes32 commitHash, bytes backup);
    /// @notice An operator revealed its attestation, signed by its signing key.
    event Attested(
        uint64 indexed round,
        uint32 attempt,
        address indexed operator,
        bytes32 digest,
        bytes signature,
        Attestation attestation
    );
    /// @notice An attestation is final.
    event RoundFinalised(uint64 indexed round, uint32 attempt, bytes32 digest, Attestation attestation);
    /// @notice The next attempt began, with the same seed.
    event RoundRetried(
        uint64 indexed round, uint32 attempt, uint64 reportDeadline, uint64 commitDeadline, uint64 attestDeadline
    );
    /// @notice The last attempt stalled; contributions and pool go to the open round.
    event RoundAbandoned(uint64 indexed round);
    /// @notice An operator signed two attestations for one attempt.
    event EquivocationProven(uint64 indexed round, uint32 attempt, address indexed operator, address indexed reporter);
    /// @notice An operator was charged `fee` for a commit that it did not reveal.
    event CommitUnrevealed(uint64 indexed round, uint32 attempt, address indexed operator, uint256 fee);
    /// @notice A score was recorded, and the deposit settled.
    event ScoreRecorded(uint64 indexed round, uint64 indexed id, ScoreLeaf leaf);

    /* ERRORS */

    /// @notice An address that must not be zero is zero.
    error ZeroAddress();
    /// @notice The first round has been opened.
    error AlreadyOpened();
    /// @notice The DAO has published no manifest or no key epoch yet.
    error DaoNotReady();
    /// @notice The round is not in a phase that allows this.
    error WrongPhase(uint64 round, Phase phase);
    /// @notice The round stays open until then, or until it is full.
    error StillOpen(uint64 round, uint64 until);
    /// @notice The round has no contribution.
    error EmptyRound(uint64 round);
    /// @notice The round before must be finalised or abandoned first.
    error PreviousUnsettled(uint64 round);
    /// @notice No validator has weight: nobody could score the round.
    error NoWeight();
    /// @notice The block that gives the seed has not been passed.
    error SeedNotReady(uint64 seedBlock);
    /// @notice The caller has no weight in this round.
    error NoWeightInRound(uint64 round, address operator);
    /// @notice The caller has reported in this attempt.
    error AlreadyReported(uint64 round, uint32 attempt, address operator);
    /// @notice The caller has committed in this attempt.
    error AlreadyCommitted(uint64 round, uint32 attempt, address operator);
    /// @notice The operator has attested in this attempt.
    error AlreadyAttested(uint64 round, uint32 attempt, address operator);
    /// @notice A commit must not be zero.
    error ZeroCommit();
    /// @notice The backup is larger than an answer and its salt can be.
    error BackupSize(uint256 size, uint256 limit);
    /// @notice Attestation and salt are not what the operator committed to, or it did not commit.
    error CommitMismatch(uint64 round, uint32 attempt, address operator);
    /// @notice The attestation is of another attempt.
    error WrongAttempt(uint64 round, uint32 given, uint32 current);
    /// @notice The attestation names another manifest than the round.
    error WrongManifest(bytes32 given, bytes32 expected);
    /// @notice The attestation names another seed than the round.
    error WrongSeed(bytes32 given, bytes32 expected);
    /// @notice The attestation pays out more than the round offers.
    error PoolExceeded(uint128 roundTotal, uint128 pool);
    /// @notice The lifetime total is not what was earned before plus the round's total.
    error WrongEarnedTotal(uint128 given, uint256 expected);
    /// @notice The signature is not of the operator's signing key.
    error WrongSigner(address recovered, address expected);
    /// @notice The attestation does not hold more than two thirds of the weight.
    error NoQuorum(bytes32 digest, uint256 weight, uint256 totalWeight);
    /// @notice The two attestations are not of the same round and attempt, or are equal.
    error NoEquivocation();
    /// @notice The round or the attempt has not begun.
    error UnknownAttempt(uint64 round, uint32 attempt);
    /// @notice This equivocation has been punished.
    error AlreadyProven(uint64 round, uint32 attempt, address operator);
    /// @notice The operator has nothing to be charged for in this attempt, or not yet, or has been.
    error NothingToCharge(uint64 round, uint32 attempt, address operator);
    /// @notice The leaf is not in the scores tree of this round, or its round is not finalised.
    error InvalidScore(uint64 round, uint64 id);
    /// @notice The score has been recorded.
    error AlreadyRecorded(uint64 id);
    /// @notice The score has not been recorded.
    error NotRecorded(uint64 id);
    /// @notice The deposit is held for a reason: the contribution is being scored, or its score can be recorded.
    error DepositHeld(uint64 round, uint64 id);
    /// @notice Fees are claimed of finalised rounds after their attest deadline.
    error FeesNotSettled(uint64 round);

    /* ROUND */

    /// @notice Opens the first round, once the DAO has a manifest and a key epoch.
    function open() external;

    /// @notice Closes the open round over the contributions it holds and opens the next.
    function close() external;

    /// @notice Draws the seed from the block hash fixed at closing, and starts the first attempt. Where that hash is out
    /// of reach (more than 256 blocks old), fixes a new block instead.
    function drawSeed(uint64 round) external;

    /// @notice Reports which contributions the caller has fetched and verified.
    /// @param bitmap ceil(n / 8) bytes; bit i (from the least significant of byte i / 8) is contribution firstId + i.
    function reportAvailability(uint64 round, bytes calldata bitmap) external;

    /// @notice Commits to an attestation.
    /// @param commitHash keccak256(abi.encode(chainid, this contract, round, attempt, operator, digest, salt)).
    /// @param backup At most 512 bytes for the caller itself, such as answer and salt encrypted; not stored.
    function commit(uint64 round, bytes32 commitHash, bytes calldata backup) external;

    /// @notice Reveals the attestation that `operator` committed to. Anybody may relay. Taken from the end of the commits
    /// until the attest deadline, after quorum too, so that nobody races for fees.
    /// @param signature Of the operator's signing key over `attestationDigest`, 65 bytes.
    function attest(Attestation calldata attestation, bytes32 salt, address operator, bytes calldata signature) external;

    /// @notice Makes final what more than two thirds of the weight attested. Possible until the round is finalised, after
    /// the attest deadline too.
    function finalise(Attestation calldata attestation) external;

    /// @notice Starts the next attempt of a stalled round, with the same seed, or abandons it after the last.
    function retry(uint64 round) external;

    /* FAULTS */

    /// @notice Slashes an operator that signed two different attestations for one attempt.
    function proveEquivocation(
        address operator,
        Attestation calldata a,
        bytes calldata signatureA,
        Attestation calldata b,
        bytes calldata signatureB
    ) external;

    /// @notice Charges an operator for a commit that it did not reveal by the attest deadline, though enough had committed
    /// for a quorum. The caller earns the reporter's share.
    function chargeUnrevealed(uint64 round, uint32 attempt, address operator) external;

    /* SCORES */

    /// @notice Records a score of a finalised round, once, and settles the deposit: statuses 4 to 7 forfeit it.
    function recordScore(uint64 round, ScoreLeaf calldata leaf, bytes32[] calldata proof) external;

    /// @notice Turns a deposit into credit of its payer where the contribution's score does not come: its round was
    /// abandoned; or was finalised, and nobody recorded the score for `exitSeconds`; or cannot close for want of weight.
    /// The contribution itself is scored nevertheless if it can be.
    /// @param round The round whose range holds the contribution.
    function reclaimDeposit(uint64 round, uint64 id) external;

    /// @notice Whether the leaf is in the scores tree of a finalised round.
    function verifyScore(uint64 round, ScoreLeaf calldata leaf, bytes32[] calldata proof) external view returns (bool);

    /// @notice The recorded score of a contribution, and the round that gave it.
    function scoreOf(uint64 id) external view returns (uint64 round, ScoreLeaf memory leaf);

    /* VIEWS */

    /// @notice The DAO.
    function dao() external view returns (IDataDAO);

    /// @notice The register of contributions.
    function registry() external view returns (IContributionRegistry);

    /// @notice The validator set.
    function validators() external view returns (IValidatorSet);

    /// @notice The reward pool.
    function pool() external view returns (IRewardPool);

    /// @notice The open round; 0 before the first.
    function currentRound() external view returns (uint64);

    /// @notice The phase of a round now.
    function phase(uint64 round) external view returns (Phase);

    /// @notice All about a round.
    function roundInfo(uint64 round) external view returns (RoundInfo memory);

    /// @notice The parameters of a round; for round 0, those that the first round will latch.
    function parametersOf(uint64 round) external view returns (Parameters memory);

    /// @notice What a submission needs to know: the open round, the first id that it does not take, and its deposit.
    function submissionTerms() external view returns (uint64 round, uint64 fullAt, uint128 deposit);

    /// @notice The EIP-712 digest of an attestation.
    function attestationDigest(Attestation calldata attestation) external view returns (bytes32);

    /// @notice What an operator did in an attempt. `commitHash` is zero again once it is revealed, and `digest` zero
    /// until then.
    function ballot(uint64 round, uint32 attempt, address operator)
        external
        view
        returns (bool reported, bytes32 commitHash, bytes32 digest);

    /// @notice The weight that attested a digest. The digest names round and attempt.
    function weightOn(bytes32 digest) external view returns (uint256);

    /// @notice What a fee is computed from, after the attest deadline of a finalised round: its fee, the operator's weight
    /// if it attested what the quorum did (else 0), the weight of all who did, and the total weight.
    function feeTerms(uint64 round, address operator)
        external
        view
        returns (uint256 fee, uint256 weight, uint256 matched, uint256 total);

    /// @notice The EIP-712 domain separator of attestations.
    function domainSeparator() external view returns (bytes32);
}
