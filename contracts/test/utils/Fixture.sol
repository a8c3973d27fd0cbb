// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Parameters, Phase, RoundInfo, ScoreLeaf } from "../../src/Types.sol";
import { DevToken } from "../../src/dev/DevToken.sol";
import { IContributionRegistry } from "../../src/interfaces/IContributionRegistry.sol";
import { IDataDAO } from "../../src/interfaces/IDataDAO.sol";
import { IRewardPool } from "../../src/interfaces/IRewardPool.sol";
import { IScoringRounds } from "../../src/interfaces/IScoringRounds.sol";
import { IValidatorSet } from "../../src/interfaces/IValidatorSet.sol";
import { LeafLib } from "../../src/libraries/LeafLib.sol";
import { Test } from "./Test.sol";
import { Trees } from "./Trees.sol";

/// @notice All contracts deployed and joined up, four validators of equal weight, a funded pool, and the steps of a round
/// as one-line functions.
abstract contract Fixture is Test {
    uint256 internal constant VALIDATORS = 4;
    uint128 internal constant STAKE = 100 ether;
    uint128 internal constant DEPOSIT = 0.01 ether;
    uint128 internal constant BUDGET = 1000 ether;
    uint128 internal constant FEE = 40 ether;
    uint256 internal constant FUNDING = 10_000 ether;
    bytes32 internal constant MANIFEST = keccak256("manifest");
    bytes32 internal constant SALT = keccak256("salt");

    IDataDAO internal dao;
    IScoringRounds internal rounds;
    IContributionRegistry internal registry;
    IValidatorSet internal validators;
    IRewardPool internal pool;
    DevToken internal stakeToken;
    DevToken internal rewardToken;

    /// How many validators there are: the operators 0 up to here.
    uint256 internal panel = VALIDATORS;
    address internal owner = address(0xD40);
    address internal alice = address(0xA11CE);
    address internal bob = address(0xB0B);
    address internal reporter = address(0x4E90);

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        stakeToken = new DevToken("Stake", "STK");
        rewardToken = new DevToken("Reward", "RWD");
        _found(address(stakeToken), address(rewardToken));

        rewardToken.mint(address(this), FUNDING);
        rewardToken.approve(address(pool), FUNDING);
        pool.fund(FUNDING);
        vm.deal(alice, 100 ether);
        vm.deal(bob, 100 ether);
        rounds.open();
    }

    /// Deployed, published, and the validators joined.
    function _found(address stake, address reward) internal {
        _deploy(stake, reward);

        vm.startPrank(owner);
        dao.publishManifest(MANIFEST);
        dao.publishKeyEpoch(keccak256("epoch 1"));
        vm.stopPrank();
        for (uint256 i = 0; i < VALIDATORS; i++) {
            _join(i, STAKE);
        }
    }

    function _deploy(address stake, address reward) internal {
        uint64 nonce = vm.getNonce(address(this));
        address[5] memory foreseen;
        for (uint256 i = 0; i < 5; i++) {
            foreseen[i] = vm.computeCreateAddress(address(this), nonce + i);
        }

        dao = IDataDAO(_create("DataDAO", abi.encode(owner, _parameters())));
        rounds = IScoringRounds(_create("ScoringRounds", abi.encode(dao, foreseen[2], foreseen[3], foreseen[4])));
        registry = IContributionRegistry(_create("ContributionRegistry", abi.encode(dao, rounds)));
        validators = IValidatorSet(_create("ValidatorSet", abi.encode(dao, rounds, stake)));
        pool = IRewardPool(_create("RewardPool", abi.encode(rounds, reward)));
        require(address(rounds) == foreseen[1] && address(pool) == foreseen[4], "addresses were not foreseen");
    }

    /// Deploys a contract of src/ and passes on what its constructor reverts with.
    function _create(string memory name, bytes memory arguments) internal returns (address made) {
        bytes memory code = abi.encodePacked(vm.getCode(string.concat(name, ".sol:", name)), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
            if iszero(made) {
                returndatacopy(0, 0, returndatasize())
                revert(0, returndatasize())
            }
        }
    }

    /// Asserts that a constructor refuses these arguments with `selector`.
    function _refusesZero(string memory name, bytes memory arguments, bytes4 selector) internal {
        try this.create(name, arguments) {
            assertTrue(false, "deployed with a zero address");
        } catch (bytes memory reason) {
            assertEq(bytes32(reason), bytes32(selector), "reason");
        }
    }

    /// `_create` as a call that can be caught.
    function create(string calldata name, bytes calldata arguments) external {
        _create(name, arguments);
    }

    function _parameters() internal pure virtual returns (Parameters memory) {
        return Parameters({
            openSeconds: 1 hours,
            reportSeconds: 10 minutes,
            commitSeconds: 20 minutes,
            attestSeconds: 30 minutes,
            maxContributions: 100,
            maxAttempts: 3,
            exitSeconds: 7 days,
            slashBps: 5000,
            reporterBps: 2000,
            deposit: DEPOSIT,
            roundBudget: BUDGET,
            validatorFee: FEE,
            minStake: 10 ether,
            maxWeight: 1000 ether,
            unrevealedFee: 1 ether
        });
    }

    /* ACTORS */

    function _operator(uint256 i) internal pure returns (address) {
        return address(uint160(0x0905 + (i << 16)));
    }

    function _signerKey(uint256 i) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("signer", i)));
    }

    function _join(uint256 i, uint256 amount) internal {
        address operator = _operator(i);
        stakeToken.mint(operator, amount);
        vm.prank(owner);
        dao.admit(operator, true);
        address signer = vm.addr(_signerKey(i));
        bytes memory consent = _consent(_signerKey(i), operator);

        vm.startPrank(operator);
        stakeToken.approve(address(validators), amount);
        validators.join(amount, signer, keccak256(abi.encode("hpke", i)), consent);
        vm.stopPrank();
    }

    function _consent(uint256 key, address operator) internal view returns (bytes memory) {
        bytes32 structHash = keccak256(abi.encode(keccak256("SignerConsent(address operator)"), operator));
        return _signature(key, keccak256(abi.encodePacked("\x19\x01", validators.domainSeparator(), structHash)));
    }

    function _signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /* CLOCK */

    function _skip(uint256 duration) internal {
        vm.warp(vm.getBlockTimestamp() + duration);
    }

    function _mine(uint256 blocks) internal {
        vm.roll(vm.getBlockNumber() + blocks);
    }

    /* STEPS OF A ROUND */

    function _submit(address contributor, string memory content) internal returns (uint64) {
        vm.prank(contributor);
        return registry.submit{ value: DEPOSIT }(keccak256(bytes(content)), 0, 1024, 1);
    }

    function _close() internal returns (uint64 round) {
        round = rounds.currentRound();
        _skip(1 hours);
        rounds.close();
    }

    function _draw(uint64 round) internal {
        _mine(3);
        rounds.drawSeed(round);
    }

    /// Two contributions of alice and bob, closed, seed drawn.
    function _begin() internal returns (uint64 round) {
        _submit(alice, "a");
        _submit(bob, "b");
        round = _close();
        _draw(round);
    }

    function _report(uint64 round, uint256 i) internal {
        bytes memory bitmap = _bitmap(round);
        vm.prank(_operator(i));
        rounds.reportAvailability(round, bitmap);
    }

    /// All contributions of a round.
    function _bitmap(uint64 round) internal view returns (bytes memory bitmap) {
        RoundInfo memory info = rounds.roundInfo(round);
        uint256 bits = info.endId - info.firstId;
        bitmap = new bytes((bits + 7) / 8);
        for (uint256 i = 0; i < bitmap.length; i++) {
            bitmap[i] = 0xff;
        }
        if (bits % 8 != 0) bitmap[bitmap.length - 1] = bytes1(uint8(2 ** (bits % 8) - 1));
    }

    function _reportAll(uint64 round) internal {
        for (uint256 i = 0; i < panel; i++) {
            _report(round, i);
        }
    }

    function _commitHash(Attestation memory a, uint256 i) internal view returns (bytes32) {
        bytes32 digest = rounds.attestationDigest(a);
        return keccak256(abi.encode(block.chainid, address(rounds), a.round, a.attempt, _operator(i), digest, SALT));
    }

    function _commit(Attestation memory a, uint256 i) internal {
        bytes32 commitHash = _commitHash(a, i);
        vm.prank(_operator(i));
        rounds.commit(a.round, commitHash, "");
    }

    function _commitAll(Attestation memory a) internal {
        for (uint256 i = 0; i < panel; i++) {
            _commit(a, i);
        }
    }

    function _sign(Attestation memory a, uint256 i) internal view returns (bytes memory) {
        return _signature(_signerKey(i), rounds.attestationDigest(a));
    }

    function _attest(Attestation memory a, uint256 i) internal {
        rounds.attest(a, SALT, _operator(i), _sign(a, i));
    }

    function _attestAll(Attestation memory a) internal {
        for (uint256 i = 0; i < panel; i++) {
            _attest(a, i);
        }
    }

    /// Reports, commits, attests and finalises with all validators.
    function _finish(uint64 round) internal returns (Attestation memory a) {
        a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
    }

    /// A whole round over two fresh contributions.
    function _wholeRound(string memory name) internal returns (uint64 round, Attestation memory a) {
        _submit(alice, string.concat(name, " a"));
        _submit(bob, string.concat(name, " b"));
        round = _close();
        _draw(round);
        a = _finish(round);
    }

    function _toStalled(uint64 round) internal {
        uint256 after_ = rounds.roundInfo(round).attestDeadline + 1;
        if (vm.getBlockTimestamp() < after_) vm.warp(after_);
    }

    /// Lets a round stall until it is abandoned.
    function _abandon(uint64 round) internal {
        while (rounds.phase(round) != Phase.Abandoned) {
            _toStalled(round);
            rounds.retry(round);
        }
    }

    /* ANSWERS */

    /// What honest validators attest: alice earns 60, bob 40, over what was earned before.
    function _attestation(uint64 round) internal view returns (Attestation memory a) {
        RoundInfo memory info = rounds.roundInfo(round);
        a.round = round;
        a.attempt = info.attempt;
        a.manifest = info.manifest;
        a.seed = info.seed;
        a.inputsRoot = keccak256("inputs");
        a.scoresRoot = Trees.root(_scoreLeaves(info.firstId));
        a.roundTotal = 100 ether;
        a.earnedTotal = pool.earnedTotal() + 100 ether;
        a.earningsRoot = Trees.root(_earningsLeaves(a.earnedTotal));
        a.count = uint32(info.endId - info.firstId);
        a.evidence = keccak256("evidence");
    }

    function _earningsLeaves(uint256 total) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](2);
        leaves[0] = LeafLib.earnings(alice, total * 60 / 100);
        leaves[1] = LeafLib.earnings(bob, total * 40 / 100);
    }

    /// Alice's contribution is paid, bob's is malformed.
    function _scoreLeaf(uint64 firstId, uint256 i) internal view returns (ScoreLeaf memory) {
        return i == 0 ? ScoreLeaf(firstId, alice, 1, 60 ether, 12_345, 67) : ScoreLeaf(firstId + 1, bob, 6, 0, -5, 1);
    }

    function _scoreLeaves(uint64 firstId) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](2);
        for (uint256 i = 0; i < 2; i++) {
            leaves[i] = _hash(_scoreLeaf(firstId, i));
        }
    }

    function _hash(ScoreLeaf memory leaf) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(leaf))));
    }

    function _scoreProof(uint64 firstId, uint256 i) internal view returns (bytes32[] memory) {
        return Trees.proof(_scoreLeaves(firstId), _hash(_scoreLeaf(firstId, i)));
    }

    function _earningsProof(address account, uint256 total) internal view returns (uint256, bytes32[] memory) {
        uint256 cumulative = total * (account == alice ? 60 : 40) / 100;
        return (cumulative, Trees.proof(_earningsLeaves(total), LeafLib.earnings(account, cumulative)));
    }

    function _claim(address account) internal {
        (uint256 cumulative, bytes32[] memory proof) = _earningsProof(account, pool.earnedTotal());
        pool.claim(account, cumulative, proof);
    }
}
