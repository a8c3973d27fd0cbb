// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Parameters, RoundInfo, ScoreLeaf } from "../../src/Types.sol";
import { LeafLib } from "../../src/libraries/LeafLib.sol";
import { Fixture } from "../utils/Fixture.sol";
import { Trees } from "../utils/Trees.sol";

/// @notice What a round costs for 1, 100 and 10,000 contributions and 3, 7 and 21 validators: one file of figures for each
/// call, `<contributions> by <validators>` in each. A second round, everybody acts; earnings and scores are trees of as
/// many leaves as there are contributions.
contract GasMatrixTest is Fixture {
    uint64 internal constant ROUND = 2;

    function _parameters() internal pure override returns (Parameters memory p) {
        p = super._parameters();
        p.maxContributions = 10_000;
    }

    function test_round__1by3__measured() public {
        _measure(1, 3);
    }

    function test_round__1by7__measured() public {
        _measure(1, 7);
    }

    function test_round__1by21__measured() public {
        _measure(1, 21);
    }

    function test_round__100by3__measured() public {
        _measure(100, 3);
    }

    function test_round__100by7__measured() public {
        _measure(100, 7);
    }

    function test_round__100by21__measured() public {
        _measure(100, 21);
    }

    function test_round__10000by3__measured() public {
        _measure(10_000, 3);
    }

    function test_round__10000by7__measured() public {
        _measure(10_000, 7);
    }

    function test_round__10000by21__measured() public {
        _measure(10_000, 21);
    }

    /* STEPS */

    function _measure(uint256 contributions, uint256 size) internal {
        string memory name = string.concat(vm.toString(contributions), " by ", vm.toString(size));
        _seat(size);
        stakeToken.mint(reporter, 1);
        rewardToken.mint(alice, 1);
        _wholeRound("first");
        for (uint256 i = 1; i < contributions; i++) {
            _submit(alice, string(abi.encode(i)));
        }
        _submit(bob, "last");
        vm.snapshotGasLastCall("submit", name);

        _skip(1 hours);
        rounds.close();
        vm.snapshotGasLastCall("close", name);
        _mine(3);
        rounds.drawSeed(ROUND);
        vm.snapshotGasLastCall("drawSeed", name);
        _played(name, contributions);
        _paid(name, contributions);
    }

    function _played(string memory name, uint256 contributions) internal {
        bytes memory bitmap = _bitmap(ROUND);
        for (uint256 i = 0; i < panel; i++) {
            vm.prank(_operator(i));
            rounds.reportAvailability(ROUND, bitmap);
            if (i == 1) vm.snapshotGasLastCall("reportAvailability", name);
        }
        Attestation memory a = _answer(contributions);
        for (uint256 i = 0; i < panel; i++) {
            _commitWithBackup(a, i);
            if (i == 1) vm.snapshotGasLastCall("commit", name);
        }
        for (uint256 i = 0; i < panel; i++) {
            _attest(a, i);
            if (i == 0) vm.snapshotGasLastCall("attest, first", name);
            if (i == 1) vm.snapshotGasLastCall("attest", name);
        }
        rounds.finalise(a);
        vm.snapshotGasLastCall("finalise", name);

        Attestation memory b = _answer(contributions);
        b.evidence = keccak256("other");
        (bytes memory signatureA, bytes memory signatureB) = (_sign(a, 0), _sign(b, 0));
        vm.prank(reporter);
        rounds.proveEquivocation(_operator(0), a, signatureA, b, signatureB);
        vm.snapshotGasLastCall("proveEquivocation", name);
    }

    function _paid(string memory name, uint256 contributions) internal {
        uint256 depth = _depth(contributions);
        (, bytes32[] memory path) = Trees.around(LeafLib.earnings(alice, 90 ether), depth);
        pool.claim(alice, 90 ether, path);
        vm.snapshotGasLastCall("claim, first", name);
        (, path) = Trees.around(_hash(_leaf()), depth);
        rounds.recordScore(ROUND, _leaf(), path);
        vm.snapshotGasLastCall("recordScore", name);
        _toStalled(ROUND);
        pool.claimFee(ROUND, _operator(1));
        vm.snapshotGasLastCall("claimFee", name);
    }

    /// The 4 validators of the fixture become as many as asked for.
    function _seat(uint256 size) internal {
        for (uint256 i = VALIDATORS; i < size; i++) {
            _join(i, STAKE);
        }
        for (uint256 i = size; i < VALIDATORS; i++) {
            vm.prank(_operator(i));
            validators.requestExit();
        }
        panel = size;
    }

    function _commitWithBackup(Attestation memory a, uint256 i) internal {
        bytes32 commitHash = _commitHash(a, i);
        bytes memory backup = abi.encodePacked(commitHash, commitHash, commitHash, commitHash, commitHash, commitHash);
        vm.prank(_operator(i));
        rounds.commit(a.round, commitHash, backup);
    }

    function _answer(uint256 contributions) internal view returns (Attestation memory a) {
        uint256 depth = _depth(contributions);
        a = _attestation(ROUND);
        a.earnedTotal = 200 ether;
        (a.earningsRoot,) = Trees.around(LeafLib.earnings(alice, 90 ether), depth);
        (a.scoresRoot,) = Trees.around(_hash(_leaf()), depth);
    }

    function _leaf() internal view returns (ScoreLeaf memory leaf) {
        RoundInfo memory info = rounds.roundInfo(ROUND);
        leaf = ScoreLeaf(info.firstId, alice, 1, 60 ether, 12_345, 67);
    }

    /// Levels of a tree of `leaves`.
    function _depth(uint256 leaves) internal pure returns (uint256 depth) {
        while (2 ** depth < leaves) {
            depth++;
        }
    }
}
