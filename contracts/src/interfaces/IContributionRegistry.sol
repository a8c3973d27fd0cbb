// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Contribution } from "../Types.sol";

/// @title The register of contributions
/// @notice Who contributed which content, when, and the deposit held for it. Content is known by the digest of its CID,
/// never by a text, and is unique per contributor: a copied submission takes nothing from the one it copies, and the
/// copier's envelope does not open, because the contributor's address is sealed into it.
interface IContributionRegistry {
    /// @notice A contribution was registered. Ids count from 1 without gaps.
    event ContributionSubmitted(
        uint64 indexed id,
        address indexed contributor,
        uint64 indexed round,
        bytes32 digest,
        uint8 codec,
        uint64 size,
        uint32 keyEpoch
    );
    /// @notice The deposit of a contribution became credit of `beneficiary`: the payer, or the DAO's owner if forfeited.
    event DepositSettled(uint64 indexed id, address indexed beneficiary, uint256 amount, bool forfeited);
    /// @notice Credit was paid out.
    event CreditWithdrawn(address indexed account, uint256 amount);

    /// @notice An address that must not be zero is zero.
    error ZeroAddress();
    /// @notice Only the rounds contract may call this.
    error OnlyRounds(address caller);
    /// @notice The DAO has stopped new submissions.
    error SubmissionsPaused();
    /// @notice No round has been opened yet.
    error NoOpenRound();
    /// @notice The open round takes no more contributions: submit again after it has closed.
    error RoundFull(uint64 round);
    /// @notice The value sent is not the deposit of the open round.
    error WrongDeposit(uint256 sent, uint256 deposit);
    /// @notice The digest must not be zero.
    error ZeroDigest();
    /// @notice The codec is neither 0 (raw) nor 1 (dag-pb).
    error UnknownCodec(uint8 codec);
    /// @notice The content is sealed to a key epoch that is neither the latest nor the one before.
    error StaleKeyEpoch(uint32 given, uint32 latest);
    /// @notice This contributor has already registered this content.
    error DuplicateContribution(uint64 id);
    /// @notice The contributor's permission has expired.
    error PermissionExpired(uint64 deadline);
    /// @notice The permission is not signed by the contributor.
    error InvalidPermission(address contributor);
    /// @notice No such contribution.
    error UnknownContribution(uint64 id);
    /// @notice The account has no credit.
    error NoCredit(address account);
    /// @notice The account did not accept the payment.
    error PaymentRefused(address account);

    /// @notice Registers a contribution of the caller. The value sent must be the deposit of the open round.
    /// @param digest SHA-256 digest of the CIDv1 of the sealed content.
    /// @param codec 0 for raw, 1 for dag-pb.
    /// @param size Bytes of the sealed content.
    /// @param keyEpoch Key epoch to which it is sealed: the latest or the one before.
    function submit(bytes32 digest, uint8 codec, uint64 size, uint32 keyEpoch) external payable returns (uint64 id);

    /// @notice Registers a contribution of `contributor`, who signed for it. The caller pays the deposit and gets it back.
    /// @param deadline Unix time until which the permission holds.
    /// @param signature Over the EIP-712 type `Submission(address contributor,bytes32 digest,uint8 codec,uint64 size,
    /// uint32 keyEpoch,uint64 deadline)`: ECDSA, or ERC-1271 where the contributor is a contract.
    function submitFor(
        address contributor,
        bytes32 digest,
        uint8 codec,
        uint64 size,
        uint32 keyEpoch,
        uint64 deadline,
        bytes calldata signature
    ) external payable returns (uint64 id);

    /// @notice Turns the deposit of a contribution into credit; does nothing when that has been done. Only the rounds.
    /// @param forfeited Whether the credit goes to the DAO's owner, not to the payer.
    function settle(uint64 id, bool forfeited) external;

    /// @notice Pays `account` its credit, whoever calls.
    function withdrawCredit(address payable account) external;

    /// @notice Contributions so far, which is also the latest id.
    function count() external view returns (uint64);

    /// @notice The contribution of an id.
    function contribution(uint64 id) external view returns (Contribution memory);

    /// @notice The id under which a contributor registered a digest; 0 if it did not.
    function idOf(address contributor, bytes32 digest) external view returns (uint64);

    /// @notice Wei that `account` can withdraw.
    function credits(address account) external view returns (uint256);

    /// @notice The EIP-712 domain separator of permissions.
    function domainSeparator() external view returns (bytes32);
}
