// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Test } from "../utils/Test.sol";
import { Checks } from "./Checks.sol";
import { Handler } from "./Handler.sol";

/// @notice What holds after any sequence of acts by anybody. A guarded act that reverts fails the run.
contract InvariantTest is Test {
    Checks internal checks;

    function setUp() public {
        checks = new Checks();
        checks.setUp();

        bytes4[] memory acts = new bytes4[](29);
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
        acts[16] = Handler.updateWeight.selector;
        acts[17] = Handler.requestExit.selector;
        acts[18] = Handler.withdraw.selector;
        acts[19] = Handler.proveEquivocation.selector;
        acts[20] = Handler.chargeUnrevealed.selector;
        acts[21] = Handler.setParameters.selector;
        acts[22] = Handler.pauseOrUnpause.selector;
        acts[23] = Handler.fund.selector;
        // The steps of a round come up more often, so that rounds get somewhere.
        acts[24] = Handler.playRound.selector;
        acts[25] = Handler.playRound.selector;
        acts[26] = Handler.playRound.selector;
        acts[27] = Handler.attest.selector;
        acts[28] = Handler.announce.selector;
        _target(address(checks), acts);
    }

    function invariant_everything__anyActs__holds() public view {
        checks.checkRewards();
        checks.checkStake();
        checks.checkDeposits();
        checks.checkRounds();
        checks.checkFinality();
    }

    /// The invariants would hold of a handler that does nothing.
    function test_acts__manySeeds__everyEndIsReached() public {
        for (uint256 i = 0; i < 600; i++) {
            uint256 seed = uint256(keccak256(abi.encode(i)));
            checks.playRound(seed);
            checks.retry();
            if (i % 8 == 0) checks.setParameters(seed);
            if (i % 8 == 1) checks.fund(seed);
            checks.claim(seed);
            checks.claimFee(seed, seed >> 8);
            checks.proveEquivocation(seed);
            checks.chargeUnrevealed(seed, seed >> 8);
            checks.topUp(seed, seed);
            if (i % 4 == 0) checks.join(seed);
            if (i % 4 == 1) checks.requestExit(seed);
            checks.withdraw(seed);
            if (i % 50 == 49) checks.pauseOrUnpause();
            if (i % 20 == 0) invariant_everything__anyActs__holds();
        }
        string[10] memory ends = [
            "final",
            "not final",
            "retried",
            "fee",
            "claimed",
            "proven",
            "charged",
            "held",
            "withdrawn",
            "full or paused"
        ];
        for (uint256 i = 0; i < ends.length; i++) {
            assertGe(checks.times(bytes32(bytes(ends[i]))), i < 5 ? 20 : 1, ends[i]);
        }
    }

    /// Asked by forge after each run.
    function afterInvariant() public {
        checks.drain();
    }
}
