// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Test } from "../utils/Test.sol";
import { Handler } from "./Handler.sol";

/// @notice What holds after any sequence of acts by anybody. A guarded act that reverts fails the run.
contract InvariantTest is Test {
    Handler internal handler;

    function setUp() public {
        handler = new Handler();
        handler.setUp();

        bytes4[] memory acts = new bytes4[](22);
        acts[0] = Handler.wait.selector;
        acts[1] = Handler.submit.selector;
        acts[2] = Handler.claim.selector;
        acts[3] = Handler.reclaim.selector;
        acts[4] = Handler.withdrawCredit.selector;
        acts[5] = Handler.recordScore.selector;
        acts[6] = Handler.close.selector;
        acts[7] = Handler.drawSeed.selector;
        acts[8] = Handler.report.selector;
        acts[9] = Handler.commit.selector;
        acts[10] = Handler.attest.selector;
        acts[11] = Handler.finalise.selector;
        acts[12] = Handler.retry.selector;
        acts[13] = Handler.claimFee.selector;
        acts[14] = Handler.join.selector;
        acts[15] = Handler.topUp.selector;
        acts[16] = Handler.requestExit.selector;
        acts[17] = Handler.withdraw.selector;
        acts[18] = Handler.proveEquivocation.selector;
        // The steps of a round come up more often, so that rounds get somewhere.
        acts[19] = Handler.playRound.selector;
        acts[20] = Handler.playRound.selector;
        acts[21] = Handler.attest.selector;
        _target(address(handler), acts);
    }

    function invariant_rewards__anyActs__solvent() public view {
        handler.checkRewards();
    }

    function invariant_stake__anyActs__conserved() public view {
        handler.checkStake();
    }

    function invariant_deposits__anyActs__conserved() public view {
        handler.checkDeposits();
    }

    function invariant_rounds__anyActs__finalOnceAndJoinedUp() public view {
        handler.checkRounds();
    }

    /// Asked by forge after each run.
    function afterInvariant() public {
        handler.drain();
    }
}
