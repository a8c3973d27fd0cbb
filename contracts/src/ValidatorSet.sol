// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Parameters, Phase, RoundInfo, Validator } from "./Types.sol";
import { IDataDAO } from "./interfaces/IDataDAO.sol";
import { IScoringRounds } from "./interfaces/IScoringRounds.sol";
import { IValidatorSet } from "./interfaces/IValidatorSet.sol";
import { ExactTransferLib } from "./libraries/ExactTransferLib.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import { EnumerableSet } from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

/// @title ValidatorSet
/// @notice Stake, keys and weight of the validators.
contract ValidatorSet is IValidatorSet, EIP712, ReentrancyGuardTransient {
    using EnumerableSet for EnumerableSet.AddressSet;
    using ExactTransferLib for IERC20;
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    uint256 private constant BPS = 10_000;
    uint256 private constant URL_LIMIT = 256;

    bytes32 private constant CONSENT_TYPEHASH = keccak256("SignerConsent(address operator)");

    /* IMMUTABLES */

    /// @notice The DAO that admits operators.
    IDataDAO public immutable dao;
    /// @notice The only caller that may slash, and the clock of weights.
    IScoringRounds public immutable rounds;
    /// @notice The stake token.
    IERC20 public immutable token;

    /* STORAGE */

    // At most one closed round is unsettled, and it is the one before the open round. So two weights are all that the
    // rounds can ask for: `weight` from round `changedIn` on, `previousWeight` in the round before that.
    struct Member {
        address signer;
        uint64 exitAt;
        // ---
        bytes32 hpkeKey;
        // ---
        uint88 weight;
        uint88 previousWeight;
        uint64 changedIn;
        // ---
        uint128 stake;
        /// Once leaving: the last round that counts the operator; 0 if none does.
        uint64 lastRound;
    }

    uint128 private _totalWeight;
    uint128 private _burned;
    mapping(address operator => Member) private _members;
    mapping(address signer => address operator) private _operatorOf;
    EnumerableSet.AddressSet private _operators;

    /* CONSTRUCTOR */

    constructor(IDataDAO dao_, IScoringRounds rounds_, IERC20 token_) EIP712("Proof of Contribution", "1") {
        require(address(dao_) != address(0) && address(rounds_) != address(0), ZeroAddress());
        require(address(token_) != address(0), ZeroAddress());

        dao = dao_;
        rounds = rounds_;
        token = token_;
    }

    /* OPERATORS */

    /// @inheritdoc IValidatorSet
    function join(uint256 amount, address signer, bytes32 hpkeKey, bytes calldata signerConsent) external nonReentrant {
        Member storage member = _members[msg.sender];
        Parameters memory p = _parameters();
        require(dao.admitted(msg.sender), NotAdmitted(msg.sender));
        require(member.signer == address(0), AlreadyValidator(msg.sender));
        require(amount >= p.minStake, StakeTooSmall(amount, p.minStake));
        require(hpkeKey != 0, ZeroKey());
        _checkSigner(signer, signerConsent);

        member.signer = signer;
        member.hpkeKey = hpkeKey;
        _operatorOf[signer] = msg.sender;
        _operators.add(msg.sender);

        emit ValidatorJoined(msg.sender, signer, hpkeKey, amount);
        _setStake(msg.sender, amount, Math.min(amount, p.maxWeight));

        _pull(amount);
    }

    /// @inheritdoc IValidatorSet
    function topUp(uint256 amount) external nonReentrant {
        Member storage member = _staying(msg.sender);
        require(amount != 0, ZeroAmount());

        uint256 stake = member.stake + amount;
        _setStake(msg.sender, stake, Math.min(stake, _parameters().maxWeight));

        _pull(amount);
    }

    /// @inheritdoc IValidatorSet
    function updateWeight(address operator) external {
        uint256 stake = _staying(operator).stake;

        _setStake(operator, stake, Math.min(stake, _parameters().maxWeight));
    }

    /// @inheritdoc IValidatorSet
    function requestExit() external {
        Member storage member = _staying(msg.sender);

        uint64 exitAt = (block.timestamp + _parameters().exitSeconds).toUint64();
        uint64 current = rounds.currentRound();
        member.exitAt = exitAt;
        if (current > 1 && weightAt(msg.sender, current - 1) != 0) member.lastRound = current - 1;

        emit ExitRequested(msg.sender, exitAt);
        _setStake(msg.sender, member.stake, 0);
    }

    /// @inheritdoc IValidatorSet
    function withdraw() external nonReentrant {
        Member storage member = _joined(msg.sender);
        require(member.exitAt != 0, NotExiting(msg.sender));
        require(block.timestamp >= member.exitAt, ExitDelay(member.exitAt));
        _requireBeyondDispute(member.lastRound);

        // The weights stay: they are zero from now on, and the past is not rewritten.
        uint256 amount = member.stake;
        (member.signer, member.exitAt, member.hpkeKey) = (address(0), 0, 0);
        (member.stake, member.lastRound) = (0, 0);
        _operators.remove(msg.sender);

        emit StakeWithdrawn(msg.sender, amount);

        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IValidatorSet
    function announce(string calldata url) external {
        _joined(msg.sender);
        require(bytes(url).length <= URL_LIMIT, UrlTooLong(bytes(url).length, URL_LIMIT));

        emit PeerAnnounced(msg.sender, url);
    }

    /* ONLY ROUNDS */

    /// @inheritdoc IValidatorSet
    function slash(address operator, uint256 amount, address reporter, uint16 reporterBps)
        external
        nonReentrant
        returns (uint256 slashed)
    {
        require(msg.sender == address(rounds), OnlyRounds(msg.sender));
        Member storage member = _members[operator];

        uint256 stake = member.stake;
        slashed = Math.min(amount, stake);
        uint256 reporterShare = slashed * reporterBps / BPS;
        _burned += (slashed - reporterShare).toUint128();

        emit ValidatorSlashed(operator, slashed, reporter, reporterShare);
        _setStake(operator, stake - slashed, Math.min(stake - slashed, member.weight));

        if (reporterShare != 0) token.safeTransfer(reporter, reporterShare);
    }

    /* VIEWS */

    /// @inheritdoc IValidatorSet
    function validators(address operator) external view returns (Validator memory) {
        Member storage member = _members[operator];
        return Validator({
            signer: member.signer,
            hpkeKey: member.hpkeKey,
            stake: member.stake,
            weight: member.weight,
            exitAt: member.exitAt
        });
    }

    /// @inheritdoc IValidatorSet
    function operators() external view returns (address[] memory) {
        return _operators.values();
    }

    /// @inheritdoc IValidatorSet
    function operatorOf(address signer) external view returns (address) {
        return _operatorOf[signer];
    }

    /// @inheritdoc IValidatorSet
    function signerOf(address operator) external view returns (address) {
        return _members[operator].signer;
    }

    /// @inheritdoc IValidatorSet
    function stakeOf(address operator) external view returns (uint256) {
        return _members[operator].stake;
    }

    /// @inheritdoc IValidatorSet
    function weightAt(address operator, uint64 round) public view returns (uint256) {
        Member storage member = _members[operator];
        uint64 changedIn = member.changedIn;
        if (round >= changedIn) return member.weight;

        require(round + 1 == changedIn, WeightForgotten(operator, round));
        return member.previousWeight;
    }

    /// @inheritdoc IValidatorSet
    function totalWeightAt(uint64 round) external view returns (uint256) {
        return round < rounds.currentRound() ? rounds.roundInfo(round).totalWeight : _totalWeight;
    }

    /// @inheritdoc IValidatorSet
    function totalWeight() external view returns (uint256) {
        return _totalWeight;
    }

    /// @inheritdoc IValidatorSet
    function burned() external view returns (uint256) {
        return _burned;
    }

    /// @inheritdoc IValidatorSet
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /* INTERNAL */

    function _setStake(address operator, uint256 stake, uint256 weight) private {
        Member storage member = _members[operator];
        uint64 current = rounds.currentRound();
        uint88 oldWeight = member.weight;

        if (member.changedIn != current) (member.changedIn, member.previousWeight) = (current, oldWeight);
        (member.stake, member.weight) = (stake.toUint128(), weight.toUint88());
        _totalWeight = (uint256(_totalWeight) - oldWeight + weight).toUint128();

        emit StakeChanged(operator, stake, weight, current);
    }

    function _pull(uint256 amount) private {
        uint256 received = token.pull(msg.sender, amount);
        require(received == amount, UnsupportedToken(amount, received));
    }

    function _checkSigner(address signer, bytes calldata consent) private view {
        require(signer != address(0), ZeroAddress());
        require(_operatorOf[signer] == address(0), SignerTaken(signer, _operatorOf[signer]));
        if (signer == msg.sender && consent.length == 0) return;

        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(CONSENT_TYPEHASH, msg.sender)));
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, consent);
        require(recovered == signer, InvalidConsent(signer, msg.sender));
    }

    /// Reverts while the last round that counts an operator is not settled, and then until its exit delay has passed
    /// since the attest deadline: who answers late in a round that was retried for long can still be punished for it.
    function _requireBeyondDispute(uint64 round) private view {
        if (round == 0) return;

        RoundInfo memory info = rounds.roundInfo(round);
        bool settled = info.phase == Phase.Finalised || info.phase == Phase.Abandoned;
        require(settled, RoundUnsettled(round));
        uint64 until = info.attestDeadline + rounds.parametersOf(round).exitSeconds;
        require(block.timestamp >= until, ExitDelay(until));
    }

    function _joined(address operator) private view returns (Member storage member) {
        member = _members[operator];
        require(member.signer != address(0), NotValidator(operator));
    }

    function _staying(address operator) private view returns (Member storage member) {
        member = _joined(operator);
        require(member.exitAt == 0, Exiting(operator, member.exitAt));
    }

    /// The parameters of the open round; before the first, those that it will latch.
    function _parameters() private view returns (Parameters memory) {
        return rounds.parametersOf(rounds.currentRound());
    }
}
