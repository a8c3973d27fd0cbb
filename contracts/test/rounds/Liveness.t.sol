// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Phase, RoundInfo } from "../../src/Types.sol";
import { Fixture } from "../utils/Fixture.sol";
import { Ownable } from "@openzeppelin/contracts/access/Ownable.sol";

/// @notice From every state of a round, with submissions paused and the owner gone, everybody gets everything out by acts
/// that anybody may do.
contract LivenessTest is Fixture {
    function test_everythingOut__open__nothingLocked() public {
        _submit(alice, "a");
        _everythingOut();
    }

    function test_everythingOut__closed__nothingLocked() public {
        _submit(alice, "a");
        _reached(_close(), Phase.Closed);
    }

    function test_everythingOut__closedAndSeedOutOfReach__nothingLocked() public {
        _submit(alice, "a");
        uint64 round = _close();
        _mine(300);
        _reached(round, Phase.Closed);
    }

    function test_everythingOut__reporting__nothingLocked() public {
        uint64 round = _begin();
        _report(round, 0);
        _reached(round, Phase.Reporting);
    }

    function test_everythingOut__committing__nothingLocked() public {
        uint64 round = _begin();
        _reportAll(round);
        _commit(_attestation(round), 0);
        _reached(round, Phase.Committing);
    }

    function test_everythingOut__attesting__nothingLocked() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        _attest(a, 0);
        _reached(round, Phase.Attesting);
    }

    function test_everythingOut__stalled__nothingLocked() public {
        uint64 round = _begin();
        _toStalled(round);
        _reached(round, Phase.Stalled);
    }

    function test_everythingOut__lastAttempt__nothingLocked() public {
        uint64 round = _begin();
        for (uint256 i = 0; i < 2; i++) {
            _toStalled(round);
            rounds.retry(round);
        }
        _reached(round, Phase.Reporting);
    }

    function test_everythingOut__finalised__nothingLocked() public {
        (uint64 round,) = _wholeRound("1");
        _reached(round, Phase.Finalised);
    }

    function test_everythingOut__abandoned__nothingLocked() public {
        uint64 round = _begin();
        _abandon(round);
        _reached(round, Phase.Abandoned);
    }

    function test_everythingOut__slashedToNothing__nothingLocked() public {
        uint64 round = _begin();
        for (uint256 i = 0; i < VALIDATORS; i++) {
            vm.prank(address(rounds));
            validators.slash(_operator(i), STAKE, reporter, 0);
        }
        _reached(round, Phase.Reporting);
    }

    /* STEPS */

    function _reached(uint64 round, Phase phase) internal {
        assertTrue(rounds.phase(round) == phase, "the state that the test is about");
        _submit(bob, "waiting for the next round");
        _everythingOut();
    }

    function _everythingOut() internal {
        vm.startPrank(owner);
        dao.pause();
        Ownable(address(dao)).renounceOwnership();
        vm.stopPrank();
        uint64 current = rounds.currentRound();
        if (current > 1) _settle(current - 1);
        for (uint256 i = 0; i < VALIDATORS; i++) {
            vm.startPrank(_operator(i));
            validators.requestExit();
            _skip(7 days + 1 hours);
            validators.withdraw();
            vm.stopPrank();
        }
        assertEq(stakeToken.balanceOf(address(validators)), validators.burned(), "stake");
        for (uint64 r = 1; r <= current; r++) {
            _reclaimAll(r, r == current);
        }
        if (registry.credits(alice) != 0) registry.withdrawCredit(payable(alice));
        if (registry.credits(bob) != 0) registry.withdrawCredit(payable(bob));
        assertEq(address(registry).balance, 0, "deposits");
        if (pool.earnedTotal() != 0) {
            _claim(alice);
            _claim(bob);
        }
        assertEq(rewardToken.balanceOf(address(pool)), pool.available(), "rewards");
    }

    function _settle(uint64 round) internal {
        while (rounds.phase(round) == Phase.Closed) {
            _draw(round);
        }
        if (rounds.phase(round) != Phase.Finalised) _abandon(round);
    }

    function _reclaimAll(uint64 round, bool open) internal {
        RoundInfo memory info = rounds.roundInfo(round);
        uint64 end = open ? registry.count() + 1 : info.endId;
        for (uint64 id = info.firstId; id < end; id++) {
            rounds.reclaimDeposit(round, id);
        }
        if (info.phase != Phase.Finalised) return;
        for (uint256 i = 0; i < VALIDATORS; i++) {
            pool.claimFee(round, _operator(i));
        }
    }
}
