// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Contribution } from "./Types.sol";
import { IContributionRegistry } from "./interfaces/IContributionRegistry.sol";
import { IDataDAO } from "./interfaces/IDataDAO.sol";
import { IScoringRounds } from "./interfaces/IScoringRounds.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title ContributionRegistry
/// @notice Contributions, their uniqueness and their deposits.
contract ContributionRegistry is IContributionRegistry, EIP712 {
    using SafeCast for uint256;

    /* CONSTANTS */

    uint8 private constant LAST_CODEC = 1;

    bytes32 private constant SUBMISSION_TYPEHASH = keccak256(
        "Submission(address contributor,bytes32 digest,uint8 codec,uint64 size,uint32 keyEpoch,uint64 deadline)"
    );

    /* IMMUTABLES */

    /// @notice The DAO that this register belongs to.
    IDataDAO public immutable dao;
    /// @notice The only caller that may settle deposits.
    IScoringRounds public immutable rounds;

    /* STORAGE */

    // A contribution takes three slots: what its id must tell (two), and what its key must tell (one).
    struct Record {
        address contributor;
        uint64 round;
        uint32 keyEpoch;
        bytes32 digest;
    }

    struct Entry {
        uint64 id;
        uint64 size;
        uint112 deposit;
        uint8 codec;
    }

    uint64 private _count;
    mapping(uint64 id => Record) private _records;
    mapping(bytes32 key => Entry) private _entries;
    /// Kept only where the payer is not the contributor.
    mapping(uint64 id => address) private _payers;
    mapping(address account => uint256) private _credits;

    /* CONSTRUCTOR */

    constructor(IDataDAO dao_, IScoringRounds rounds_) EIP712("Proof of Contribution", "1") {
        require(address(dao_) != address(0) && address(rounds_) != address(0), ZeroAddress());

        dao = dao_;
        rounds = rounds_;
    }

    /* SUBMISSION */

    /// @inheritdoc IContributionRegistry
    function submit(bytes32 digest, uint8 codec, uint64 size, uint32 keyEpoch) external payable returns (uint64 id) {
        id = _submit(msg.sender, digest, codec, size, keyEpoch);
    }

    /// @inheritdoc IContributionRegistry
    function submitFor(
        address contributor,
        bytes32 digest,
        uint8 codec,
        uint64 size,
        uint32 keyEpoch,
        uint64 deadline,
        bytes calldata signature
    ) external payable returns (uint64 id) {
        require(block.timestamp <= deadline, PermissionExpired(deadline));
        bytes32 permission = _hashTypedDataV4(
            keccak256(abi.encode(SUBMISSION_TYPEHASH, contributor, digest, codec, size, keyEpoch, deadline))
        );
        require(
            SignatureChecker.isValidSignatureNowCalldata(contributor, permission, signature),
            InvalidPermission(contributor)
        );

        id = _submit(contributor, digest, codec, size, keyEpoch);
        if (contributor != msg.sender) _payers[id] = msg.sender;
    }

    /* DEPOSITS */

    /// @inheritdoc IContributionRegistry
    function settle(uint64 id, bool forfeited) external {
        require(msg.sender == address(rounds), OnlyRounds(msg.sender));
        Record storage record = _record(id);
        Entry storage entry = _entries[_key(record.contributor, record.digest)];
        uint256 amount = entry.deposit;
        if (amount == 0) return;

        address beneficiary = forfeited ? dao.owner() : _payer(id, record.contributor);
        entry.deposit = 0;
        _credits[beneficiary] += amount;

        emit DepositSettled(id, beneficiary, amount, forfeited);
    }

    /// @inheritdoc IContributionRegistry
    function withdrawCredit(address payable account) external {
        uint256 amount = _credits[account];
        require(amount != 0, NoCredit(account));

        _credits[account] = 0;

        emit CreditWithdrawn(account, amount);

        (bool accepted,) = account.call{ value: amount }("");
        require(accepted, PaymentRefused(account));
    }

    /* VIEWS */

    /// @inheritdoc IContributionRegistry
    function count() external view returns (uint64) {
        return _count;
    }

    /// @inheritdoc IContributionRegistry
    function contribution(uint64 id) external view returns (Contribution memory) {
        Record storage record = _record(id);
        Entry storage entry = _entries[_key(record.contributor, record.digest)];

        return Contribution({
            contributor: record.contributor,
            round: record.round,
            keyEpoch: record.keyEpoch,
            digest: record.digest,
            codec: entry.codec,
            size: entry.size,
            deposit: entry.deposit,
            payer: _payer(id, record.contributor)
        });
    }

    /// @inheritdoc IContributionRegistry
    function idOf(address contributor, bytes32 digest) external view returns (uint64) {
        return _entries[_key(contributor, digest)].id;
    }

    /// @inheritdoc IContributionRegistry
    function credits(address account) external view returns (uint256) {
        return _credits[account];
    }

    /// @inheritdoc IContributionRegistry
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /* INTERNAL */

    function _submit(address contributor, bytes32 digest, uint8 codec, uint64 size, uint32 keyEpoch)
        private
        returns (uint64 id)
    {
        require(!dao.paused(), SubmissionsPaused());
        require(digest != 0, ZeroDigest());
        require(codec <= LAST_CODEC, UnknownCodec(codec));
        uint32 latest = dao.keyEpoch();
        bool current = keyEpoch != 0 && keyEpoch <= latest && latest - keyEpoch <= 1;
        require(current, StaleKeyEpoch(keyEpoch, latest));

        (uint64 round, uint64 fullAt, uint128 deposit) = rounds.submissionTerms();
        require(round != 0, NoOpenRound());
        require(msg.value == deposit, WrongDeposit(msg.value, deposit));
        id = _count + 1;
        require(id < fullAt, RoundFull(round));
        Entry storage entry = _entries[_key(contributor, digest)];
        require(entry.id == 0, DuplicateContribution(entry.id));

        _count = id;
        _records[id] = Record({ contributor: contributor, round: round, keyEpoch: keyEpoch, digest: digest });
        (entry.id, entry.size, entry.deposit, entry.codec) = (id, size, msg.value.toUint112(), codec);

        emit ContributionSubmitted(id, contributor, round, digest, codec, size, keyEpoch);
    }

    function _record(uint64 id) private view returns (Record storage record) {
        record = _records[id];
        require(record.contributor != address(0), UnknownContribution(id));
    }

    function _payer(uint64 id, address contributor) private view returns (address payer) {
        payer = _payers[id];
        if (payer == address(0)) payer = contributor;
    }

    function _key(address contributor, bytes32 digest) private pure returns (bytes32) {
        return keccak256(abi.encode(contributor, digest));
    }
}
