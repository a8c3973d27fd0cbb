// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Validator } from "../Types.sol";

/// @title The validator set
/// @notice Stake, keys and weight of the validators. Weight is the stake up to a cap, and zero from the request to exit
/// on. A change of weight counts from the round that is open when it happens: the weights of a round are those that held
/// when it closed.
interface IValidatorSet {
    /// @notice An operator joined.
    event ValidatorJoined(address indexed operator, address signer, bytes32 hpkeKey, uint256 stake);
    /// @notice Stake and weight of an operator, the weight counting from `fromRound`.
    event StakeChanged(address indexed operator, uint256 stake, uint256 weight, uint64 fromRound);
    /// @notice An operator asked to leave.
    event ExitRequested(address indexed operator, uint64 withdrawableAt);
    /// @notice An operator took its stake and left.
    event StakeWithdrawn(address indexed operator, uint256 amount);
    /// @notice An operator says where it serves the content that it has pinned; empty where it no longer does.
    event PeerAnnounced(address indexed operator, string url);
    /// @notice Stake was taken: a share went to the reporter, the rest is gone.
    event ValidatorSlashed(address indexed operator, uint256 amount, address indexed reporter, uint256 reporterShare);

    /// @notice An address that must not be zero is zero.
    error ZeroAddress();
    /// @notice Only the rounds contract may call this.
    error OnlyRounds(address caller);
    /// @notice The DAO has not admitted this operator.
    error NotAdmitted(address operator);
    /// @notice The operator has joined already, or has not withdrawn yet.
    error AlreadyValidator(address operator);
    /// @notice The operator has not joined.
    error NotValidator(address operator);
    /// @notice Less than the least stake.
    error StakeTooSmall(uint256 stake, uint256 minStake);
    /// @notice An amount must not be zero.
    error ZeroAmount();
    /// @notice The HPKE key must not be zero.
    error ZeroKey();
    /// @notice A signing address serves one operator, for ever.
    error SignerTaken(address signer, address operator);
    /// @notice The signing address has not agreed to sign for this operator.
    error InvalidConsent(address signer, address operator);
    /// @notice The operator is leaving.
    error Exiting(address operator, uint64 withdrawableAt);
    /// @notice The operator has not asked to leave.
    error NotExiting(address operator);
    /// @notice The exit delay has not passed.
    error ExitDelay(uint64 withdrawableAt);
    /// @notice A closed round counts this operator and is not settled: bring it to its end, which anybody may.
    error RoundUnsettled(uint64 round);
    /// @notice The operator's weight of so long ago is no longer kept: read it from `StakeChanged`.
    error WeightForgotten(address operator, uint64 round);
    /// @notice A URL of more bytes than the limit.
    error UrlTooLong(uint256 size, uint256 limit);
    /// @notice The token did not move the amount asked for (a fee on transfer): it cannot be used here.
    error UnsupportedToken(uint256 asked, uint256 received);

    /// @notice Joins with stake. The DAO must have admitted the caller.
    /// @param amount Stake-token units, approved to this contract.
    /// @param signer Address whose key signs attestations: new to this set.
    /// @param hpkeKey X25519 public key to which the DAO wraps key epochs.
    /// @param signerConsent Signature by `signer` over the EIP-712 type `SignerConsent(address operator)`; may be empty
    /// where the caller is the signer.
    function join(uint256 amount, address signer, bytes32 hpkeKey, bytes calldata signerConsent) external;

    /// @notice Adds stake.
    function topUp(uint256 amount) external;

    /// @notice Brings an operator's weight up to date with the cap of the open round. Anybody may call.
    function updateWeight(address operator) external;

    /// @notice Asks to leave: weight is zero from the open round on, stake stays slashable until it is withdrawn.
    function requestExit() external;

    /// @notice Takes the stake: when the exit delay has passed since the request, and also since the attest deadline of the
    /// last round that counts the caller, which must be settled.
    function withdraw() external;

    /// @notice Says where the caller serves the content that it has pinned, for other validators to fetch from. The contract
    /// keeps nothing and checks the length only: whoever reads the event has a stranger's bytes in hand.
    /// @param url At most 256 bytes; empty to take the last one back.
    function announce(string calldata url) external;

    /// @notice Takes stake, as much as there is. Only the rounds.
    /// @param reporterBps Share of the amount that goes to the reporter; the rest never leaves this contract.
    /// @return slashed Stake-token units taken.
    function slash(address operator, uint256 amount, address reporter, uint16 reporterBps)
        external
        returns (uint256 slashed);

    /// @notice An operator's record; all zero where it has not joined.
    function validators(address operator) external view returns (Validator memory);

    /// @notice All operators that have joined and not withdrawn, in no fixed order.
    function operators() external view returns (address[] memory);

    /// @notice The operator for which a signing address signs or signed; zero if none.
    function operatorOf(address signer) external view returns (address);

    /// @notice The signing address of an operator; zero if it has not joined.
    function signerOf(address operator) external view returns (address);

    /// @notice The stake of an operator.
    function stakeOf(address operator) external view returns (uint256);

    /// @notice The weight of an operator in a round: for the open round what it would be if it closed now. Kept for the
    /// open round, the one before it, and all since the operator's last change.
    function weightAt(address operator, uint64 round) external view returns (uint256);

    /// @notice The weight of all operators in a round.
    function totalWeightAt(uint64 round) external view returns (uint256);

    /// @notice The weight of all operators now.
    function totalWeight() external view returns (uint256);

    /// @notice Slashed stake that went to no reporter. It never leaves this contract.
    function burned() external view returns (uint256);

    /// @notice The EIP-712 domain separator of consents.
    function domainSeparator() external view returns (bytes32);
}
