// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Phase, ScoreLeaf } from "../../src/Types.sol";
import { IContributionRegistry } from "../../src/interfaces/IContributionRegistry.sol";
import { IScoringRounds } from "../../src/interfaces/IScoringRounds.sol";
import { Fixture } from "../utils/Fixture.sol";
import { Trees } from "../utils/Trees.sol";

/// @notice Scores proven against the tree, deposits returned, forfeited and reclaimed.
contract ScoresTest is Fixture {
    function test_verifyScore__leafOfTheTree__onlyThatLeafInThatRound() public {
        (uint64 first,) = _wholeRound("1");
        (uint64 second,) = _wholeRound("2");
        ScoreLeaf memory leaf = _scoreLeaf(1, 0);
        bytes32[] memory proof = _scoreProof(1, 0);
        assertTrue(rounds.verifyScore(first, leaf, proof), "in the tree");
        assertTrue(!rounds.verifyScore(second, leaf, proof), "not in the next tree");
        leaf.payable_++;
        assertTrue(!rounds.verifyScore(first, leaf, proof), "another amount");
    }

    function test_verifyScore__notFinalised__false() public {
        uint64 round = _begin();
        assertTrue(!rounds.verifyScore(round, _scoreLeaf(1, 0), new bytes32[](0)), "no tree yet");
    }

    function test_recordScore__paid__storedAndDepositReturned() public {
        (uint64 round,) = _wholeRound("1");
        ScoreLeaf memory leaf = _scoreLeaf(1, 0);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.ScoreRecorded(round, 1, leaf);
        _record(round, 1, 0);

        (uint64 scored, ScoreLeaf memory stored) = rounds.scoreOf(1);
        assertEq(scored, round, "round");
        assertEq(keccak256(abi.encode(stored)), keccak256(abi.encode(leaf)), "leaf");
        assertEq(registry.credits(alice), DEPOSIT, "deposit back");
    }

    function test_recordScore__malformed__depositForfeited() public {
        (uint64 round,) = _wholeRound("1");
        _record(round, 1, 1);
        assertEq(registry.credits(bob), 0, "nothing back");
        assertEq(registry.credits(owner), DEPOSIT, "to the DAO's owner");
    }

    function testFuzz_recordScore__anyStatus__forfeitsFourToSeven(uint8 status) public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        ScoreLeaf memory leaf = ScoreLeaf(1, alice, status, 1, type(int128).min, type(uint128).max);
        a.scoresRoot = _hash(leaf);
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        rounds.recordScore(round, leaf, new bytes32[](0));

        bool forfeited = status >= 4 && status <= 7;
        assertEq(registry.credits(alice), forfeited ? 0 : DEPOSIT, "contributor");
        assertEq(registry.credits(owner), forfeited ? DEPOSIT : 0, "owner");
    }

    function test_recordScore__twice__refused() public {
        (uint64 round,) = _wholeRound("1");
        _record(round, 1, 0);
        bytes32[] memory proof = _scoreProof(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.AlreadyRecorded.selector, 1));
        rounds.recordScore(round, _scoreLeaf(1, 0), proof);
    }

    function test_recordScore__notInTheTree__refused() public {
        (uint64 round,) = _wholeRound("1");
        ScoreLeaf memory leaf = _scoreLeaf(1, 1);
        leaf.status = 1;
        bytes32[] memory proof = _scoreProof(1, 1);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.InvalidScore.selector, round, 2));
        rounds.recordScore(round, leaf, proof);
    }

    function test_recordScore__idOutsideTheRound__refused() public {
        _submit(alice, "0 a");
        _submit(bob, "0 b");
        uint64 round = _close();
        _draw(round);
        uint64 later = _submit(alice, "later");
        Attestation memory a = _attestation(round);
        ScoreLeaf memory foreign = ScoreLeaf(later, alice, 6, 0, 0, 0);
        a.scoresRoot = _hash(foreign);
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.InvalidScore.selector, round, later));
        rounds.recordScore(round, foreign, new bytes32[](0));
    }

    function test_verifyScore__leafOfAnEarlierIdInTheTree__false() public {
        _wholeRound("1");
        _submit(alice, "2");
        uint64 round = _close();
        _draw(round);
        Attestation memory a = _attestation(round);
        ScoreLeaf memory earlier = _scoreLeaf(1, 0);
        a.scoresRoot = _hash(earlier);
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        assertTrue(!rounds.verifyScore(round, earlier, new bytes32[](0)), "id 1 is of round 1");
        ScoreLeaf memory later = _scoreLeaf(4, 0);
        assertTrue(!rounds.verifyScore(round, later, new bytes32[](0)), "id 4 is of round 3");
    }

    function test_scoreOf__notRecorded__refused() public {
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.NotRecorded.selector, 1));
        rounds.scoreOf(1);
    }

    /* RECLAIM */

    function test_reclaimDeposit__abandonedRound__returnedAndScoredLater() public {
        uint64 round = _begin();
        _reclaimRefused(round, 1);
        _abandon(round);
        rounds.reclaimDeposit(round, 1);
        assertEq(registry.credits(alice), DEPOSIT, "back");
        _reclaimRefused(round, 3);

        uint64 next = _close();
        _draw(next);
        _finish(next);
        _record(next, 1, 0);
        assertEq(registry.credits(alice), DEPOSIT, "not twice");
    }

    function test_reclaimDeposit__finalisedAndNeverRecorded__returnedAfterTheGrace() public {
        (uint64 round,) = _wholeRound("1");
        vm.warp(rounds.roundInfo(round).attestDeadline + 7 days);
        _reclaimRefused(round, 1);
        _skip(1);
        rounds.reclaimDeposit(round, 1);
        assertEq(registry.credits(alice), DEPOSIT, "back");
    }

    function test_reclaimDeposit__noValidatorLeft__returned() public {
        uint64 id = _submit(alice, "a");
        _reclaimRefused(1, id);
        for (uint256 i = 0; i < VALIDATORS; i++) {
            vm.prank(_operator(i));
            validators.requestExit();
        }
        rounds.reclaimDeposit(1, id);
        assertEq(registry.credits(alice), DEPOSIT, "back");
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.UnknownContribution.selector, id + 1));
        rounds.reclaimDeposit(1, id + 1);
    }

    function test_reclaimDeposit__unknownRoundOrBeforeItsRange__refused() public {
        _wholeRound("1");
        uint64 id = _submit(alice, "b");
        _reclaimRefused(9, id);
        _reclaimRefused(2, 1);
        for (uint256 i = 0; i < VALIDATORS; i++) {
            vm.prank(_operator(i));
            validators.requestExit();
        }
        _reclaimRefused(2, 1);
    }

    /* STEPS */

    function _record(uint64 round, uint64 firstId, uint256 i) internal {
        bytes32[] memory proof = _scoreProof(firstId, i);
        rounds.recordScore(round, _scoreLeaf(firstId, i), proof);
    }

    function _reclaimRefused(uint64 round, uint64 id) internal {
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.DepositHeld.selector, round, id));
        rounds.reclaimDeposit(round, id);
    }
}
