// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

/// @notice What Vana's contracts exchange, by their published interface: the layouts decide selectors and event topics.
struct VanaPermission {
    address account;
    string key;
}

struct VanaProofData {
    uint256 score;
    uint256 dlpId;
    string metadata;
    string proofUrl;
    string instruction;
}

struct VanaProof {
    bytes signature;
    VanaProofData data;
}

struct VanaFile {
    uint256 id;
    address ownerAddress;
    string url;
    uint256 schemaId;
    uint256 addedAtBlock;
}

enum VanaJobStatus {
    None,
    Submitted,
    Completed,
    Canceled
}

enum VanaTeeStatus {
    None,
    Active,
    Removed
}

struct VanaJob {
    uint256 fileId;
    uint256 bidAmount;
    VanaJobStatus status;
    uint256 addedTimestamp;
    address ownerAddress;
    address teeAddress;
}

struct VanaTee {
    address teeAddress;
    string url;
    VanaTeeStatus status;
    uint256 amount;
    uint256 withdrawnAmount;
    uint256 jobsCount;
    string publicKey;
}
