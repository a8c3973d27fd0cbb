// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Parameters, Phase, RoundInfo, ScoreLeaf } from "./Types.sol";
import { IContributionRegistry } from "./interfaces/IContributionRegistry.sol";
import { IDataDAO } from "./interfaces/IDataDAO.sol";
import { IRewardPool } from "./interfaces/IRewardPool.sol";
import { IScoringRounds } from "./interfaces/IScoringRounds.sol";
import { IValidatorSet } from "./interfaces/IValidatorSet.sol";
import { AttestationLib } from "./libraries/AttestationLib.sol";
import { ATTESTED, Ballot, BallotLib, CHARGED, COMMITTED, EQUIVOCATED, REPORTED } from "./libraries/BallotLib.sol";
import { BitmapLib } from "./libraries/BitmapLib.sol";
import { LeafLib } from "./libraries/LeafLib.sol";
import { Round, RoundLib } from "./libraries/RoundLib.sol";
import { SignatureLib } from "./libraries/SignatureLib.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { MerkleProof } from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title ScoringRounds
/// @notice The life of a round, its quorum and its faults.
contract ScoringRounds is IScoringRounds, EIP712 {
    using BallotLib for Ballot;
    using BitmapLib for bytes;
    using RoundLib for Round;
    using SafeCast for uint256;
    using SignatureLib for address;

    /* CONSTANTS */

    /// @notice Largest backup of a commit, bytes.
    uint256 public constant MAX_BACKUP = 512;
    /// @notice Blocks between closing and the block whose hash gives the seed.
    uint256 public constant SEED_DELAY = 2;

    uint256 private constant BPS = 10_000;

    // Statuses for which the deposit is forfeited: undecryptable, replayed, malformed, oversized.
    uint8 private constant FIRST_FORFEIT = 4;
    uint8 private constant LAST_FORFEIT = 7;

    /* IMMUTABLES */

    /// @inheritdoc IScoringRounds
    IDataDAO public immutable dao;
    /// @inheritdoc IScoringRounds
    IContributionRegistry public immutable registry;
    /// @inheritdoc IScoringRounds
    IValidatorSet public immutable validators;
    /// @inheritdoc IScoringRounds
    IRewardPool public immutable pool;

    /* STORAGE */

    // What a submission needs of the open round, in one slot. `fullAt` is the first id that the round does not take.
    struct OpenRound {
        uint64 round;
        uint64 fullAt;
        uint128 deposit;
    }

    struct Score {
        uint64 round;
        uint8 status;
        uint128 payable_;
        int128 raw;
        uint128 stderr_;
    }

    OpenRound private _open;
    mapping(uint64 round => Round) private _rounds;
    mapping(uint64 round => mapping(uint32 attempt => mapping(address operator => Ballot))) private _ballots;
    mapping(uint64 round => mapping(uint32 attempt => bool)) private _blamed;
    mapping(bytes32 digest => uint256 weight) private _weightOn;
    mapping(uint64 id => Score) private _scores;

    /* CONSTRUCTOR */

    constructor(IDataDAO dao_, IContributionRegistry registry_, IValidatorSet validators_, IRewardPool pool_)
        EIP712("Proof of Contribution", "1")
    {
        require(address(dao_) != address(0) && address(registry_) != address(0), ZeroAddress());
        require(address(validators_) != address(0) && address(pool_) != address(0), ZeroAddress());

        dao = dao_;
        registry = registry_;
        validators = validators_;
        pool = pool_;
    }

    /* OPENING AND CLOSING */

    /// @inheritdoc IScoringRounds
    function open() external {
        require(_open.round == 0, AlreadyOpened());
        require(dao.manifestVersion() != 0 && dao.keyEpoch() != 0, DaoNotReady());

        _openRound(1, 1);
    }

    /// @inheritdoc IScoringRounds
    function close() external {
        uint64 id = _open.round;
        Round storage round = _rounds[id];
        require(id != 0, WrongPhase(id, Phase.None));
        require(id == 1 || _rounds[id - 1].isSettled(), PreviousUnsettled(id - 1));
        uint64 nextId = registry.count() + 1;
        require(nextId > round.firstId, EmptyRound(id));
        Parameters memory p = dao.parametersAt(round.parametersVersion);
        uint64 until = uint64(round.openedAt) + p.openSeconds;
        require(block.timestamp >= until || nextId >= _open.fullAt, StillOpen(id, until));
        uint256 totalWeight = validators.totalWeight();
        require(totalWeight != 0, NoWeight());

        // Every earlier round is settled, so what is available now stays available until this one is.
        uint256 available = pool.available();
        uint256 budget = Math.min(p.roundBudget, available);
        round.status = Phase.Closed;
        round.endId = Math.min(nextId, _open.fullAt).toUint64();
        round.closedAt = block.timestamp.toUint40();
        round.seedBlock = (block.number + SEED_DELAY).toUint40();
        round.totalWeight = totalWeight.toUint128();
        round.pool = budget.toUint128();
        round.fee = Math.min(p.validatorFee, available - budget).toUint128();
        round.earnedBefore = pool.earnedTotal();

        emit RoundClosed(id, round.firstId, round.endId, round.pool, totalWeight, round.seedBlock);
        _openRound(id + 1, round.endId);
    }

    /// @inheritdoc IScoringRounds
    function drawSeed(uint64 id) external {
        Round storage round = _rounds[id];
        _requirePhase(id, Phase.Closed);
        require(block.number > round.seedBlock, SeedNotReady(round.seedBlock));

        bytes32 beacon = blockhash(round.seedBlock);
        if (beacon == 0) {
            round.seedBlock = (block.number + SEED_DELAY).toUint40();

            emit SeedRearmed(id, round.seedBlock);
            return;
        }

        bytes32 seed = keccak256(abi.encode(block.chainid, address(this), id, round.manifest, beacon));
        round.seed = seed;
        round.start(1, dao.parametersAt(round.parametersVersion));

        emit SeedDrawn(id, seed, beacon, round.reportDeadline, round.commitDeadline, round.attestDeadline);
    }

    /* REPORT, COMMIT, ATTEST */

    /// @inheritdoc IScoringRounds
    function reportAvailability(uint64 id, bytes calldata bitmap) external {
        Round storage round = _rounds[id];
        _requirePhase(id, Phase.Reporting);
        uint32 attempt = round.attempt;
        Ballot storage vote = _ballots[id][attempt][msg.sender];
        require(vote.marks & REPORTED == 0, AlreadyReported(id, attempt, msg.sender));
        bitmap.requireCanonical(round.endId - round.firstId);
        uint88 weight = _enrol(vote, id);

        vote.marks |= REPORTED;
        vote.answer = keccak256(bitmap);
        uint128 reported = round.reportedWeight + weight;
        round.reportedWeight = reported;
        if (reported == round.totalWeight) round.status = Phase.Committing;

        emit AvailabilityReported(id, attempt, msg.sender, weight, bitmap);
    }

    /// @inheritdoc IScoringRounds
    function commit(uint64 id, bytes32 commitHash, bytes calldata backup) external {
        Round storage round = _rounds[id];
        _requirePhase(id, Phase.Committing);
        require(commitHash != 0, ZeroCommit());
        require(backup.length <= MAX_BACKUP, BackupSize(backup.length, MAX_BACKUP));
        uint32 attempt = round.attempt;
        Ballot storage vote = _ballots[id][attempt][msg.sender];
        require(vote.marks & COMMITTED == 0, AlreadyCommitted(id, attempt, msg.sender));
        uint88 weight = _enrol(vote, id);

        vote.marks |= COMMITTED;
        vote.answer = commitHash;
        uint128 committed = round.committedWeight + weight;
        round.committedWeight = committed;
        if (committed == round.totalWeight) round.status = Phase.Attesting;

        emit Committed(id, attempt, msg.sender, commitHash, backup);
    }

    /// @inheritdoc IScoringRounds
    function attest(Attestation calldata attestation, bytes32 salt, address operator, bytes calldata signature)
        external
    {
        Round storage round = _rounds[attestation.round];
        // `require` would work out the phase on every call: its arguments are evaluated first.
        if (!round.takesAttestations()) revert WrongPhase(attestation.round, round.phase());
        round.requireConsistent(attestation);
        bytes32 digest = attestationDigest(attestation);
        Ballot storage vote = _ballots[attestation.round][attestation.attempt][operator];
        vote.requireCommitted(attestation, operator, digest, salt);
        vote.signer.requireSigned(digest, signature);

        _count(round, vote, digest);

        emit Attested(attestation.round, attestation.attempt, operator, digest, signature, attestation);
    }

    /* ENDING */

    /// @inheritdoc IScoringRounds
    function finalise(Attestation calldata attestation) external {
        uint64 id = attestation.round;
        Round storage round = _rounds[id];
        if (!round.isRunning()) revert WrongPhase(id, round.phase());
        require(attestation.attempt == round.attempt, WrongAttempt(id, attestation.attempt, round.attempt));
        bytes32 digest = attestationDigest(attestation);
        (uint256 weight, uint256 total) = (_weightOn[digest], round.totalWeight);
        require(RoundLib.isQuorum(weight, total), NoQuorum(digest, weight, total));

        round.status = Phase.Finalised;
        round.digest = digest;
        round.scoresRoot = attestation.scoresRoot;
        round.evidence = attestation.evidence;

        emit RoundFinalised(id, attestation.attempt, digest, attestation);

        pool.finalise(attestation.earningsRoot, attestation.earnedTotal, id, round.fee);
    }

    /// @inheritdoc IScoringRounds
    function retry(uint64 id) external {
        Round storage round = _rounds[id];
        _requirePhase(id, Phase.Stalled);
        uint32 attempt = round.attempt;
        if (round.blamesUnrevealed()) _blamed[id][attempt] = true;

        Parameters memory p = dao.parametersAt(round.parametersVersion);
        if (attempt >= p.maxAttempts) return _abandon(id, round);

        (round.reportedWeight, round.committedWeight, round.attestedWeight) = (0, 0, 0);
        round.start(attempt + 1, p);

        emit RoundRetried(id, attempt + 1, round.reportDeadline, round.commitDeadline, round.attestDeadline);
    }

    /* FAULTS */

    /// @inheritdoc IScoringRounds
    function proveEquivocation(
        address operator,
        Attestation calldata a,
        bytes calldata signatureA,
        Attestation calldata b,
        bytes calldata signatureB
    ) external {
        Round storage round = _rounds[a.round];
        require(a.attempt != 0 && a.attempt <= round.attempt, UnknownAttempt(a.round, a.attempt));
        (bytes32 digestA, bytes32 digestB) = (attestationDigest(a), attestationDigest(b));
        require(a.round == b.round && a.attempt == b.attempt && digestA != digestB, NoEquivocation());
        Ballot storage vote = _ballots[a.round][a.attempt][operator];
        require(vote.marks & EQUIVOCATED == 0, AlreadyProven(a.round, a.attempt, operator));
        address signer = vote.signer == address(0) ? validators.signerOf(operator) : vote.signer;
        signer.requireSigned(digestA, signatureA);
        signer.requireSigned(digestB, signatureB);

        vote.marks |= EQUIVOCATED;

        emit EquivocationProven(a.round, a.attempt, operator, msg.sender);

        _slashShare(operator, round);
    }

    /// @inheritdoc IScoringRounds
    function chargeUnrevealed(uint64 id, uint32 attempt, address operator) external {
        Round storage round = _rounds[id];
        Ballot storage vote = _ballots[id][attempt][operator];
        bool blamed = attempt == round.attempt ? round.blamesUnrevealed() : _blamed[id][attempt];
        require(blamed && vote.owesReveal(), NothingToCharge(id, attempt, operator));

        vote.marks |= CHARGED;

        uint256 fee = dao.parametersAt(round.parametersVersion).unrevealedFee;
        uint256 taken = validators.slash(operator, fee, msg.sender, round.reporterBps);

        emit CommitUnrevealed(id, attempt, operator, taken);
    }

    /* SCORES */

    /// @inheritdoc IScoringRounds
    function recordScore(uint64 id, ScoreLeaf calldata leaf, bytes32[] calldata proof) external {
        require(_scores[leaf.id].round == 0, AlreadyRecorded(leaf.id));
        require(verifyScore(id, leaf, proof), InvalidScore(id, leaf.id));

        _scores[leaf.id] = Score(id, leaf.status, leaf.payable_, leaf.raw, leaf.stderr_);

        emit ScoreRecorded(id, leaf.id, leaf);

        registry.settle(leaf.id, leaf.status >= FIRST_FORFEIT && leaf.status <= LAST_FORFEIT);
    }

    /// @inheritdoc IScoringRounds
    function reclaimDeposit(uint64 id, uint64 contributionId) external {
        Round storage round = _rounds[id];
        require(_isReclaimable(round, contributionId), DepositHeld(id, contributionId));

        registry.settle(contributionId, false);
    }

    /// @inheritdoc IScoringRounds
    function verifyScore(uint64 id, ScoreLeaf calldata leaf, bytes32[] calldata proof) public view returns (bool) {
        Round storage round = _rounds[id];
        if (round.status != Phase.Finalised || leaf.id < round.firstId || leaf.id >= round.endId) return false;

        return MerkleProof.verifyCalldata(proof, round.scoresRoot, LeafLib.score(leaf));
    }

    /// @inheritdoc IScoringRounds
    function scoreOf(uint64 contributionId) external view returns (uint64 round, ScoreLeaf memory leaf) {
        Score storage score = _scores[contributionId];
        round = score.round;
        require(round != 0, NotRecorded(contributionId));

        address contributor = registry.contribution(contributionId).contributor;
        leaf = ScoreLeaf(contributionId, contributor, score.status, score.payable_, score.raw, score.stderr_);
    }

    /* VIEWS */

    /// @inheritdoc IScoringRounds
    function currentRound() external view returns (uint64) {
        return _open.round;
    }

    /// @inheritdoc IScoringRounds
    function phase(uint64 id) public view returns (Phase) {
        return _rounds[id].phase();
    }

    /// @inheritdoc IScoringRounds
    function roundInfo(uint64 id) external view returns (RoundInfo memory) {
        Round storage round = _rounds[id];
        return RoundInfo({
            phase: round.phase(),
            attempt: round.attempt,
            firstId: round.firstId,
            endId: round.endId,
            manifest: round.manifest,
            seed: round.seed,
            seedBlock: round.seedBlock,
            openedAt: round.openedAt,
            closedAt: round.closedAt,
            reportDeadline: round.reportDeadline,
            commitDeadline: round.commitDeadline,
            attestDeadline: round.attestDeadline,
            pool: round.pool,
            totalWeight: round.totalWeight,
            reportedWeight: round.reportedWeight,
            committedWeight: round.committedWeight,
            attestedWeight: round.attestedWeight,
            digest: round.digest,
            scoresRoot: round.scoresRoot,
            evidence: round.evidence
        });
    }

    /// @inheritdoc IScoringRounds
    function parametersOf(uint64 id) external view returns (Parameters memory) {
        return id == 0 ? dao.parameters() : dao.parametersAt(_rounds[id].parametersVersion);
    }

    /// @inheritdoc IScoringRounds
    function submissionTerms() external view returns (uint64 round, uint64 fullAt, uint128 deposit) {
        return (_open.round, _open.fullAt, _open.deposit);
    }

    /// @inheritdoc IScoringRounds
    function attestationDigest(Attestation calldata attestation) public view returns (bytes32) {
        return _hashTypedDataV4(AttestationLib.structHash(attestation));
    }

    /// @inheritdoc IScoringRounds
    function ballot(uint64 id, uint32 attempt, address operator)
        external
        view
        returns (bool reported, bytes32 commitHash, bytes32 digest)
    {
        Ballot storage vote = _ballots[id][attempt][operator];
        uint8 marks = vote.marks;
        reported = marks & REPORTED != 0;
        if (marks & ATTESTED != 0) digest = vote.answer;
        else if (marks & COMMITTED != 0) commitHash = vote.answer;
    }

    /// @inheritdoc IScoringRounds
    function weightOn(bytes32 digest) external view returns (uint256) {
        return _weightOn[digest];
    }

    /// @inheritdoc IScoringRounds
    function feeTerms(uint64 id, address operator)
        external
        view
        returns (uint256 fee, uint256 weight, uint256 matched, uint256 total)
    {
        Round storage round = _rounds[id];
        bool settled = round.status == Phase.Finalised && block.timestamp > round.attestDeadline;
        require(settled, FeesNotSettled(id));

        Ballot storage vote = _ballots[id][round.attempt][operator];
        return (round.fee, vote.attested(round.digest) ? vote.weight : 0, _weightOn[round.digest], round.totalWeight);
    }

    /// @inheritdoc IScoringRounds
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /* INTERNAL */

    function _openRound(uint64 id, uint64 firstId) private {
        uint32 version = dao.parametersVersion();
        Parameters memory p = dao.parametersAt(version);
        Round storage round = _rounds[id];
        round.status = Phase.Open;
        round.manifest = dao.manifest(dao.manifestVersion());
        round.firstId = firstId;
        round.openedAt = block.timestamp.toUint40();
        round.parametersVersion = version;
        (round.slashBps, round.reporterBps) = (p.slashBps, p.reporterBps);
        _open = OpenRound({ round: id, fullAt: firstId + p.maxContributions, deposit: p.deposit });

        emit RoundOpened(id, round.manifest);
    }

    /// The open round takes over the abandoned one's contributions. It may be overfull by that, and then closes over as
    /// many as it takes and leaves the rest to its successor.
    function _abandon(uint64 id, Round storage round) private {
        Round storage next = _rounds[id + 1];
        _open.fullAt -= next.firstId - round.firstId;
        next.firstId = round.firstId;
        round.status = Phase.Abandoned;

        emit RoundAbandoned(id);
    }

    function _slashShare(address operator, Round storage round) private {
        uint256 amount = validators.stakeOf(operator) * round.slashBps / BPS;
        validators.slash(operator, amount, msg.sender, round.reporterBps);
    }

    function _requirePhase(uint64 id, Phase expected) private view {
        Phase current = phase(id);
        require(current == expected, WrongPhase(id, current));
    }

    /// Gives the ballot, and its weight, to a digest.
    function _count(Round storage round, Ballot storage vote, bytes32 digest) private {
        uint88 weight = vote.weight;
        uint256 onDigest = _weightOn[digest] + weight;
        vote.marks |= ATTESTED;
        vote.answer = digest;
        _weightOn[digest] = onDigest;
        round.attestedWeight += weight;
        if (RoundLib.isQuorum(onDigest, round.totalWeight)) round.quorum = true;
    }

    /// Notes the caller's weight and signing address in its ballot, unless they are there, and returns the weight.
    function _enrol(Ballot storage vote, uint64 id) private returns (uint88 weight) {
        weight = vote.weight;
        if (weight != 0) return weight;

        weight = validators.weightAt(msg.sender, id).toUint88();
        require(weight != 0, NoWeightInRound(id, msg.sender));
        (vote.signer, vote.weight) = (validators.signerOf(msg.sender), weight);
    }

    function _isReclaimable(Round storage round, uint64 contributionId) private view returns (bool) {
        Phase status = round.status;
        if (contributionId < round.firstId) return false;
        if (status == Phase.Open) return validators.totalWeight() == 0;
        if (contributionId >= round.endId) return false;
        if (status == Phase.Abandoned) return true;

        uint256 grace = dao.parametersAt(round.parametersVersion).exitSeconds;
        return status == Phase.Finalised && block.timestamp > round.attestDeadline + grace;
    }
}
