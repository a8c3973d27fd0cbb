// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Parameters } from "../src/Types.sol";
import { IRewardPool } from "../src/interfaces/IRewardPool.sol";
import { IScoringRounds } from "../src/interfaces/IScoringRounds.sol";
import { LeafLib } from "../src/libraries/LeafLib.sol";
import { Fixture } from "./utils/Fixture.sol";
import { CallbackToken, FeeToken } from "./utils/Tokens.sol";
import { Trees } from "./utils/Trees.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

contract RewardPoolTest is Fixture {
    function test_constructor__zeroAddress__refused() public {
        _refusesZero("RewardPool", abi.encode(address(0), rewardToken), IRewardPool.ZeroAddress.selector);
        _refusesZero("RewardPool", abi.encode(rounds, address(0)), IRewardPool.ZeroAddress.selector);
    }

    /* FUND */

    function test_fund__anyone__available() public {
        rewardToken.mint(bob, 5 ether);
        vm.startPrank(bob);
        rewardToken.approve(address(pool), 5 ether);
        vm.expectEmit(address(pool));
        emit IRewardPool.Funded(bob, 5 ether, FUNDING + 5 ether);
        pool.fund(5 ether);

        assertEq(pool.funded(), FUNDING + 5 ether, "funded");
        assertEq(pool.available(), FUNDING + 5 ether, "available");
    }

    function test_fund__zero__refused() public {
        vm.expectRevert(IRewardPool.ZeroAmount.selector);
        pool.fund(0);
    }

    function test_fund__beyond120Bits__refusedAndBooksWhole() public {
        uint256 most = uint256(type(uint120).max) - FUNDING;
        rewardToken.mint(address(this), most + 1);
        rewardToken.approve(address(pool), most + 1);
        vm.expectPartialRevert(SafeCast.SafeCastOverflowedUintDowncast.selector);
        pool.fund(most + 1);
        pool.fund(most);
        assertEq(pool.funded(), type(uint120).max, "to the last unit");
    }

    function test_fund__tokenWithFee__refusedAndBooksWhole() public {
        FeeToken token = new FeeToken();
        _deploy(address(stakeToken), address(token));
        token.mint(address(this), 100 ether);
        token.approve(address(pool), 100 ether);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.UnsupportedToken.selector, 100 ether, 99 ether));
        pool.fund(100 ether);

        assertEq(pool.funded(), 0, "nothing counted");
    }

    /* FINALISE */

    function test_finalise__byStranger__refused() public {
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.OnlyRounds.selector, address(this)));
        pool.finalise(0, 0, 1, 0);
    }

    function test_finalise__decreasingOrUnfunded__refused() public {
        vm.startPrank(address(rounds));
        pool.finalise("root", 10 ether, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.EarningsDecreased.selector, 10 ether - 1, 10 ether));
        pool.finalise("root", 10 ether - 1, 2, 0);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.Unfunded.selector, FUNDING + 1, FUNDING));
        pool.finalise("root", 10 ether, 2, uint128(FUNDING) - 10 ether + 1);
        pool.finalise("root", 10 ether, 2, uint128(FUNDING) - 10 ether);

        assertEq(pool.available(), 0, "all owed");
        assertEq(pool.feesOwed(), FUNDING - 10 ether, "fees");
    }

    function test_views__beforeAndAfterTheFirstRound__whatIsPublished() public {
        assertEq(pool.earningsRoot(), bytes32(0), "no tree");
        assertTrue(pool.earnedTotal() == 0 && pool.claimedTotal() == 0 && pool.feesOwed() == 0, "nothing owed");
        (uint64 round, Attestation memory a) = _wholeRound("1");
        assertEq(pool.earningsRoot(), a.earningsRoot, "the round's tree");
        assertEq(pool.feesOwed(), FEE, "its fee");
        assertTrue(!pool.feeClaimed(round, _operator(0)), "not claimed");
    }

    function test_finalise__emptyTree__nothingToProve() public {
        vm.prank(address(rounds));
        pool.finalise(0, 0, 1, 0);
        assertEq(pool.earningsRoot(), bytes32(0), "the root of no leaves");
        vm.expectPartialRevert(IRewardPool.InvalidProof.selector);
        pool.claim(alice, 1, new bytes32[](0));
    }

    /* CLAIM */

    function test_claim__byAnybody__paysTheAccount() public {
        _wholeRound("1");
        vm.expectEmit(address(pool));
        emit IRewardPool.Claimed(alice, 60 ether, 60 ether);
        _claim(alice);

        assertEq(rewardToken.balanceOf(alice), 60 ether, "paid");
        assertEq(pool.claimed(alice), 60 ether, "claimed");
        assertEq(pool.claimedTotal(), 60 ether, "claimed by all");
    }

    function test_claim__twice__refused() public {
        _wholeRound("1");
        _claim(alice);
        (uint256 cumulative, bytes32[] memory proof) = _earningsProof(alice, 100 ether);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NothingToClaim.selector, alice, 60 ether));
        pool.claim(alice, cumulative, proof);
    }

    function test_claim__skippedRounds__paidAtOnce() public {
        _wholeRound("1");
        _wholeRound("2");
        _claim(alice);
        _wholeRound("3");
        _claim(alice);
        _claim(bob);

        assertEq(rewardToken.balanceOf(alice), 180 ether, "alice");
        assertEq(rewardToken.balanceOf(bob), 120 ether, "bob");
    }

    function test_claim__otherAccountOrAmountOrOldTree__refused() public {
        _wholeRound("1");
        (uint256 cumulative, bytes32[] memory proof) = _earningsProof(alice, 100 ether);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.InvalidProof.selector, bob, cumulative));
        pool.claim(bob, cumulative, proof);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.InvalidProof.selector, alice, cumulative + 1));
        pool.claim(alice, cumulative + 1, proof);

        _wholeRound("2");
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.InvalidProof.selector, alice, cumulative));
        pool.claim(alice, cumulative, proof);
    }

    function test_claim__treeBeyondItsTotal__stopsAtWhatWasEarned() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = LeafLib.earnings(alice, 100 ether);
        leaves[1] = LeafLib.earnings(bob, FUNDING);
        a.earningsRoot = Trees.root(leaves);
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);

        bytes32[] memory proof = Trees.proof(leaves, leaves[1]);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.EarningsExceeded.selector, FUNDING, 100 ether));
        pool.claim(bob, FUNDING, proof);
        pool.claim(alice, 100 ether, Trees.proof(leaves, leaves[0]));
        assertEq(pool.available(), FUNDING - 100 ether - FEE, "later rounds keep their funds");
    }

    function testFuzz_claim__anySplit__paysExactly(uint128[8] memory raw, uint256 who) public {
        bytes32[] memory leaves = new bytes32[](8);
        uint256 total;
        for (uint256 i = 0; i < 8; i++) {
            raw[i] = uint128(bound(raw[i], 1, FUNDING / 8));
            total += raw[i];
            leaves[i] = LeafLib.earnings(_operator(i), raw[i]);
        }
        vm.prank(address(rounds));
        pool.finalise(Trees.root(leaves), uint128(total), 1, 0);

        who = bound(who, 0, 7);
        pool.claim(_operator(who), raw[who], Trees.proof(leaves, leaves[who]));
        assertEq(rewardToken.balanceOf(_operator(who)), raw[who], "paid");
        for (uint256 i = 0; i < 8; i++) {
            if (i != who) pool.claim(_operator(i), raw[i], Trees.proof(leaves, leaves[i]));
        }
        assertEq(pool.claimedTotal(), total, "all paid, to the unit");
    }

    function test_claim__reentered__refused() public {
        CallbackToken token = new CallbackToken();
        _deploy(address(stakeToken), address(token));
        token.mint(address(this), FUNDING);
        token.approve(address(pool), FUNDING);
        pool.fund(FUNDING);
        vm.prank(address(rounds));
        pool.finalise(Trees.root(_earningsLeaves(100 ether)), 100 ether, 1, 0);
        (uint256 cumulative, bytes32[] memory proof) = _earningsProof(alice, 100 ether);
        token.hook(alice, address(pool), abi.encodeCall(IRewardPool.claim, (alice, cumulative, proof)));
        pool.claim(alice, cumulative, proof);

        assertTrue(!token.reentered(), "no way back in");
        assertEq(token.balanceOf(alice), cumulative, "paid once");
    }

    /* FEES */

    function test_claimFee__allAttested__sharedByWeight() public {
        (uint64 round,) = _wholeRound("1");
        _toStalled(round);
        for (uint256 i = 0; i < VALIDATORS; i++) {
            vm.expectEmit(address(pool));
            emit IRewardPool.FeeClaimed(round, _operator(i), FEE / 4);
            pool.claimFee(round, _operator(i));
            assertEq(rewardToken.balanceOf(_operator(i)), FEE / 4, "paid");
            assertTrue(pool.feeClaimed(round, _operator(i)), "told");
        }
        assertEq(pool.feesOwed(), 0, "nothing owed");
        assertEq(pool.available(), FUNDING - 100 ether - FEE, "nothing released");
    }

    function test_claimFee__beforeAttestDeadline__refused() public {
        (uint64 round,) = _wholeRound("1");
        vm.warp(rounds.roundInfo(round).attestDeadline);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.FeesNotSettled.selector, round));
        pool.claimFee(round, _operator(0));
        _skip(1);
        pool.claimFee(round, _operator(0));
    }

    function test_claimFee__twiceOrStranger__refused() public {
        (uint64 round,) = _wholeRound("1");
        _toStalled(round);
        pool.claimFee(round, _operator(0));
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NoFee.selector, round, _operator(0)));
        pool.claimFee(round, _operator(0));
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NoFee.selector, round, alice));
        pool.claimFee(round, alice);
    }

    function test_claimFee__absentAndDissenting__nothingAndReleased() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        Attestation memory other = _attestation(round);
        other.evidence = keccak256("other");
        _reportAll(round);
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        _commit(other, 3);
        for (uint256 i = 0; i < 3; i++) {
            _attest(a, i);
        }
        _attest(other, 3);
        rounds.finalise(a);
        _toStalled(round);

        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NoFee.selector, round, _operator(3)));
        pool.claimFee(round, _operator(3));
        pool.claimFee(round, _operator(0));
        pool.claimFee(round, _operator(1));
        assertEq(pool.feesOwed(), FEE / 2, "the last is not paid yet");
        vm.expectEmit(address(pool));
        emit IRewardPool.FeeReleased(round, FEE / 4);
        pool.claimFee(round, _operator(2));

        assertEq(pool.feesOwed(), 0, "nothing owed");
        assertEq(pool.available(), FUNDING - 100 ether - FEE * 3 / 4, "the dissenter's share rolls over");
    }

    function test_claimFee__afterWithdrawal__stillPaid() public {
        (uint64 round,) = _wholeRound("1");
        vm.startPrank(_operator(0));
        validators.requestExit();
        _skip(8 days);
        validators.withdraw();
        vm.stopPrank();
        pool.claimFee(round, _operator(0));
        assertEq(rewardToken.balanceOf(_operator(0)), FEE / 4, "paid");
    }

    function test_claimFee__shareOfOneUnit__paid() public {
        uint64 round = _roundWithFee(4);
        pool.claimFee(round, _operator(0));
        assertEq(rewardToken.balanceOf(_operator(0)), 1, "one unit");
    }

    function test_claimFee__noFee__movesNoToken() public {
        uint64 round = _roundWithFee(0);
        vm.recordLogs();
        pool.claimFee(round, _operator(0));
        assertEq(vm.getRecordedLogs().length, 1, "FeeClaimed, and no transfer of nothing");
    }

    function test_claimFee__reentered__refused() public {
        CallbackToken token = _withCallbackToken();
        (uint64 round,) = _wholeRound("1");
        _toStalled(round);
        token.hook(_operator(0), address(pool), abi.encodeCall(IRewardPool.claimFee, (round, _operator(1))));
        pool.claimFee(round, _operator(0));
        assertTrue(!token.reentered(), "no way back in");
    }

    function test_fund__reentered__refused() public {
        CallbackToken token = _withCallbackToken();
        (uint64 round,) = _wholeRound("1");
        _toStalled(round);
        token.hook(address(pool), address(pool), abi.encodeCall(IRewardPool.claimFee, (round, _operator(1))));
        token.mint(address(this), 1);
        token.approve(address(pool), 1);
        pool.fund(1);
        assertTrue(!token.reentered(), "no way back in");
    }

    /* STEPS */

    /// A round that offers this fee to its validators, finalised and past its deadline.
    function _roundWithFee(uint128 fee) internal returns (uint64 round) {
        Parameters memory p = _parameters();
        p.validatorFee = fee;
        vm.prank(owner);
        dao.setParameters(p);
        _wholeRound("1");
        (round,) = _wholeRound("2");
        _toStalled(round);
    }

    /// The fixture once more, with a reward token that calls back.
    function _withCallbackToken() internal returns (CallbackToken token) {
        token = new CallbackToken();
        _found(address(stakeToken), address(token));
        token.mint(address(this), FUNDING);
        token.approve(address(pool), FUNDING);
        pool.fund(FUNDING);
        rounds.open();
    }
}
