// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Phase, RoundInfo, ScoreLeaf } from "../../src/Types.sol";
import { IRewardPool } from "../../src/interfaces/IRewardPool.sol";
import { IScoringRounds } from "../../src/interfaces/IScoringRounds.sol";
import { LeafLib } from "../../src/libraries/LeafLib.sol";
import { Fixture } from "../utils/Fixture.sol";
import { Trees } from "../utils/Trees.sol";
import { Hashes } from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// @notice What somebody would try who wants more than their share, or that nobody gets theirs.
contract AttackTest is Fixture {
    /* COPYING */

    function test_copiedCommit__anotherOperator__cannotBeRevealed() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        bytes32 honest = _commitHash(a, 0);
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        vm.prank(_operator(3));
        rounds.commit(round, honest, "");
        _attest(a, 0);

        // The copier now knows answer and salt, and signs them with its own key.
        bytes memory signature = _sign(a, 3);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.CommitMismatch.selector, round, 1, _operator(3)));
        rounds.attest(a, SALT, _operator(3), signature);
    }

    function test_copiedAnswer__committedAfterFirstReveal__refused() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        vm.warp(rounds.roundInfo(round).commitDeadline + 1);
        _attest(a, 0);
        bytes32 commitHash = _commitHash(a, 3);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Attesting));
        vm.prank(_operator(3));
        rounds.commit(round, commitHash, "");
    }

    function test_commitOfTheDigestItself__neverRevealed__earnsNoFee() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        bytes32 digest = rounds.attestationDigest(a);
        vm.prank(_operator(3));
        rounds.commit(round, digest, "");
        for (uint256 i = 0; i < 3; i++) {
            _attest(a, i);
        }
        rounds.finalise(a);
        _toStalled(round);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NoFee.selector, round, _operator(3)));
        pool.claimFee(round, _operator(3));
    }

    /* REPLAY */

    function test_replay__attestationOfAnEarlierRound__refused() public {
        (, Attestation memory old) = _wholeRound("1");
        uint64 round = _beginAgain();
        _reportAll(round);
        _commitAll(_attestation(round));
        bytes memory signature = _sign(old, 0);
        // The round it names takes late attestations still, but this operator has given its own.
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.AlreadyAttested.selector, 1, 1, _operator(0)));
        rounds.attest(old, SALT, _operator(0), signature);
        old.round = round;
        vm.expectPartialRevert(IScoringRounds.WrongSeed.selector);
        rounds.attest(old, SALT, _operator(0), signature);
    }

    function test_replay__attestationOfAnEarlierAttempt__refused() public {
        uint64 round = _begin();
        Attestation memory old = _attestation(round);
        _reportAll(round);
        for (uint256 i = 0; i < 3; i++) {
            _commit(old, i);
        }
        vm.warp(rounds.roundInfo(round).commitDeadline + 1);
        _attest(old, 0);
        _toStalled(round);
        rounds.retry(round);
        _reportAll(round);
        for (uint256 i = 0; i < VALIDATORS; i++) {
            _commit(_other(round), i);
        }

        bytes memory signature = _sign(old, 1);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongAttempt.selector, round, 1, 2));
        rounds.attest(old, SALT, _operator(1), signature);
        old.attempt = 2;
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.CommitMismatch.selector, round, 2, _operator(1)));
        rounds.attest(old, SALT, _operator(1), signature);
    }

    function test_replay__otherDeployment__otherDigest() public {
        Attestation memory a = _attestation(_begin());
        bytes32 digest = rounds.attestationDigest(a);
        _deploy(address(stakeToken), address(rewardToken));
        assertTrue(rounds.attestationDigest(a) != digest, "the contract is part of the digest");
    }

    function test_replay__oldTally__doesNotFinaliseTheNextAttempt() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        _attest(a, 0);
        _attest(a, 1);
        _toStalled(round);
        rounds.retry(round);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongAttempt.selector, round, 1, 2));
        rounds.finalise(a);
    }

    /* TREES */

    function test_secondPreimage__innerNodeAsEarningsLeaf__refused() public {
        (, Attestation memory a) = _wholeRound("1");
        bytes32[] memory leaves = _earningsLeaves(100 ether);
        // The root's two children as an (account, cumulative) pair: what a single hash would accept.
        (bytes32 left, bytes32 right) = leaves[0] < leaves[1] ? (leaves[0], leaves[1]) : (leaves[1], leaves[0]);
        assertEq(Hashes.commutativeKeccak256(left, right), a.earningsRoot, "the pair hashes to the root");
        address account = address(uint160(uint256(left)));
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.InvalidProof.selector, account, uint256(right)));
        pool.claim(account, uint256(right), new bytes32[](0));
    }

    function test_forgedScore__noOrForeignProof__refused() public {
        (uint64 round,) = _wholeRound("1");
        ScoreLeaf memory forged = _scoreLeaf(1, 0);
        forged.payable_ = type(uint128).max;
        assertTrue(!rounds.verifyScore(round, forged, new bytes32[](0)), "no proof at all");
        assertTrue(!rounds.verifyScore(round, forged, _scoreProof(1, 0)), "another leaf's proof");
    }

    function test_thief__overpromisingTree__cannotReachTheTreasury() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        a.earningsRoot = LeafLib.earnings(bob, FUNDING);
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.EarningsExceeded.selector, FUNDING, 100 ether));
        pool.claim(bob, FUNDING, new bytes32[](0));
    }

    /* STALLING */

    function test_griefer__smallValidatorNeverActs__roundStillEnds() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        for (uint256 i = 0; i < 3; i++) {
            _report(round, i);
        }
        vm.warp(rounds.roundInfo(round).reportDeadline + 1);
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        vm.warp(rounds.roundInfo(round).commitDeadline + 1);
        for (uint256 i = 0; i < 3; i++) {
            _attest(a, i);
        }
        rounds.finalise(a);
        assertTrue(rounds.phase(round) == Phase.Finalised, "three of four are enough");
    }

    function test_griefer__retriesAtOnce__honestCommittersAreNotCharged() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commit(a, 0);
        _commit(a, 1);
        vm.warp(rounds.roundInfo(round).commitDeadline + 1);
        rounds.retry(round);
        for (uint256 i = 0; i < 2; i++) {
            vm.expectPartialRevert(IScoringRounds.NothingToCharge.selector);
            rounds.chargeUnrevealed(round, 1, _operator(i));
        }
    }

    function test_everyValidatorLeavesMidRound__nothingIsLocked() public {
        uint64 round = _begin();
        for (uint256 i = 0; i < VALIDATORS; i++) {
            vm.prank(_operator(i));
            validators.requestExit();
        }
        _abandon(round);
        _skip(7 days);
        for (uint256 i = 0; i < VALIDATORS; i++) {
            vm.prank(_operator(i));
            validators.withdraw();
        }
        rounds.reclaimDeposit(round, 1);
        rounds.reclaimDeposit(round, 2);
        registry.withdrawCredit(payable(alice));
        registry.withdrawCredit(payable(bob));
        assertEq(stakeToken.balanceOf(address(validators)), 0, "stake is out");
        assertEq(address(registry).balance, 0, "deposits are out");
        assertEq(pool.available(), FUNDING, "rewards are whole");
    }

    function test_owner__pausesAndChangesEverything__roundUnderWayUntouched() public {
        uint64 round = _begin();
        vm.startPrank(owner);
        dao.pause();
        dao.publishManifest(keccak256("hostile"));
        dao.publishKeyEpoch(keccak256("hostile"));
        for (uint256 i = 0; i < VALIDATORS; i++) {
            dao.admit(_operator(i), false);
        }
        vm.stopPrank();
        Attestation memory a = _finish(round);
        assertEq(rounds.roundInfo(round).digest, rounds.attestationDigest(a), "final");
    }

    function test_retryFlood__afterAbandonment__refused() public {
        uint64 round = _begin();
        _abandon(round);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Abandoned));
        rounds.retry(round);
        RoundInfo memory info = rounds.roundInfo(rounds.currentRound());
        assertEq(info.firstId, 1, "carried over once");
    }

    /* STEPS */

    function _beginAgain() internal returns (uint64 round) {
        _submit(alice, "again a");
        _submit(bob, "again b");
        round = _close();
        _draw(round);
    }

    function _other(uint64 round) internal view returns (Attestation memory a) {
        a = _attestation(round);
        a.evidence = keccak256("second attempt");
    }
}
