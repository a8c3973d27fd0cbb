// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Phase, RoundInfo } from "../../src/Types.sol";
import { IRewardPool } from "../../src/interfaces/IRewardPool.sol";
import { IScoringRounds } from "../../src/interfaces/IScoringRounds.sol";
import { BitmapLib } from "../../src/libraries/BitmapLib.sol";
import { Fixture } from "../utils/Fixture.sol";

/// @notice Reports, commits, attestations and the finalising call.
contract BallotsTest is Fixture {
    /* REPORT */

    function test_reportAvailability__valid__countedAndEmitted() public {
        uint64 round = _begin();
        vm.expectEmit(address(rounds));
        emit IScoringRounds.AvailabilityReported(round, 1, _operator(0), STAKE, hex"01");
        vm.prank(_operator(0));
        rounds.reportAvailability(round, hex"01");

        (bool reported, bytes32 commitHash, bytes32 digest) = rounds.ballot(round, 1, _operator(0));
        assertTrue(reported, "reported");
        assertEq(commitHash, 0, "no commit");
        assertEq(digest, 0, "no attestation");
        assertEq(rounds.roundInfo(round).reportedWeight, STAKE, "weight");
    }

    function test_reportAvailability__twiceOrStrangerOrLate__refused() public {
        uint64 round = _begin();
        _report(round, 0);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.AlreadyReported.selector, round, 1, _operator(0)));
        vm.prank(_operator(0));
        rounds.reportAvailability(round, hex"03");
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.NoWeightInRound.selector, round, alice));
        vm.prank(alice);
        rounds.reportAvailability(round, hex"03");

        vm.warp(rounds.roundInfo(round).reportDeadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Committing));
        vm.prank(_operator(1));
        rounds.reportAvailability(round, hex"03");
    }

    function test_reportAvailability__notCanonical__refused() public {
        uint64 round = _begin();
        vm.startPrank(_operator(0));
        vm.expectRevert(abi.encodeWithSelector(BitmapLib.BitmapLength.selector, 0, 1));
        rounds.reportAvailability(round, "");
        vm.expectRevert(abi.encodeWithSelector(BitmapLib.BitmapLength.selector, 2, 1));
        rounds.reportAvailability(round, hex"0300");
        vm.expectRevert(abi.encodeWithSelector(BitmapLib.BitmapTail.selector, 4));
        rounds.reportAvailability(round, hex"04");
        rounds.reportAvailability(round, hex"00");
    }

    function testFuzz_reportAvailability__anyCountAndLastByte__oneFormOnly(uint256 count, uint8 last) public {
        count = bound(count, 1, 40);
        for (uint256 i = 0; i < count; i++) {
            _submit(alice, string(abi.encode(i)));
        }
        uint64 round = _close();
        _draw(round);
        bytes memory bitmap = new bytes((count + 7) / 8);
        bitmap[bitmap.length - 1] = bytes1(last);
        bool canonical = count % 8 == 0 || last < 2 ** (count % 8);

        if (!canonical) vm.expectRevert(abi.encodeWithSelector(BitmapLib.BitmapTail.selector, last));
        vm.prank(_operator(0));
        rounds.reportAvailability(round, bitmap);
        (bool reported,,) = rounds.ballot(round, 1, _operator(0));
        assertTrue(reported == canonical, "taken if canonical");
    }

    function test_reportAvailability__joinedAfterClosing__refused() public {
        uint64 round = _begin();
        _join(8, STAKE);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.NoWeightInRound.selector, round, _operator(8)));
        vm.prank(_operator(8));
        rounds.reportAvailability(round, hex"03");
    }

    /* COMMIT */

    function test_commit__valid__countedAndEmitted() public {
        uint64 round = _begin();
        _reportAll(round);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.Committed(round, 1, _operator(0), SALT, "backup");
        vm.prank(_operator(0));
        rounds.commit(round, SALT, "backup");

        (, bytes32 commitHash,) = rounds.ballot(round, 1, _operator(0));
        assertEq(commitHash, SALT, "commit");
        assertEq(rounds.roundInfo(round).committedWeight, STAKE, "weight");
    }

    function test_commit__zeroOrTwiceOrStrangerOrLongBackup__refused() public {
        uint64 round = _begin();
        _reportAll(round);
        vm.startPrank(_operator(0));
        vm.expectRevert(IScoringRounds.ZeroCommit.selector);
        rounds.commit(round, 0, "");
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.BackupSize.selector, 513, 512));
        rounds.commit(round, SALT, new bytes(513));
        rounds.commit(round, SALT, new bytes(512));
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.AlreadyCommitted.selector, round, 1, _operator(0)));
        rounds.commit(round, keccak256("second thought"), "");
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.NoWeightInRound.selector, round, alice));
        vm.prank(alice);
        rounds.commit(round, SALT, "");
    }

    function test_commit__wrongPhase__refused() public {
        uint64 round = _begin();
        vm.startPrank(_operator(0));
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Reporting));
        rounds.commit(round, SALT, "");
        vm.warp(rounds.roundInfo(round).commitDeadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Stalled));
        rounds.commit(round, SALT, "");
    }

    function test_ballot__stepByStep__keepsWhatWasDone() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        (bool reported, bytes32 commitHash, bytes32 digest) = rounds.ballot(round, 1, _operator(0));
        assertTrue(reported && commitHash == _commitHash(a, 0) && digest == 0, "committed");
        _attest(a, 0);
        (reported, commitHash, digest) = rounds.ballot(round, 1, _operator(0));
        assertTrue(reported && commitHash == 0 && digest == rounds.attestationDigest(a), "revealed");
    }

    function test_commit__withoutReport__counted() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        vm.warp(rounds.roundInfo(round).reportDeadline + 1);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        (bool reported,, bytes32 digest) = rounds.ballot(round, 1, _operator(0));
        assertTrue(!reported, "not reported");
        assertEq(digest, rounds.attestationDigest(a), "attested");
    }

    /* ATTEST */

    function test_attest__relayed__countedAndEmitted() public {
        (uint64 round, Attestation memory a) = _committed();
        bytes32 digest = rounds.attestationDigest(a);
        bytes memory signature = _sign(a, 0);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.Attested(round, 1, _operator(0), digest, signature, a);
        vm.prank(alice);
        rounds.attest(a, SALT, _operator(0), signature);

        (, bytes32 commitHash, bytes32 attested) = rounds.ballot(round, 1, _operator(0));
        assertEq(attested, digest, "digest");
        assertEq(commitHash, 0, "revealed");
        assertEq(rounds.weightOn(digest), STAKE, "tally");
        assertEq(rounds.roundInfo(round).attestedWeight, STAKE, "weight");
    }

    function test_attestationDigest__recomputed__isEip712() public {
        Attestation memory a = _attestation(_begin());
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Proof of Contribution"),
                keccak256("1"),
                block.chainid,
                address(rounds)
            )
        );
        bytes32 typehash = keccak256(
            "ScoreAttestation(uint64 round,uint32 attempt,bytes32 manifest,bytes32 seed,bytes32 inputsRoot,bytes32 scoresRoot,bytes32 earningsRoot,uint128 roundTotal,uint128 earnedTotal,uint32 count,bytes32 evidence)"
        );
        bytes memory head =
            abi.encode(typehash, a.round, a.attempt, a.manifest, a.seed, a.inputsRoot, a.scoresRoot, a.earningsRoot);
        bytes memory tail = abi.encode(a.roundTotal, a.earnedTotal, a.count, a.evidence);
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", domain, keccak256(bytes.concat(head, tail))));

        assertEq(rounds.domainSeparator(), domain, "domain");
        assertEq(rounds.attestationDigest(a), digest, "digest");
    }

    function test_attest__beforeCommitsAreOver__refused() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commit(a, 0);
        bytes memory signature = _sign(a, 0);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Committing));
        rounds.attest(a, SALT, _operator(0), signature);
    }

    function test_attest__lastSecondOfTheCommits__refused() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        vm.warp(rounds.roundInfo(round).commitDeadline);
        bytes memory signature = _sign(a, 0);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Committing));
        rounds.attest(a, SALT, _operator(0), signature);
        _skip(1);
        rounds.attest(a, SALT, _operator(0), signature);
    }

    function test_attest__afterDeadline__refused() public {
        (uint64 round, Attestation memory a) = _committed();
        _toStalled(round);
        bytes memory signature = _sign(a, 0);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Stalled));
        rounds.attest(a, SALT, _operator(0), signature);
    }

    function test_attest__inconsistentWithTheRound__refused() public {
        uint64 round = _begin();
        Attestation memory good = _attestation(round);
        _reportAll(round);
        Attestation[5] memory bad;
        for (uint256 i = 0; i < 5; i++) {
            bad[i] = _attestation(round);
        }
        bad[0].attempt = 2;
        bad[1].manifest = keccak256("other");
        bad[2].seed = keccak256("other");
        (bad[3].roundTotal, bad[3].earnedTotal) = (BUDGET + 1, BUDGET + 1);
        bad[4].earnedTotal = 100 ether + 1;
        bytes[5] memory refusals = [
            abi.encodeWithSelector(IScoringRounds.WrongAttempt.selector, round, 2, 1),
            abi.encodeWithSelector(IScoringRounds.WrongManifest.selector, keccak256("other"), MANIFEST),
            abi.encodeWithSelector(IScoringRounds.WrongSeed.selector, keccak256("other"), good.seed),
            abi.encodeWithSelector(IScoringRounds.PoolExceeded.selector, BUDGET + 1, BUDGET),
            abi.encodeWithSelector(IScoringRounds.WrongEarnedTotal.selector, 100 ether + 1, 100 ether)
        ];
        for (uint256 i = 0; i < 3; i++) {
            _commit(bad[i + 2], i);
        }
        _commit(good, 3);

        for (uint256 i = 0; i < 5; i++) {
            bytes memory signature = _sign(bad[i], 0);
            vm.expectRevert(refusals[i]);
            rounds.attest(bad[i], SALT, _operator(0), signature);
        }
        _attest(good, 3);
    }

    function test_attest__notWhatWasCommitted__refused() public {
        (uint64 round, Attestation memory a) = _committed();
        bytes memory refusal = abi.encodeWithSelector(IScoringRounds.CommitMismatch.selector, round, 1, _operator(0));
        bytes memory signature = _sign(a, 0);
        vm.expectRevert(refusal);
        rounds.attest(a, keccak256("other salt"), _operator(0), signature);

        a.evidence = keccak256("other");
        signature = _sign(a, 0);
        vm.expectRevert(refusal);
        rounds.attest(a, SALT, _operator(0), signature);
    }

    function test_attest__neverCommitted__refused() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        vm.warp(rounds.roundInfo(round).commitDeadline + 1);
        bytes memory signature = _sign(a, 3);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.CommitMismatch.selector, round, 1, _operator(3)));
        rounds.attest(a, SALT, _operator(3), signature);
    }

    function test_attest__twice__refused() public {
        (uint64 round, Attestation memory a) = _committed();
        _attest(a, 0);
        bytes memory signature = _sign(a, 0);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.AlreadyAttested.selector, round, 1, _operator(0)));
        rounds.attest(a, SALT, _operator(0), signature);
    }

    function test_attest__otherSignerOrMalformed__refused() public {
        (, Attestation memory a) = _committed();
        address signer = vm.addr(_signerKey(0));
        bytes memory signature = _sign(a, 1);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongSigner.selector, vm.addr(_signerKey(1)), signer));
        rounds.attest(a, SALT, _operator(0), signature);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongSigner.selector, address(0), signer));
        rounds.attest(a, SALT, _operator(0), "short");
    }

    function test_attest__afterQuorumAndFinalisation__takenUntilTheDeadline() public {
        (uint64 round, Attestation memory a) = _committed();
        for (uint256 i = 0; i < 3; i++) {
            _attest(a, i);
        }
        rounds.finalise(a);
        vm.warp(rounds.roundInfo(round).attestDeadline);
        _attest(a, 3);
        _toStalled(round);
        pool.claimFee(round, _operator(3));
        assertEq(rewardToken.balanceOf(_operator(3)), FEE / 4, "late, yet paid");
    }

    function test_attest__lateValidatorDissents__earnsNothing() public {
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
        rounds.finalise(a);
        _attest(other, 3);
        assertEq(rounds.roundInfo(round).digest, rounds.attestationDigest(a), "final once");
        _toStalled(round);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NoFee.selector, round, _operator(3)));
        pool.claimFee(round, _operator(3));
    }

    function test_attest__leftMidRound__stillCounted() public {
        (uint64 round, Attestation memory a) = _committed();
        vm.prank(_operator(0));
        validators.requestExit();
        _attestAll(a);
        rounds.finalise(a);
        assertEq(rounds.roundInfo(round).attestedWeight, 4 * STAKE, "its weight held when the round closed");
    }

    /* FINALISE */

    function test_finalise__quorum__publishedOnce() public {
        (uint64 round, Attestation memory a) = _committed();
        for (uint256 i = 0; i < 3; i++) {
            _attest(a, i);
        }
        bytes32 digest = rounds.attestationDigest(a);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.RoundFinalised(round, 1, digest, a);
        vm.expectEmit(address(pool));
        emit IRewardPool.EarningsPublished(round, a.earningsRoot, 100 ether);
        rounds.finalise(a);

        RoundInfo memory info = rounds.roundInfo(round);
        assertTrue(info.phase == Phase.Finalised, "final");
        assertEq(info.digest, digest, "digest");
        assertEq(info.scoresRoot, a.scoresRoot, "scores");
        assertEq(info.evidence, a.evidence, "evidence");
        assertEq(pool.earnedTotal(), 100 ether, "earned");
        assertEq(pool.feesOwed(), FEE, "fee");
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Finalised));
        rounds.finalise(a);
    }

    function test_finalise__exactlyTwoThirds__refused() public {
        _deployWith(3);
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        for (uint256 i = 0; i < 3; i++) {
            _report(round, i);
        }
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        _attest(a, 0);
        _attest(a, 1);
        bytes32 digest = rounds.attestationDigest(a);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.NoQuorum.selector, digest, 200 ether, 300 ether));
        rounds.finalise(a);
        _attest(a, 2);
        rounds.finalise(a);
    }

    function test_finalise__otherAttestation__refused() public {
        (uint64 round, Attestation memory a) = _committed();
        _attestAll(a);
        a.scoresRoot = keccak256("other");
        bytes32 digest = rounds.attestationDigest(a);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.NoQuorum.selector, digest, 0, 400 ether));
        rounds.finalise(a);
        a.attempt = 2;
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongAttempt.selector, round, 2, 1));
        rounds.finalise(a);
    }

    function test_finalise__emptyRoundTotal__fundsRollOver() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        (a.roundTotal, a.earnedTotal, a.earningsRoot) = (0, 0, 0);
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        assertEq(pool.available(), FUNDING - FEE, "nothing earned");
    }

    /* STEPS */

    function _committed() internal returns (uint64 round, Attestation memory a) {
        round = _begin();
        a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
    }

    function _deployWith(uint256 count) internal {
        _deploy(address(stakeToken), address(rewardToken));
        vm.startPrank(owner);
        dao.publishManifest(MANIFEST);
        dao.publishKeyEpoch(MANIFEST);
        vm.stopPrank();
        for (uint256 i = 0; i < count; i++) {
            _join(i, STAKE);
        }
        rewardToken.mint(address(this), FUNDING);
        rewardToken.approve(address(pool), FUNDING);
        pool.fund(FUNDING);
        rounds.open();
    }
}
