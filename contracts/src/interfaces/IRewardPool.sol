// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

/// @title The reward pool
/// @notice Pays contributors by a tree of lifetime earnings, and validators a fee for each round. What was funded is
/// never less than what was earned and what is offered as fees: `available` is the rest, and rolls over.
interface IRewardPool {
    /// @notice Reward tokens came in.
    event Funded(address indexed from, uint256 amount, uint256 totalFunded);
    /// @notice A round published the tree of lifetime earnings, leaves `(address account, uint256 cumulative)`.
    event EarningsPublished(uint64 indexed round, bytes32 earningsRoot, uint128 earnedTotal);
    /// @notice A contributor was paid `amount`, which brings its lifetime payments to `cumulative`.
    event Claimed(address indexed account, uint256 amount, uint256 cumulative);
    /// @notice A validator was paid its fee for a round.
    event FeeClaimed(uint64 indexed round, address indexed operator, uint256 amount);
    /// @notice What of a round's fee nobody can claim became available again.
    event FeeReleased(uint64 indexed round, uint256 amount);

    /// @notice An address that must not be zero is zero.
    error ZeroAddress();
    /// @notice An amount must not be zero.
    error ZeroAmount();
    /// @notice Only the rounds contract may call this.
    error OnlyRounds(address caller);
    /// @notice Lifetime earnings never fall.
    error EarningsDecreased(uint256 earnedTotal, uint256 previous);
    /// @notice More earnings and fees than were funded.
    error Unfunded(uint256 owed, uint256 funded);
    /// @notice The leaf is not in the earnings tree.
    error InvalidProof(address account, uint256 cumulative);
    /// @notice The account has been paid this much already.
    error NothingToClaim(address account, uint256 claimed);
    /// @notice The tree promises more than the contributors have earned together.
    error EarningsExceeded(uint256 claimed, uint256 earnedTotal);
    /// @notice The operator did not attest what the quorum attested, or has been paid.
    error NoFee(uint64 round, address operator);
    /// @notice The token did not move the amount asked for (a fee on transfer): it cannot be used here.
    error UnsupportedToken(uint256 asked, uint256 received);

    /// @notice Puts reward tokens in, approved to this contract by the caller. They never come out but as rewards.
    /// @param amount Reward-token units; all that is ever funded together stays below 2**120.
    function fund(uint256 amount) external;

    /// @notice Publishes the earnings as of a round and owes its fee. Only the rounds.
    /// @param earnedTotal_ Sum of all leaves.
    /// @param fee Units offered to all validators of the round together.
    function finalise(bytes32 earningsRoot_, uint128 earnedTotal_, uint64 round, uint128 fee) external;

    /// @notice Pays `account` what it has earned and not been paid, whoever calls.
    /// @param cumulative Lifetime earnings of the account in the current tree.
    function claim(address account, uint256 cumulative, bytes32[] calldata proof) external;

    /// @notice Pays `operator` its share of a round's fee, after the attest deadline, whoever calls.
    function claimFee(uint64 round, address operator) external;

    /// @notice Units neither earned nor offered as fees: what the next round can offer.
    function available() external view returns (uint256);

    /// @notice Units ever funded.
    function funded() external view returns (uint256);

    /// @notice Units ever earned by contributors.
    function earnedTotal() external view returns (uint128);

    /// @notice Units ever paid to contributors.
    function claimedTotal() external view returns (uint256);

    /// @notice Root of the tree of lifetime earnings.
    function earningsRoot() external view returns (bytes32);

    /// @notice Units ever paid to an account.
    function claimed(address account) external view returns (uint256);

    /// @notice Units of fees owed and not yet paid or released.
    function feesOwed() external view returns (uint256);

    /// @notice Whether an operator was paid its fee for a round.
    function feeClaimed(uint64 round, address operator) external view returns (bool);
}
