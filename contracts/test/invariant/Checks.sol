// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Phase, RoundInfo, Validator } from "../../src/Types.sol";
import { Handler } from "./Handler.sol";

/// @notice What must hold between any two acts, and that everybody gets everything out after the last.
contract Checks is Handler {
    /// Every reward token is available, earned and unclaimed, or owed as a fee.
    function checkRewards() external view {
        uint256 unclaimed = pool.earnedTotal() - pool.claimedTotal();
        uint256 owed = pool.available() + unclaimed + pool.feesOwed();
        assertEq(rewardToken.balanceOf(address(pool)), owed, "balance is what is owed");
        assertEq(pool.funded(), _fundedIn, "funds add up");
        assertEq(owed + pool.claimedTotal() + _feesOut, _fundedIn, "paid and owed is what was funded");
        assertEq(pool.claimedTotal(), pool.claimed(alice) + pool.claimed(bob), "claims add up");
        assertEq(pool.earnedTotal(), _aliceEarned + _bobEarned, "earnings add up");
        assertEq(rewardToken.balanceOf(alice), pool.claimed(alice), "alice has what she claimed");
        assertEq(rewardToken.balanceOf(bob), pool.claimed(bob), "bob has what he claimed");
        assertLe(pool.claimed(alice), _aliceEarned, "alice is not overpaid");
        assertLe(pool.claimed(bob), _bobEarned, "bob is not overpaid");
    }

    /// Every stake token is somebody's stake, burned, or went out again; weights add up and respect the stake.
    function checkStake() external view {
        uint256 stake;
        uint256 weight;
        uint64 current = rounds.currentRound();
        for (uint256 i = 0; i < OPERATORS; i++) {
            uint256 own = validators.stakeOf(_operator(i));
            uint256 counts = validators.weightAt(_operator(i), current);
            assertLe(counts, own, "no weight without stake");
            (stake, weight) = (stake + own, weight + counts);
        }
        assertEq(stakeToken.balanceOf(address(validators)), stake + validators.burned(), "balance is the stake");
        assertEq(_stakedIn - _stakedOut, stake + validators.burned(), "nothing came from nowhere");
        assertEq(validators.totalWeight(), weight, "weights add up");
    }

    /// Every wei is a deposit or a credit.
    function checkDeposits() external view {
        uint256 held = registry.credits(alice) + registry.credits(bob) + registry.credits(owner);
        for (uint64 id = 1; id <= registry.count(); id++) {
            held += registry.contribution(id).deposit;
        }
        assertEq(address(registry).balance, held, "balance is what is held");
    }

    /// One round is open, at most the one before it is unsettled, ranges join up, tallies are within bounds, and the
    /// weights of the closed round add up to the snapshot.
    function checkRounds() external view {
        uint64 current = rounds.currentRound();
        uint64 nextId = 1;
        for (uint64 round = 1; round < current; round++) {
            RoundInfo memory info = rounds.roundInfo(round);
            assertTrue(round + 1 == current || _settled(round), "one unsettled round at most");
            assertEq(info.firstId, nextId, "ranges join up");
            if (info.phase != Phase.Abandoned) nextId = info.endId;
            assertLe(info.attestedWeight, info.committedWeight, "attested");
            assertLe(info.committedWeight, info.totalWeight, "committed");
            assertLe(info.reportedWeight, info.totalWeight, "reported");
        }
        assertTrue(rounds.phase(current) == Phase.Open, "a round is open");
        assertEq(rounds.roundInfo(current).firstId, nextId, "and joins up");
        if (current == 1) return;

        uint256 weight;
        for (uint256 i = 0; i < OPERATORS; i++) {
            weight += validators.weightAt(_operator(i), current - 1);
        }
        assertEq(weight, rounds.roundInfo(current - 1).totalWeight, "the snapshot is what its parts are");
    }

    /// A round is final once, with the one digest that more than two thirds of its weight attested, or not at all.
    function checkFinality() external view {
        for (uint64 round = 1; round < rounds.currentRound(); round++) {
            RoundInfo memory info = rounds.roundInfo(round);
            assertEq(info.digest, _final[round], "final once");
            assertTrue((info.phase == Phase.Finalised) == (_final[round] != 0), "final for ever");
            assertLe(_feesOf[round], rounds.parametersOf(round).validatorFee, "fees within the offer");
            if (_final[round] == 0) continue;
            assertTrue(_weightFor[info.digest] * 3 > info.totalWeight * 2, "equal hash of a quorum, or nothing");
            assertEq(rounds.weightOn(info.digest), _weightFor[info.digest], "and the tally is right");
        }
    }

    /// From any state, everybody gets everything out, by acts that anybody may do, while submissions are paused.
    function drain() external {
        if (!dao.paused()) this.pauseOrUnpause();
        _settle();
        for (uint256 i = 0; i < OPERATORS; i++) {
            _leave(_operator(i));
        }
        assertEq(stakeToken.balanceOf(address(validators)), validators.burned(), "all stake is out");

        for (uint64 r = 1; r <= rounds.currentRound(); r++) {
            RoundInfo memory info = rounds.roundInfo(r);
            uint64 end = r == rounds.currentRound() ? registry.count() + 1 : info.endId;
            for (uint64 id = info.firstId; id < end; id++) {
                rounds.reclaimDeposit(r, id);
            }
            if (info.phase != Phase.Finalised) continue;
            for (uint256 i = 0; i < OPERATORS; i++) {
                claimFee(r, i);
            }
        }
        for (uint256 i = 0; i < 3; i++) {
            withdrawCredit(i);
        }
        assertEq(address(registry).balance, 0, "all deposits are out");
        claim(0);
        claim(1);
        assertEq(pool.feesOwed(), 0, "all fees are paid or released");
        assertEq(rewardToken.balanceOf(address(pool)), pool.available(), "all rewards are out");
    }

    function _settle() internal {
        uint64 round = rounds.currentRound() - 1;
        if (round == 0 || _settled(round)) return;
        while (rounds.phase(round) == Phase.Closed) {
            _mine(3);
            rounds.drawSeed(round);
        }
        _toStalled(round);
        finalise(0);
        finalise(1);
        if (!_settled(round)) _abandon(round);
    }

    function _leave(address operator) internal {
        if (validators.signerOf(operator) == address(0)) return;
        vm.startPrank(operator);
        if (_stays(operator)) validators.requestExit();
        // Longer than any exit delay that the owner has set, and than the attempt under way.
        _skip(20 days);
        validators.withdraw();
        vm.stopPrank();
    }
}
