// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation } from "../../src/Types.sol";
import { IScoringRounds } from "../../src/interfaces/IScoringRounds.sol";
import { Fixture } from "../utils/Fixture.sol";

/// @notice Equivocation and commits that were not revealed.
contract FaultsTest is Fixture {
    uint64 internal round;
    Attestation internal a;
    Attestation internal b;

    function setUp() public override {
        super.setUp();
        round = _begin();
        a = _attestation(round);
        b = _attestation(round);
        b.scoresRoot = keccak256("other");
    }

    /* EQUIVOCATION */

    function test_proveEquivocation__twoSignatures__slashed() public {
        vm.expectEmit(address(rounds));
        emit IScoringRounds.EquivocationProven(round, 1, _operator(0), reporter);
        _prove(a, b);

        assertEq(validators.stakeOf(_operator(0)), STAKE / 2, "half the stake");
        assertEq(stakeToken.balanceOf(reporter), STAKE / 2 / 5, "a fifth of it to the reporter");
        assertEq(validators.burned(), STAKE / 2 * 4 / 5, "the rest is gone");
        assertEq(validators.weightAt(_operator(0), round), STAKE, "the closed round keeps its snapshot");
        assertEq(validators.totalWeight(), 350 ether, "the open round does not");
    }

    function test_proveEquivocation__afterAttesting__slashed() public {
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        _prove(a, b);
        assertEq(validators.stakeOf(_operator(0)), STAKE / 2, "slashed");
    }

    function test_proveEquivocation__sameAttemptAgain__refused() public {
        _prove(a, b);
        bytes memory refusal = abi.encodeWithSelector(IScoringRounds.AlreadyProven.selector, round, 1, _operator(0));
        _refused(a, b, refusal);
        _refused(b, a, refusal);
    }

    function test_proveEquivocation__sameOrOtherAttempt__refused() public {
        _refused(a, a, abi.encodeWithSelector(IScoringRounds.NoEquivocation.selector));
        b.attempt = 2;
        _refused(a, b, abi.encodeWithSelector(IScoringRounds.NoEquivocation.selector));
        b.attempt = 1;
        b.round = round + 1;
        _refused(a, b, abi.encodeWithSelector(IScoringRounds.NoEquivocation.selector));
    }

    function test_proveEquivocation__attemptNotBegun__refused() public {
        (a.attempt, b.attempt) = (2, 2);
        _refused(a, b, abi.encodeWithSelector(IScoringRounds.UnknownAttempt.selector, round, 2));
        (a.attempt, b.attempt) = (0, 0);
        _refused(a, b, abi.encodeWithSelector(IScoringRounds.UnknownAttempt.selector, round, 0));
        (a.attempt, b.attempt, a.round, b.round) = (1, 1, 77, 77);
        _refused(a, b, abi.encodeWithSelector(IScoringRounds.UnknownAttempt.selector, 77, 1));
    }

    function test_proveEquivocation__otherSigner__refused() public {
        (bytes memory mine, bytes memory foreign) = (_sign(a, 0), _sign(b, 1));
        bytes memory refusal = abi.encodeWithSelector(
            IScoringRounds.WrongSigner.selector, vm.addr(_signerKey(1)), vm.addr(_signerKey(0))
        );
        vm.expectRevert(refusal);
        rounds.proveEquivocation(_operator(0), a, mine, b, foreign);
        vm.expectRevert(refusal);
        rounds.proveEquivocation(_operator(0), b, foreign, a, mine);
    }

    function test_proveEquivocation__nobody__refused() public {
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongSigner.selector, address(0), address(0)));
        rounds.proveEquivocation(alice, a, "", b, "");
    }

    function test_proveEquivocation__malleatedSignature__refused() public {
        // The other root of the same signature recovers to the same key in a naive verifier.
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_signerKey(0), rounds.attestationDigest(b));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes memory twin = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        bytes memory signature = _sign(a, 0);
        vm.expectPartialRevert(IScoringRounds.WrongSigner.selector);
        rounds.proveEquivocation(_operator(0), a, signature, b, twin);
    }

    function test_proveEquivocation__duringExit__slashedBeforeWithdrawal() public {
        vm.prank(_operator(0));
        validators.requestExit();
        _prove(a, b);
        _abandon(round);
        _skip(7 days);
        vm.prank(_operator(0));
        validators.withdraw();
        assertEq(stakeToken.balanceOf(_operator(0)), STAKE / 2, "the rest");
    }

    function test_proveEquivocation__againstOneself__stillLoses() public {
        (bytes memory signatureA, bytes memory signatureB) = (_sign(a, 0), _sign(b, 0));
        vm.prank(_operator(0));
        rounds.proveEquivocation(_operator(0), a, signatureA, b, signatureB);
        assertEq(validators.burned(), STAKE / 2 * 4 / 5, "four fifths of the slash are gone");
    }

    function test_proveEquivocation__laterAttempt__slashedAgain() public {
        _prove(a, b);
        _toStalled(round);
        rounds.retry(round);
        (a.attempt, b.attempt) = (2, 2);
        _prove(a, b);
        assertEq(validators.stakeOf(_operator(0)), STAKE / 4, "half of the half");
    }

    function test_proveEquivocation__beforeReportingOrCommitting__stillProvenOnce() public {
        _prove(a, b);
        _reportAll(round);
        bytes memory refusal = abi.encodeWithSelector(IScoringRounds.AlreadyProven.selector, round, 1, _operator(0));
        _refused(a, b, refusal);
        _commitAll(a);
        _refused(a, b, refusal);
        _attestAll(a);
        _refused(a, b, refusal);
    }

    function test_proveEquivocation__joinedAgainWithAnotherKey__theOldKeyStillCounts() public {
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        vm.startPrank(_operator(0));
        validators.requestExit();
        _skip(8 days);
        validators.withdraw();
        stakeToken.approve(address(validators), STAKE);
        validators.join(STAKE, _operator(0), keccak256("hpke"), "");
        vm.stopPrank();

        b.attempt = a.attempt;
        _prove(a, b);
        assertEq(validators.stakeOf(_operator(0)), STAKE / 2, "the new stake answers for the old vote");
    }

    /* UNREVEALED */

    function test_chargeUnrevealed__finalisedRound__charged() public {
        _reportAll(round);
        _commitAll(a);
        for (uint256 i = 0; i < 3; i++) {
            _attest(a, i);
        }
        rounds.finalise(a);
        vm.warp(rounds.roundInfo(round).attestDeadline);
        _chargeRefused(1, 3);
        _toStalled(round);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.CommitUnrevealed(round, 1, _operator(3), 1 ether);
        vm.prank(reporter);
        rounds.chargeUnrevealed(round, 1, _operator(3));

        assertEq(validators.stakeOf(_operator(3)), STAKE - 1 ether, "stake");
        assertEq(stakeToken.balanceOf(reporter), 0.2 ether, "the caller's share");
        _chargeRefused(1, 3);
        _chargeRefused(1, 0);
    }

    function test_chargeUnrevealed__charged__ballotKeepsWhatWasDone() public {
        _reportAll(round);
        _prove(a, b);
        _commitAll(a);
        _toStalled(round);
        rounds.chargeUnrevealed(round, 1, _operator(0));
        (bool reported, bytes32 commitHash,) = rounds.ballot(round, 1, _operator(0));
        assertTrue(reported && commitHash != 0, "reported and committed");
        _refused(a, b, abi.encodeWithSelector(IScoringRounds.AlreadyProven.selector, round, 1, _operator(0)));
        _chargeRefused(1, 0);
    }

    function test_chargeUnrevealed__stalledAndRetried__charged() public {
        _reportAll(round);
        _commitAll(a);
        _attest(a, 0);
        _toStalled(round);
        rounds.retry(round);
        rounds.chargeUnrevealed(round, 1, _operator(1));
        assertEq(validators.stakeOf(_operator(1)), STAKE - 1 ether, "stake");
        _chargeRefused(2, 1);
        _chargeRefused(1, 0);
    }

    function test_chargeUnrevealed__tooFewCommitted__nobodyToBlame() public {
        _reportAll(round);
        _commit(a, 0);
        _commit(a, 1);
        _toStalled(round);
        _chargeRefused(1, 0);
        rounds.retry(round);
        _chargeRefused(1, 0);
    }

    function test_chargeUnrevealed__neverCommitted__refused() public {
        _reportAll(round);
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        _toStalled(round);
        _chargeRefused(1, 3);
        _chargeRefused(9, 0);
    }

    function test_chargeUnrevealed__abandonedRound__charged() public {
        _toStalled(round);
        rounds.retry(round);
        _toStalled(round);
        rounds.retry(round);
        a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        _abandon(round);
        rounds.chargeUnrevealed(round, 3, _operator(2));
        assertEq(validators.stakeOf(_operator(2)), STAKE - 1 ether, "stake");
    }

    /* STEPS */

    function _prove(Attestation memory x, Attestation memory y) internal {
        (bytes memory signatureX, bytes memory signatureY) = (_sign(x, 0), _sign(y, 0));
        vm.prank(reporter);
        rounds.proveEquivocation(_operator(0), x, signatureX, y, signatureY);
    }

    function _refused(Attestation memory x, Attestation memory y, bytes memory refusal) internal {
        (bytes memory signatureX, bytes memory signatureY) = (_sign(x, 0), _sign(y, 0));
        vm.expectRevert(refusal);
        rounds.proveEquivocation(_operator(0), x, signatureX, y, signatureY);
    }

    function _chargeRefused(uint32 attempt, uint256 i) internal {
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.NothingToCharge.selector, round, attempt, _operator(i)));
        rounds.chargeUnrevealed(round, attempt, _operator(i));
    }
}
