// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Parameters } from "./Types.sol";
import { IDataDAO } from "./interfaces/IDataDAO.sol";
import { Ownable } from "@openzeppelin/contracts/access/Ownable.sol";
import { Ownable2Step } from "@openzeppelin/contracts/access/Ownable2Step.sol";
import { Pausable } from "@openzeppelin/contracts/utils/Pausable.sol";

/// @title DataDAO
/// @notice Manifests, key epochs, parameters and admissions, decided by a two-step owner.
contract DataDAO is IDataDAO, Ownable2Step, Pausable {
    /* CONSTANTS */

    /// @notice Largest wrapped key, bytes.
    uint256 public constant MAX_WRAPPED_KEY = 1024;
    /// @notice Longest exit delay, and longest time to keep a round open: what bounds how long stake and deposits are held.
    uint256 public constant MAX_SECONDS = 365 days;

    uint256 private constant BPS = 10_000;

    /* STORAGE */

    // The two counters share a slot with the pause flag, so that a submission reads one slot.
    uint32 private _manifestVersion;
    uint32 private _keyEpoch;
    uint32 private _parametersVersion;
    mapping(uint32 version => bytes32 digest) private _manifests;
    mapping(uint32 epoch => bytes32 publicKey) private _keys;
    mapping(uint32 version => Parameters) private _parameters;
    mapping(address operator => bool) private _admitted;

    /* CONSTRUCTOR */

    constructor(address owner_, Parameters memory parameters_) Ownable(owner_) {
        _setParameters(parameters_);
    }

    /* ONLY OWNER */

    /// @inheritdoc IDataDAO
    function publishManifest(bytes32 digest) external onlyOwner {
        require(digest != 0, ZeroValue());

        uint32 version = ++_manifestVersion;
        _manifests[version] = digest;

        emit ManifestPublished(version, digest);
    }

    /// @inheritdoc IDataDAO
    function publishKeyEpoch(bytes32 publicKey) external onlyOwner {
        require(publicKey != 0, ZeroValue());

        uint32 epoch = ++_keyEpoch;
        _keys[epoch] = publicKey;

        emit KeyEpochPublished(epoch, publicKey);
    }

    /// @inheritdoc IDataDAO
    function grantKey(uint32 epoch, address operator, bytes calldata wrapped) external onlyOwner {
        require(_keys[epoch] != 0, UnknownKeyEpoch(epoch));
        require(wrapped.length <= MAX_WRAPPED_KEY, WrappedKeySize(wrapped.length, MAX_WRAPPED_KEY));

        emit KeyGranted(epoch, operator, wrapped);
    }

    /// @inheritdoc IDataDAO
    function admit(address operator, bool allowed) external onlyOwner {
        _admitted[operator] = allowed;

        emit OperatorAdmitted(operator, allowed);
    }

    /// @inheritdoc IDataDAO
    function setParameters(Parameters calldata parameters_) external onlyOwner {
        _setParameters(parameters_);
    }

    /// @inheritdoc IDataDAO
    function pause() external onlyOwner {
        _pause();
    }

    /// @inheritdoc IDataDAO
    function unpause() external onlyOwner {
        _unpause();
    }

    /* VIEWS */

    /// @inheritdoc IDataDAO
    function owner() public view override(IDataDAO, Ownable) returns (address) {
        return super.owner();
    }

    /// @inheritdoc IDataDAO
    function paused() public view override(IDataDAO, Pausable) returns (bool) {
        return super.paused();
    }

    /// @inheritdoc IDataDAO
    function manifestVersion() external view returns (uint32) {
        return _manifestVersion;
    }

    /// @inheritdoc IDataDAO
    function manifest(uint32 version) external view returns (bytes32 digest) {
        digest = _manifests[version];
        require(digest != 0, UnknownManifest(version));
    }

    /// @inheritdoc IDataDAO
    function keyEpoch() external view returns (uint32) {
        return _keyEpoch;
    }

    /// @inheritdoc IDataDAO
    function keyOf(uint32 epoch) external view returns (bytes32 publicKey) {
        publicKey = _keys[epoch];
        require(publicKey != 0, UnknownKeyEpoch(epoch));
    }

    /// @inheritdoc IDataDAO
    function parameters() external view returns (Parameters memory) {
        return _parameters[_parametersVersion];
    }

    /// @inheritdoc IDataDAO
    function parametersVersion() external view returns (uint32) {
        return _parametersVersion;
    }

    /// @inheritdoc IDataDAO
    function parametersAt(uint32 version) external view returns (Parameters memory) {
        require(version != 0 && version <= _parametersVersion, UnknownParameters(version));
        return _parameters[version];
    }

    /// @inheritdoc IDataDAO
    function admitted(address operator) external view returns (bool) {
        return _admitted[operator];
    }

    /* INTERNAL */

    function _setParameters(Parameters memory p) private {
        _check(p);

        _parameters[++_parametersVersion] = p;

        emit ParametersSet(p);
    }

    function _check(Parameters memory p) private pure {
        require(p.openSeconds <= MAX_SECONDS, InvalidParameter("openSeconds"));
        require(p.reportSeconds != 0, InvalidParameter("reportSeconds"));
        require(p.commitSeconds != 0, InvalidParameter("commitSeconds"));
        require(p.attestSeconds != 0, InvalidParameter("attestSeconds"));
        require(p.maxContributions != 0, InvalidParameter("maxContributions"));
        require(p.maxAttempts != 0, InvalidParameter("maxAttempts"));
        require(p.slashBps <= BPS, InvalidParameter("slashBps"));
        // A validator that reports itself must still lose.
        require(p.reporterBps < BPS, InvalidParameter("reporterBps"));
        require(p.deposit <= type(uint112).max, InvalidParameter("deposit"));
        require(p.minStake != 0, InvalidParameter("minStake"));
        // Ballots hold a weight in 88 bits.
        require(p.maxWeight != 0 && p.maxWeight <= type(uint88).max, InvalidParameter("maxWeight"));

        // Stake must outlast the longest dispute, and nobody's stake may be held for ever.
        uint256 attempt = uint256(p.reportSeconds) + p.commitSeconds + p.attestSeconds;
        bool outlasts = p.exitSeconds >= p.maxAttempts * attempt;
        require(outlasts && p.exitSeconds <= MAX_SECONDS, InvalidParameter("exitSeconds"));
    }
}
