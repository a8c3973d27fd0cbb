// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { VanaFile, VanaPermission, VanaProof } from "./VanaTypes.sol";

/// @title VanaDataRegistry
/// @notice A stand-in for Vana's DataRegistry, for the embedded chain and for tests: its published interface, as far as
/// the adapter and a contributor use it. Written from the interface; no proxy, no roles, no refinements. As in the
/// original, anybody may add a proof to any file.
contract VanaDataRegistry {
    struct Entry {
        address ownerAddress;
        string url;
        uint256 schemaId;
        uint256 addedAtBlock;
        uint256 proofsCount;
    }

    /// @notice What the adapter gates on. The constructor takes it, so that tests can deploy another one.
    uint256 public immutable version;

    /// @notice Ids count from 1, without gaps.
    uint256 public filesCount;

    /// @notice Whether a new file announces itself twice, also by the older event.
    bool public emitLegacyEvents = true;

    /// @notice Not of Vana: files come without any event that the adapter knows, as after an upgrade that renamed them.
    bool public renamed;

    mapping(uint256 fileId => Entry) private _files;
    mapping(uint256 fileId => mapping(uint256 index => VanaProof)) private _proofs;
    mapping(uint256 fileId => mapping(address account => string)) private _permissions;
    mapping(string url => uint256) public fileIdByUrl;

    event FileAdded(uint256 indexed fileId, address indexed ownerAddress, string url);
    event FileAddedV2(uint256 indexed fileId, address indexed ownerAddress, string url, uint256 schemaId);
    event FileAddedV3(uint256 indexed fileId, address ownerAddress, string url, uint256 schemaId);
    event PermissionGranted(uint256 indexed fileId, address indexed account);
    event ProofAdded(
        uint256 indexed fileId,
        address indexed ownerAddress,
        uint256 proofIndex,
        uint256 indexed dlpId,
        uint256 score,
        string proofUrl
    );

    error NotFileOwner();
    error FileUrlAlreadyUsed();

    constructor(uint256 version_) {
        version = version_;
    }

    /// @notice Of Vana for its maintainers, here for everybody.
    function updateEmitLegacyEvents(bool newEmitLegacyEvents) external {
        emitLegacyEvents = newEmitLegacyEvents;
    }

    /// @notice Not of Vana: see `renamed`.
    function rename(bool renamed_) external {
        renamed = renamed_;
    }

    function files(uint256 fileId) external view returns (VanaFile memory) {
        Entry storage file = _files[fileId];
        return VanaFile(fileId, file.ownerAddress, file.url, file.schemaId, file.addedAtBlock);
    }

    function fileProofs(uint256 fileId, uint256 index) external view returns (VanaProof memory) {
        return _proofs[fileId][index];
    }

    function filePermissions(uint256 fileId, address account) external view returns (string memory) {
        return _permissions[fileId][account];
    }

    function addFile(string memory url) external returns (uint256) {
        return _add(url, msg.sender, 0);
    }

    function addFileWithPermissions(string memory url, address ownerAddress, VanaPermission[] memory permissions)
        external
        returns (uint256)
    {
        return addFileWithPermissionsAndSchema(url, ownerAddress, permissions, 0);
    }

    function addFileWithPermissionsAndSchema(
        string memory url,
        address ownerAddress,
        VanaPermission[] memory permissions,
        uint256 schemaId
    ) public returns (uint256 fileId) {
        fileId = _add(url, ownerAddress, schemaId);
        _permit(fileId, permissions);
    }

    /// @notice Announces a file a second time, by the same event, when its owner gives it a schema.
    function addFilePermissionsAndSchema(uint256 fileId, VanaPermission[] memory permissions, uint256 schemaId)
        external
    {
        Entry storage file = _files[fileId];
        require(msg.sender == file.ownerAddress, NotFileOwner());
        file.schemaId = schemaId;
        emit FileAddedV2(fileId, file.ownerAddress, file.url, schemaId);
        _permit(fileId, permissions);
    }

    function addFilePermission(uint256 fileId, address account, string memory key) external {
        require(msg.sender == _files[fileId].ownerAddress, NotFileOwner());
        _permissions[fileId][account] = key;
        emit PermissionGranted(fileId, account);
    }

    function addProof(uint256 fileId, VanaProof memory proof) external {
        Entry storage file = _files[fileId];
        uint256 index = ++file.proofsCount;
        _proofs[fileId][index] = proof;
        emit ProofAdded(fileId, file.ownerAddress, index, proof.data.dlpId, proof.data.score, proof.data.proofUrl);
    }

    function _permit(uint256 fileId, VanaPermission[] memory permissions) private {
        for (uint256 i = 0; i < permissions.length; i++) {
            _permissions[fileId][permissions[i].account] = permissions[i].key;
            emit PermissionGranted(fileId, permissions[i].account);
        }
    }

    function _add(string memory url, address ownerAddress, uint256 schemaId) private returns (uint256 fileId) {
        require(fileIdByUrl[url] == 0, FileUrlAlreadyUsed());
        fileId = ++filesCount;
        fileIdByUrl[url] = fileId;
        _files[fileId] = Entry(ownerAddress, url, schemaId, block.number, 0);
        if (renamed) {
            emit FileAddedV3(fileId, ownerAddress, url, schemaId);
            return fileId;
        }
        if (emitLegacyEvents) emit FileAdded(fileId, ownerAddress, url);
        emit FileAddedV2(fileId, ownerAddress, url, schemaId);
    }
}
