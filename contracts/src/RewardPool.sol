// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { IRewardPool } from "./interfaces/IRewardPool.sol";
import { IScoringRounds } from "./interfaces/IScoringRounds.sol";
import { ExactTransferLib } from "./libraries/ExactTransferLib.sol";
import { LeafLib } from "./libraries/LeafLib.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { MerkleProof } from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title RewardPool
/// @notice Cumulative earnings of contributors and fees of validators.
contract RewardPool is IRewardPool, ReentrancyGuardTransient {
    using ExactTransferLib for IERC20;
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    bytes32 private constant NO_ROOT = keccak256("no earnings yet");

    /* IMMUTABLES */

    /// @notice The only caller that may publish earnings.
    IScoringRounds public immutable rounds;
    /// @notice The reward token.
    IERC20 public immutable token;

    /* STORAGE */

    // Always: _claimed <= _earned, _feesPaid <= _fees, _earned + _fees <= _funded. No word is ever zero after funding, so
    // that the first round and the first claim cost what later ones do.
    uint120 private _earned;
    uint120 private _claimed;
    bool private _nonZero = true;
    uint120 private _funded;
    uint120 private _fees;
    /// The root with `NO_ROOT` laid over it.
    bytes32 private _coveredRoot = NO_ROOT;
    uint120 private _feesPaid;
    mapping(address account => uint256) private _claimedBy;
    mapping(uint64 round => FeeShare) private _feeShares;
    mapping(uint64 round => mapping(address operator => bool)) private _feeClaimed;

    // What is left of a round's fee, and the weight that has yet to claim it.
    struct FeeShare {
        uint120 remaining;
        uint128 unclaimedWeight;
    }

    /* CONSTRUCTOR */

    constructor(IScoringRounds rounds_, IERC20 token_) {
        require(address(rounds_) != address(0) && address(token_) != address(0), ZeroAddress());

        rounds = rounds_;
        token = token_;
    }

    /* FUNDING */

    /// @inheritdoc IRewardPool
    function fund(uint256 amount) external nonReentrant {
        require(amount != 0, ZeroAmount());

        uint256 total = _funded + amount;
        _funded = total.toUint120();

        emit Funded(msg.sender, amount, total);

        uint256 received = token.pull(msg.sender, amount);
        require(received == amount, UnsupportedToken(amount, received));
    }

    /* ONLY ROUNDS */

    /// @inheritdoc IRewardPool
    function finalise(bytes32 earningsRoot_, uint128 earnedTotal_, uint64 round, uint128 fee) external {
        require(msg.sender == address(rounds), OnlyRounds(msg.sender));
        require(earnedTotal_ >= _earned, EarningsDecreased(earnedTotal_, _earned));
        uint256 fees = uint256(_fees) + fee;
        require(earnedTotal_ + fees <= _funded, Unfunded(earnedTotal_ + fees, _funded));

        _earned = uint256(earnedTotal_).toUint120();
        _fees = fees.toUint120();
        _coveredRoot = earningsRoot_ ^ NO_ROOT;

        emit EarningsPublished(round, earningsRoot_, earnedTotal_);
    }

    /* CLAIMS */

    /// @inheritdoc IRewardPool
    function claim(address account, uint256 cumulative, bytes32[] calldata proof) external nonReentrant {
        bytes32 leaf = LeafLib.earnings(account, cumulative);
        require(MerkleProof.verifyCalldata(proof, earningsRoot(), leaf), InvalidProof(account, cumulative));
        uint256 paid = _claimedBy[account];
        require(cumulative > paid, NothingToClaim(account, paid));
        uint256 amount = cumulative - paid;
        // A tree whose leaves sum to more than its total must not reach into fees and future rounds.
        uint256 total = _claimed + amount;
        require(total <= _earned, EarningsExceeded(total, _earned));

        _claimedBy[account] = cumulative;
        _claimed = total.toUint120();

        emit Claimed(account, amount, cumulative);

        token.safeTransfer(account, amount);
    }

    /// @inheritdoc IRewardPool
    function claimFee(uint64 round, address operator) external nonReentrant {
        (uint256 fee, uint256 weight, uint256 matched, uint256 total) = rounds.feeTerms(round, operator);
        require(weight != 0 && !_feeClaimed[round][operator], NoFee(round, operator));

        FeeShare memory share = _feeShares[round];
        if (share.unclaimedWeight == 0) share = FeeShare(fee.toUint120(), matched.toUint128());
        uint256 amount = Math.mulDiv(fee, weight, total);
        share.remaining -= amount.toUint120();
        share.unclaimedWeight -= weight.toUint128();

        _feeShares[round] = share;
        _feesPaid += amount.toUint120();
        _feeClaimed[round][operator] = true;

        emit FeeClaimed(round, operator, amount);
        if (share.unclaimedWeight == 0) _release(round, share.remaining);

        if (amount != 0) token.safeTransfer(operator, amount);
    }

    /* VIEWS */

    /// @inheritdoc IRewardPool
    function available() external view returns (uint256) {
        return uint256(_funded) - _earned - _fees;
    }

    /// @inheritdoc IRewardPool
    function funded() external view returns (uint256) {
        return _funded;
    }

    /// @inheritdoc IRewardPool
    function earnedTotal() external view returns (uint128) {
        return _earned;
    }

    /// @inheritdoc IRewardPool
    function claimedTotal() external view returns (uint256) {
        return _claimed;
    }

    /// @inheritdoc IRewardPool
    function earningsRoot() public view returns (bytes32) {
        return _coveredRoot ^ NO_ROOT;
    }

    /// @inheritdoc IRewardPool
    function claimed(address account) external view returns (uint256) {
        return _claimedBy[account];
    }

    /// @inheritdoc IRewardPool
    function feesOwed() external view returns (uint256) {
        return _fees - _feesPaid;
    }

    /// @inheritdoc IRewardPool
    function feeClaimed(uint64 round, address operator) external view returns (bool) {
        return _feeClaimed[round][operator];
    }

    /* INTERNAL */

    /// The last to claim leaves the shares of those who did not attest with the quorum, and what rounding down left.
    function _release(uint64 round, uint120 amount) private {
        _feeShares[round].remaining = 0;
        _fees -= amount;

        emit FeeReleased(round, amount);
    }
}
