// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Parameters } from "../Types.sol";

/// @title The data DAO
/// @notice What the members decide: the manifest (what is scored, and how), the key epochs, the parameters, and who may
/// join as a validator. Its owner cannot touch a round that is under way, nor stake, deposits or rewards.
interface IDataDAO {
    /// @notice A manifest was published. `digest` is the SHA-256 of its canonical bytes, which is also its CIDv1 digest.
    event ManifestPublished(uint32 indexed version, bytes32 digest);
    /// @notice A new X25519 public key to which contributors seal.
    event KeyEpochPublished(uint32 indexed epoch, bytes32 publicKey);
    /// @notice The secret of a key epoch, wrapped (HPKE) to one validator's key.
    event KeyGranted(uint32 indexed epoch, address indexed operator, bytes wrapped);
    /// @notice An operator may, or may no longer, join.
    event OperatorAdmitted(address indexed operator, bool allowed);
    /// @notice New parameters, latched by the next round that opens.
    event ParametersSet(Parameters parameters);

    /// @notice A digest or key must not be zero.
    error ZeroValue();
    /// @notice No such key epoch was published.
    error UnknownKeyEpoch(uint32 epoch);
    /// @notice No such manifest version was published.
    error UnknownManifest(uint32 version);
    /// @notice No such version of the parameters was set.
    error UnknownParameters(uint32 version);
    /// @notice A wrapped key has a size that no HPKE suite of ours yields.
    error WrappedKeySize(uint256 size, uint256 limit);
    /// @notice The named parameter is out of its range.
    error InvalidParameter(string name);

    /// @notice Publishes the manifest that rounds use which open from now on.
    function publishManifest(bytes32 digest) external;

    /// @notice Publishes the next key epoch, counted from 1. The one before stays good for submissions.
    function publishKeyEpoch(bytes32 publicKey) external;

    /// @notice Hands a wrapped epoch secret to an operator, in an event.
    /// @param wrapped At most 1,024 bytes; not stored.
    function grantKey(uint32 epoch, address operator, bytes calldata wrapped) external;

    /// @notice Allows an operator to join, or stops allowing it. Never ejects one that has joined.
    function admit(address operator, bool allowed) external;

    /// @notice Sets the parameters of the rounds that open from now on.
    function setParameters(Parameters calldata parameters_) external;

    /// @notice Stops new submissions, and nothing else.
    function pause() external;

    /// @notice Allows submissions again.
    function unpause() external;

    /// @notice The account that decides.
    function owner() external view returns (address);

    /// @notice Whether new submissions are stopped.
    function paused() external view returns (bool);

    /// @notice The latest manifest version; 0 before the first.
    function manifestVersion() external view returns (uint32);

    /// @notice The digest of a manifest version.
    function manifest(uint32 version) external view returns (bytes32);

    /// @notice The latest key epoch; 0 before the first.
    function keyEpoch() external view returns (uint32);

    /// @notice The X25519 public key of an epoch.
    function keyOf(uint32 epoch) external view returns (bytes32);

    /// @notice The parameters that the next round will latch.
    function parameters() external view returns (Parameters memory);

    /// @notice The version of `parameters`, counted from 1.
    function parametersVersion() external view returns (uint32);

    /// @notice The parameters of a version.
    function parametersAt(uint32 version) external view returns (Parameters memory);

    /// @notice Whether an operator may join.
    function admitted(address operator) external view returns (bool);
}
