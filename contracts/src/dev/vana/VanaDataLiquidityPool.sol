// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { VanaDataRegistry } from "./VanaDataRegistry.sol";
import { VanaTeePool } from "./VanaTeePool.sol";
import { VanaFile, VanaProof } from "./VanaTypes.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { MessageHashUtils } from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @title VanaDataLiquidityPool
/// @notice A stand-in for the DLP of Vana's template, for the embedded chain and for tests: its published interface, as
/// far as the adapter uses it, and its rule of payment. Written from the interface. What is signed is as weak as the
/// original's: see docs/vana.md.
contract VanaDataLiquidityPool {
    using SafeERC20 for IERC20;

    /// @notice What the adapter gates on. The constructor takes it, so that tests can deploy another one.
    uint256 public immutable version;
    VanaDataRegistry public immutable dataRegistry;
    VanaTeePool public immutable teePool;
    IERC20 public immutable token;
    uint256 public immutable fileRewardFactor;
    string public proofInstruction;
    string public publicKey;

    mapping(uint256 fileId => uint256) public rewardOf;

    event RewardRequested(
        address indexed contributorAddress, uint256 indexed fileId, uint256 indexed proofIndex, uint256 rewardAmount
    );

    error FileAlreadyAdded();
    error InvalidScore();
    error InvalidAttestator();
    error InvalidProof();

    constructor(
        VanaDataRegistry dataRegistry_,
        VanaTeePool teePool_,
        IERC20 token_,
        uint256 fileRewardFactor_,
        string memory proofInstruction_,
        uint256 version_
    ) {
        dataRegistry = dataRegistry_;
        teePool = teePool_;
        token = token_;
        fileRewardFactor = fileRewardFactor_;
        proofInstruction = proofInstruction_;
        version = version_;
    }

    function requestReward(uint256 fileId, uint256 proofIndex) external {
        VanaProof memory proof = dataRegistry.fileProofs(fileId, proofIndex);
        require(keccak256(bytes(proof.data.instruction)) == keccak256(bytes(proofInstruction)), InvalidProof());
        require(rewardOf[fileId] == 0, FileAlreadyAdded());
        require(proof.data.score > 0 && proof.data.score <= 1e18, InvalidScore());
        VanaFile memory file = dataRegistry.files(fileId);
        // Vana's own encoding: packed, without chain, contract and file id.
        bytes32 hash = keccak256(
            abi.encodePacked(
                file.url,
                proof.data.score,
                proof.data.dlpId,
                proof.data.metadata,
                proof.data.proofUrl,
                proof.data.instruction
            )
        );
        address signer = ECDSA.recover(MessageHashUtils.toEthSignedMessageHash(hash), proof.signature);
        require(teePool.isTee(signer), InvalidAttestator());
        uint256 reward = fileRewardFactor * proof.data.score / 1e18;
        rewardOf[fileId] = reward;
        emit RewardRequested(file.ownerAddress, fileId, proofIndex, reward);
        token.safeTransfer(file.ownerAddress, reward);
    }
}
