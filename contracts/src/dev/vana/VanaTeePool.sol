// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { VanaDataRegistry } from "./VanaDataRegistry.sol";
import { VanaJob, VanaJobStatus, VanaProof, VanaTee, VanaTeeStatus } from "./VanaTypes.sol";

/// @title VanaTeePool
/// @notice A stand-in for Vana's TeePool, for the embedded chain and for tests: its published interface, as far as the
/// adapter and a contributor use it. Written from the interface; no proxy, and whoever deploys it is the maintainer.
contract VanaTeePool {
    /// @notice What the adapter gates on. The constructor takes it, so that tests can deploy another one.
    uint256 public immutable version;
    address public immutable maintainer;
    VanaDataRegistry public immutable dataRegistry;

    uint256 public jobsCount;
    uint256 public teeFee;
    uint256 public cancelDelay;

    mapping(uint256 jobId => VanaJob) private _jobs;
    mapping(address tee => VanaTee) private _tees;
    mapping(address tee => uint256[]) private _teeJobs;
    mapping(uint256 fileId => uint256[]) private _fileJobs;
    address[] private _active;

    event JobSubmitted(uint256 indexed jobId, uint256 indexed fileId, address teeAddress, uint256 bidAmount);
    event JobCanceled(uint256 indexed jobId);
    event ProofAdded(address indexed attestator, uint256 indexed jobId, uint256 indexed fileId);
    event TeeAdded(address indexed teeAddress);
    event TeeRemoved(address indexed teeAddress);
    event Claimed(address indexed teeAddress, uint256 amount);

    error NotMaintainer();
    error TeeAlreadyAdded();
    error TeeNotActive();
    error InvalidJobStatus();
    error InvalidJobTee();
    error NothingToClaim();
    error InsufficientFee();
    error NoActiveTee();
    error NotJobOwner();
    error CancelDelayNotPassed();
    error TransferFailed();

    constructor(VanaDataRegistry dataRegistry_, uint256 teeFee_, uint256 cancelDelay_, uint256 version_) {
        dataRegistry = dataRegistry_;
        teeFee = teeFee_;
        cancelDelay = cancelDelay_;
        version = version_;
        maintainer = msg.sender;
    }

    modifier onlyMaintainer() {
        require(msg.sender == maintainer, NotMaintainer());
        _;
    }

    function addTee(address teeAddress, string calldata url, string calldata publicKey) external onlyMaintainer {
        VanaTee storage tee = _tees[teeAddress];
        require(tee.status != VanaTeeStatus.Active, TeeAlreadyAdded());
        tee.status = VanaTeeStatus.Active;
        tee.url = url;
        tee.publicKey = publicKey;
        _active.push(teeAddress);
        emit TeeAdded(teeAddress);
    }

    function removeTee(address teeAddress) external onlyMaintainer {
        require(isTee(teeAddress), TeeNotActive());
        _tees[teeAddress].status = VanaTeeStatus.Removed;
        for (uint256 i = 0; i < _active.length; i++) {
            if (_active[i] == teeAddress) {
                _active[i] = _active[_active.length - 1];
                _active.pop();
                break;
            }
        }
        emit TeeRemoved(teeAddress);
    }

    function requestContributionProof(uint256 fileId) external payable {
        require(msg.value >= teeFee, InsufficientFee());
        require(_active.length > 0, NoActiveTee());
        uint256 jobId = ++jobsCount;
        address teeAddress = _active[jobId % _active.length];
        _jobs[jobId] = VanaJob(fileId, msg.value, VanaJobStatus.Submitted, block.timestamp, msg.sender, teeAddress);
        _teeJobs[teeAddress].push(jobId);
        _fileJobs[fileId].push(jobId);
        emit JobSubmitted(jobId, fileId, teeAddress, msg.value);
    }

    function cancelJob(uint256 jobId) external {
        VanaJob storage job = _jobs[jobId];
        require(job.ownerAddress == msg.sender, NotJobOwner());
        require(job.status == VanaJobStatus.Submitted, InvalidJobStatus());
        require(job.addedTimestamp + cancelDelay <= block.timestamp, CancelDelayNotPassed());
        job.status = VanaJobStatus.Canceled;
        _forget(job.teeAddress, jobId);
        emit JobCanceled(jobId);
        _pay(msg.sender, job.bidAmount);
    }

    function addProof(uint256 jobId, VanaProof memory proof) external {
        VanaJob storage job = _jobs[jobId];
        require(isTee(msg.sender), TeeNotActive());
        require(job.status == VanaJobStatus.Submitted, InvalidJobStatus());
        require(job.teeAddress == msg.sender, InvalidJobTee());
        job.status = VanaJobStatus.Completed;
        _tees[msg.sender].amount += job.bidAmount;
        _forget(msg.sender, jobId);
        dataRegistry.addProof(job.fileId, proof);
        emit ProofAdded(msg.sender, jobId, job.fileId);
    }

    function claim() external {
        VanaTee storage tee = _tees[msg.sender];
        uint256 amount = tee.amount - tee.withdrawnAmount;
        require(amount > 0, NothingToClaim());
        tee.withdrawnAmount = tee.amount;
        emit Claimed(msg.sender, amount);
        _pay(msg.sender, amount);
    }

    function jobs(uint256 jobId) external view returns (VanaJob memory) {
        return _jobs[jobId];
    }

    function tees(address teeAddress) external view returns (VanaTee memory tee) {
        tee = _tees[teeAddress];
        tee.teeAddress = teeAddress;
        tee.jobsCount = _teeJobs[teeAddress].length;
    }

    function fileJobIds(uint256 fileId) external view returns (uint256[] memory) {
        return _fileJobs[fileId];
    }

    function teeJobIdsPaginated(address teeAddress, uint256 start, uint256 limit)
        external
        view
        returns (uint256[] memory page)
    {
        uint256[] storage held = _teeJobs[teeAddress];
        uint256 end = start + limit < held.length ? start + limit : held.length;
        page = new uint256[](end > start ? end - start : 0);
        for (uint256 i = 0; i < page.length; i++) {
            page[i] = held[start + i];
        }
    }

    function isTee(address teeAddress) public view returns (bool) {
        return _tees[teeAddress].status == VanaTeeStatus.Active;
    }

    function _forget(address teeAddress, uint256 jobId) private {
        uint256[] storage held = _teeJobs[teeAddress];
        for (uint256 i = 0; i < held.length; i++) {
            if (held[i] == jobId) {
                held[i] = held[held.length - 1];
                held.pop();
                return;
            }
        }
    }

    function _pay(address to, uint256 amount) private {
        (bool sent,) = payable(to).call{ value: amount }("");
        require(sent, TransferFailed());
    }
}
