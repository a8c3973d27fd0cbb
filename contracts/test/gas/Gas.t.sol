// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, RoundInfo } from "../../src/Types.sol";
import { LeafLib } from "../../src/libraries/LeafLib.sol";
import { Fixture } from "../utils/Fixture.sol";
import { Trees } from "../utils/Trees.sol";

/// @notice What each call costs as a transaction of its own, against what the protocol asks for. The numbers are those of
/// a DAO in its second round, unless the test says otherwise. Three kinds of call miss the protocol's target and are held to
/// what they reach; docs/gas.md takes them apart: an equivocation proof (target 90,000), which pays its reporter in the
/// same transaction; a later claim (target 55,000), which takes about 52,400 and 740 for each level of the tree; and a
/// first claim of an account that has never held the token (target 80,000).
contract GasTest is Fixture {
    uint256 internal constant COMMIT_LIMIT = 55_000;
    uint256 internal constant ATTEST_LIMIT = 90_000;
    uint256 internal constant FINALISE_LIMIT = 140_000;
    uint256 internal constant FIRST_CLAIM_LIMIT = 80_000;
    uint256 internal constant NEW_HOLDER_LIMIT = 98_000;
    uint256 internal constant LATER_CLAIM_LIMIT = 61_000;
    uint256 internal constant EQUIVOCATION_LIMIT = 98_000;
    uint256 internal constant SUBMIT_LIMIT = 130_000;

    uint64 internal round;

    function setUp() public override {
        super.setUp();
        // A reporter and contributors that hold a token already: what a transfer costs to a new holder is the token's.
        stakeToken.mint(reporter, 1);
        rewardToken.mint(alice, 1);
        _wholeRound("first");
        _submit(alice, "second a");
        round = 2;
    }

    function test_submit__steadyState__withinTarget() public {
        vm.prank(bob);
        registry.submit{ value: DEPOSIT }(keccak256("second b"), 0, 1 << 20, 1);
        _within("submit", SUBMIT_LIMIT);
    }

    function test_close__steadyState__measured() public {
        _prepare();
        _skip(1 hours);
        rounds.close();
        _within("close", type(uint256).max);
    }

    function test_drawSeed__steadyState__measured() public {
        _prepare();
        _close();
        _mine(3);
        rounds.drawSeed(round);
        _within("drawSeed", type(uint256).max);
    }

    function test_reportAvailability__twoContributions__measured() public {
        _drawn();
        _report(round, 0);
        _report(round, 1);
        _within("reportAvailability", type(uint256).max);
    }

    function test_commit__withBackup__withinTarget() public {
        Attestation memory a = _reported();
        _commit(a, 0);
        bytes32 commitHash = _commitHash(a, 1);
        vm.prank(_operator(1));
        rounds.commit(round, commitHash, abi.encodePacked(keccak256("1"), keccak256("2"), keccak256("3"), SALT));
        _within("commit", COMMIT_LIMIT);
    }

    function test_attest__firstOnDigest__withinTarget() public {
        Attestation memory a = _committed();
        _attest(a, 0);
        _within("attest first on a digest", ATTEST_LIMIT);
    }

    function test_attest__laterOnDigest__withinTarget() public {
        Attestation memory a = _committed();
        _attest(a, 0);
        _attest(a, 1);
        _within("attest", ATTEST_LIMIT);
        _attest(a, 2);
        _within("attest that reaches quorum", ATTEST_LIMIT);
    }

    function test_finalise__steadyState__withinTarget() public {
        Attestation memory a = _committed();
        _attestAll(a);
        rounds.finalise(a);
        _within("finalise", FINALISE_LIMIT);
    }

    function test_finalise__firstRoundEver__withinTarget() public {
        super.setUp();
        uint64 first = _begin();
        Attestation memory a = _attestation(first);
        _reportAll(first);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        _within("finalise first round ever", FINALISE_LIMIT);
    }

    function test_retry__stalled__measured() public {
        _drawn();
        _toStalled(round);
        rounds.retry(round);
        _within("retry", type(uint256).max);
    }

    function test_proveEquivocation__attestedOnce__measured() public {
        Attestation memory a = _committed();
        _attestAll(a);
        Attestation memory b = _attestation(round);
        b.scoresRoot = keccak256("other");
        (bytes memory signatureA, bytes memory signatureB) = (_sign(a, 0), _sign(b, 0));
        vm.prank(reporter);
        rounds.proveEquivocation(_operator(0), a, signatureA, b, signatureB);
        _within("proveEquivocation", EQUIVOCATION_LIMIT);
    }

    function test_claim__firstOf16384__withinTarget() public {
        (bytes32 root, bytes32[] memory path) = Trees.around(LeafLib.earnings(alice, 30 ether), 14);
        _finaliseEarnings(root);
        pool.claim(alice, 30 ether, path);
        _within("claim first of 16384", FIRST_CLAIM_LIMIT);
    }

    function test_claim__newHolderOf16384__measured() public {
        (bytes32 root, bytes32[] memory path) = Trees.around(LeafLib.earnings(bob, 30 ether), 14);
        _finaliseEarnings(root);
        pool.claim(bob, 30 ether, path);
        _within("claim first of 16384, new holder", NEW_HOLDER_LIMIT);
    }

    function test_claim__laterOf8__withinTarget() public {
        _claim(alice);
        _claimLater(3);
        _within("claim later of 8", 55_000);
    }

    function test_claim__laterOf1024__measured() public {
        _claim(alice);
        _claimLater(10);
        _within("claim later of 1024", LATER_CLAIM_LIMIT);
    }

    function test_recordScore__firstTime__measured() public {
        RoundInfo memory info = rounds.roundInfo(1);
        bytes32[] memory proof = _scoreProof(info.firstId, 0);
        rounds.recordScore(1, _scoreLeaf(info.firstId, 0), proof);
        _within("recordScore", type(uint256).max);
    }

    function test_claimFee__steadyState__measured() public {
        _toStalled(1);
        pool.claimFee(1, _operator(0));
        pool.claimFee(1, _operator(1));
        _within("claimFee", type(uint256).max);
    }

    function test_announce__url__measured() public {
        vm.prank(_operator(0));
        validators.announce("https://validator-1.example.org:8790");
        _within("announce", type(uint256).max);
    }

    /* STEPS */

    function _prepare() internal {
        _submit(bob, "second b");
    }

    function _drawn() internal {
        _prepare();
        _close();
        _draw(round);
    }

    function _reported() internal returns (Attestation memory) {
        _drawn();
        _reportAll(round);
        return _attestation(round);
    }

    function _committed() internal returns (Attestation memory a) {
        a = _reported();
        _commitAll(a);
    }

    function _claimLater(uint256 depth) internal {
        (bytes32 root, bytes32[] memory path) = Trees.around(LeafLib.earnings(alice, 90 ether), depth);
        _finaliseEarnings(root);
        pool.claim(alice, 90 ether, path);
    }

    function _finaliseEarnings(bytes32 root) internal {
        Attestation memory a = _reported();
        a.earningsRoot = root;
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
    }

    function _within(string memory name, uint256 limit) internal {
        assertLe(vm.snapshotGasLastCall(name), limit, name);
    }
}
