// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Parameters, Phase, RoundInfo } from "../../src/Types.sol";
import { IContributionRegistry } from "../../src/interfaces/IContributionRegistry.sol";
import { IScoringRounds } from "../../src/interfaces/IScoringRounds.sol";
import { Fixture } from "../utils/Fixture.sol";

/// @notice Opening, closing, the seed, the phases by clock and by weight, retries and abandonment.
contract LifecycleTest is Fixture {
    function test_constructor__zeroAddress__refused() public {
        bytes4 refusal = IScoringRounds.ZeroAddress.selector;
        _refusesZero("ScoringRounds", abi.encode(address(0), registry, validators, pool), refusal);
        _refusesZero("ScoringRounds", abi.encode(dao, address(0), validators, pool), refusal);
        _refusesZero("ScoringRounds", abi.encode(dao, registry, address(0), pool), refusal);
        _refusesZero("ScoringRounds", abi.encode(dao, registry, validators, address(0)), refusal);
    }

    function test_entryContract__views__nameTheOthers() public view {
        assertEq(address(rounds.dao()), address(dao), "dao");
        assertEq(address(rounds.registry()), address(registry), "registry");
        assertEq(address(rounds.validators()), address(validators), "validators");
        assertEq(address(rounds.pool()), address(pool), "pool");
    }

    /* OPEN */

    function test_open__daoNotReady__refused() public {
        _deploy(address(stakeToken), address(rewardToken));
        vm.expectRevert(IScoringRounds.DaoNotReady.selector);
        rounds.open();
        vm.prank(owner);
        dao.publishManifest(MANIFEST);
        vm.expectRevert(IScoringRounds.DaoNotReady.selector);
        rounds.open();
        vm.prank(owner);
        dao.publishKeyEpoch(MANIFEST);

        vm.expectEmit(address(rounds));
        emit IScoringRounds.RoundOpened(1, MANIFEST);
        rounds.open();
        assertEq(rounds.currentRound(), 1, "round 1 is open");
    }

    function test_open__twice__refused() public {
        vm.expectRevert(IScoringRounds.AlreadyOpened.selector);
        rounds.open();
    }

    function test_parametersOf__beforeTheFirstRound__theLatest() public {
        _deploy(address(stakeToken), address(rewardToken));
        assertEq(rounds.parametersOf(0).deposit, DEPOSIT, "deposit");
    }

    /* CLOSE */

    function test_close__beforeOpening__refused() public {
        _deploy(address(stakeToken), address(rewardToken));
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, 0, Phase.None));
        rounds.close();
    }

    function test_close__afterItsTime__snapshotsAndOpensTheNext() public {
        _submit(alice, "a");
        _submit(bob, "b");
        _skip(1 hours);
        uint64 seedBlock = uint64(vm.getBlockNumber() + 2);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.RoundClosed(1, 1, 3, BUDGET, 400 ether, seedBlock);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.RoundOpened(2, MANIFEST);
        rounds.close();

        RoundInfo memory info = rounds.roundInfo(1);
        assertTrue(info.phase == Phase.Closed, "closed");
        assertEq(info.firstId, 1, "first");
        assertEq(info.endId, 3, "end");
        assertEq(info.pool, BUDGET, "pool");
        assertEq(info.totalWeight, 400 ether, "weight");
        assertEq(info.closedAt, vm.getBlockTimestamp(), "closed at");
        assertEq(info.seedBlock, seedBlock, "seed block");
        assertTrue(rounds.phase(2) == Phase.Open, "next is open");
        assertTrue(rounds.phase(3) == Phase.None, "the one after is not");
        assertEq(rounds.roundInfo(2).firstId, 3, "next begins where this ends");
    }

    function test_close__tooEarlyOrEmpty__refused() public {
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.EmptyRound.selector, 1));
        rounds.close();
        _submit(alice, "a");
        _skip(1 hours - 1);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.StillOpen.selector, 1, vm.getBlockTimestamp() + 1));
        rounds.close();
    }

    function test_close__full__atOnce() public {
        for (uint256 i = 0; i < 100; i++) {
            _submit(alice, string(abi.encode(i)));
        }
        rounds.close();
        assertEq(rounds.roundInfo(1).endId, 101, "all");
    }

    function test_close__previousUnsettled__refused() public {
        _begin();
        _submit(alice, "c");
        _skip(1 hours);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.PreviousUnsettled.selector, 1));
        rounds.close();
    }

    function test_close__nobodyHasWeight__refusedUntilSomebodyHas() public {
        for (uint256 i = 0; i < VALIDATORS; i++) {
            vm.prank(_operator(i));
            validators.requestExit();
        }
        _submit(alice, "a");
        _skip(1 hours);
        vm.expectRevert(IScoringRounds.NoWeight.selector);
        rounds.close();

        _join(9, STAKE);
        rounds.close();
        assertEq(rounds.roundInfo(1).totalWeight, STAKE, "weight of the newcomer");
    }

    function testFuzz_close__littleFunds__poolAndFeeWithinThem(uint256 funds, uint128 budget, uint128 fee) public {
        funds = bound(funds, 1, type(uint96).max);
        _deploy(address(stakeToken), address(rewardToken));
        Parameters memory p = _parameters();
        (p.roundBudget, p.validatorFee) = (budget, fee);
        vm.startPrank(owner);
        dao.setParameters(p);
        dao.publishManifest(MANIFEST);
        dao.publishKeyEpoch(MANIFEST);
        vm.stopPrank();
        _join(20, STAKE);
        rewardToken.mint(address(this), funds);
        rewardToken.approve(address(pool), funds);
        pool.fund(funds);
        rounds.open();
        _submit(alice, "a");
        uint64 round = _close();

        uint256 offered = rounds.roundInfo(round).pool;
        assertEq(offered, budget < funds ? budget : funds, "pool");
        assertLe(offered, pool.available(), "never more than there is");
    }

    function test_setParameters__duringRound__latchedByTheNext() public {
        Parameters memory p = _parameters();
        (p.deposit, p.reportSeconds) = (1 ether, 1);
        vm.startPrank(owner);
        dao.setParameters(p);
        dao.publishManifest(keccak256("manifest 2"));
        vm.stopPrank();

        uint64 round = _begin();
        RoundInfo memory info = rounds.roundInfo(round);
        assertEq(info.reportDeadline, vm.getBlockTimestamp() + 10 minutes, "old phases");
        assertEq(info.manifest, MANIFEST, "old manifest");
        (,, uint128 deposit) = rounds.submissionTerms();
        assertEq(deposit, 1 ether, "new deposit in the open round");
        assertEq(rounds.roundInfo(2).manifest, keccak256("manifest 2"), "new manifest in the open round");
        assertEq(rounds.parametersOf(1).reportSeconds, 10 minutes, "parameters of round 1");
        assertEq(rounds.parametersOf(2).reportSeconds, 1, "parameters of round 2");
    }

    /* SEED */

    function test_drawSeed__afterSeedBlock__boundToChainContractRoundManifest() public {
        _submit(alice, "a");
        uint64 round = _close();
        uint256 seedBlock = rounds.roundInfo(round).seedBlock;
        _mine(3);
        bytes32 beacon = blockhash(seedBlock);
        bytes32 seed = keccak256(abi.encode(block.chainid, address(rounds), round, MANIFEST, beacon));
        uint64 start = uint64(vm.getBlockTimestamp());
        vm.expectEmit(address(rounds));
        emit IScoringRounds.SeedDrawn(round, seed, beacon, start + 10 minutes, start + 30 minutes, start + 60 minutes);
        rounds.drawSeed(round);

        RoundInfo memory info = rounds.roundInfo(round);
        assertEq(info.seed, seed, "seed");
        assertEq(info.attempt, 1, "first attempt");
        assertTrue(info.phase == Phase.Reporting, "reporting");
    }

    function test_drawSeed__tooEarly__refused() public {
        _submit(alice, "a");
        uint64 round = _close();
        uint64 seedBlock = rounds.roundInfo(round).seedBlock;
        for (uint256 i = 0; i < 3; i++) {
            vm.expectRevert(abi.encodeWithSelector(IScoringRounds.SeedNotReady.selector, seedBlock));
            rounds.drawSeed(round);
            _mine(1);
        }
        rounds.drawSeed(round);
    }

    function test_drawSeed__wrongPhase__refused() public {
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, 1, Phase.Open));
        rounds.drawSeed(1);
        uint64 round = _begin();
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Reporting));
        rounds.drawSeed(round);
    }

    function test_drawSeed__hashOutOfReach__rearmed() public {
        _submit(alice, "a");
        uint64 round = _close();
        _mine(259);
        uint64 seedBlock = uint64(vm.getBlockNumber() + 2);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.SeedRearmed(round, seedBlock);
        rounds.drawSeed(round);
        assertTrue(rounds.phase(round) == Phase.Closed, "still closed");

        _mine(3);
        rounds.drawSeed(round);
        assertTrue(rounds.phase(round) == Phase.Reporting, "drawn");
    }

    function test_drawSeed__lastBlockInReach__drawn() public {
        _submit(alice, "a");
        uint64 round = _close();
        _mine(258);
        rounds.drawSeed(round);
        assertTrue(rounds.phase(round) == Phase.Reporting, "drawn");
    }

    /* PHASES */

    function test_phase__byTheClock__deadlinesAreTheLastSecond() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        for (uint256 i = 0; i < 3; i++) {
            _report(round, i);
        }
        RoundInfo memory info = rounds.roundInfo(round);
        vm.warp(info.reportDeadline);
        assertTrue(rounds.phase(round) == Phase.Reporting, "at the report deadline");
        vm.warp(info.reportDeadline + 1);
        assertTrue(rounds.phase(round) == Phase.Committing, "after it");
        for (uint256 i = 0; i < 3; i++) {
            _commit(a, i);
        }
        vm.warp(info.commitDeadline);
        assertTrue(rounds.phase(round) == Phase.Committing, "at the commit deadline");
        vm.warp(info.commitDeadline + 1);
        assertTrue(rounds.phase(round) == Phase.Attesting, "after it");
        vm.warp(info.attestDeadline);
        assertTrue(rounds.phase(round) == Phase.Attesting, "at the attest deadline");
        vm.warp(info.attestDeadline + 1);
        assertTrue(rounds.phase(round) == Phase.Stalled, "after it");
    }

    function test_phase__allWeightActed__endsEarly() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        assertTrue(rounds.phase(round) == Phase.Committing, "all reported");
        _commitAll(a);
        assertTrue(rounds.phase(round) == Phase.Attesting, "all committed");
        _attestAll(a);
        rounds.finalise(a);
        assertTrue(rounds.phase(round) == Phase.Finalised, "final before the first deadline");
        assertTrue(vm.getBlockTimestamp() <= rounds.roundInfo(round).reportDeadline, "no time passed");
    }

    function test_phase__tooFewCommits__stalledAtTheCommitDeadline() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commit(a, 0);
        _commit(a, 1);
        vm.warp(rounds.roundInfo(round).commitDeadline + 1);
        assertTrue(rounds.phase(round) == Phase.Stalled, "half the weight cannot be a quorum");
    }

    function test_phase__allRevealedAndSplit__stalledAtOnce() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        Attestation memory b = _attestation(round);
        b.evidence = keccak256("other");
        _reportAll(round);
        for (uint256 i = 0; i < VALIDATORS; i++) {
            _commit(i < 2 ? a : b, i);
        }
        for (uint256 i = 0; i < VALIDATORS; i++) {
            _attest(i < 2 ? a : b, i);
        }
        assertTrue(rounds.phase(round) == Phase.Stalled, "nothing to wait for");

        rounds.retry(round);
        assertTrue(rounds.phase(round) == Phase.Reporting, "next attempt");
    }

    function testFuzz_finalise__anyWeights__exactlyAboveTwoThirds(uint96[4] memory raw, uint8 mask) public {
        _deploy(address(stakeToken), address(rewardToken));
        vm.startPrank(owner);
        Parameters memory p = _parameters();
        p.maxWeight = type(uint88).max;
        dao.setParameters(p);
        dao.publishManifest(MANIFEST);
        dao.publishKeyEpoch(MANIFEST);
        vm.stopPrank();
        rewardToken.mint(address(this), FUNDING);
        rewardToken.approve(address(pool), FUNDING);
        pool.fund(FUNDING);
        uint256 total;
        uint256 agreeing;
        for (uint256 i = 0; i < 4; i++) {
            raw[i] = uint96(bound(raw[i], 10 ether, 1e26));
            total += raw[i];
            if (mask & (1 << i) != 0) agreeing += raw[i];
            _join(i, raw[i]);
        }
        rounds.open();
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        Attestation memory b = _attestation(round);
        b.evidence = keccak256("other");
        _reportAll(round);
        for (uint256 i = 0; i < 4; i++) {
            _commit(mask & (1 << i) != 0 ? a : b, i);
        }
        for (uint256 i = 0; i < 4; i++) {
            _attest(mask & (1 << i) != 0 ? a : b, i);
        }

        assertEq(rounds.weightOn(rounds.attestationDigest(a)), agreeing, "tally");
        if (agreeing * 3 > total * 2) {
            rounds.finalise(a);
        } else {
            vm.expectRevert(
                abi.encodeWithSelector(IScoringRounds.NoQuorum.selector, rounds.attestationDigest(a), agreeing, total)
            );
            rounds.finalise(a);
        }
    }

    /* RETRY, ABANDON */

    function test_retry__stalled__nextAttemptWithTheSameSeed() public {
        uint64 round = _begin();
        bytes32 seed = rounds.roundInfo(round).seed;
        _reportAll(round);
        _toStalled(round);
        uint64 start = uint64(vm.getBlockTimestamp());
        vm.expectEmit(address(rounds));
        emit IScoringRounds.RoundRetried(round, 2, start + 10 minutes, start + 30 minutes, start + 60 minutes);
        rounds.retry(round);

        RoundInfo memory info = rounds.roundInfo(round);
        assertEq(info.attempt, 2, "attempt");
        assertEq(info.seed, seed, "seed");
        assertEq(info.reportedWeight, 0, "reports start over");
        _finish(round);
    }

    function test_retry__notStalled__refused() public {
        uint64 round = _begin();
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Reporting));
        rounds.retry(round);
    }

    function test_retry__quorumExists__refusedForEver() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        for (uint256 i = 0; i < 3; i++) {
            _attest(a, i);
        }
        _toStalled(round);
        _skip(365 days);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.WrongPhase.selector, round, Phase.Attesting));
        rounds.retry(round);

        rounds.finalise(a);
        assertTrue(rounds.phase(round) == Phase.Finalised, "late, yet final");
    }

    function test_retry__lastAttempt__abandonedAndCarriedOver() public {
        uint64 round = _begin();
        _submit(alice, "c");
        for (uint256 i = 0; i < 2; i++) {
            _toStalled(round);
            rounds.retry(round);
        }
        _toStalled(round);
        vm.expectEmit(address(rounds));
        emit IScoringRounds.RoundAbandoned(round);
        rounds.retry(round);
        assertTrue(rounds.phase(round) == Phase.Abandoned, "abandoned");

        uint64 next = _close();
        RoundInfo memory info = rounds.roundInfo(next);
        assertEq(info.firstId, 1, "takes over");
        assertEq(info.endId, 4, "all three");
        assertEq(info.pool, BUDGET, "the pool too");
        _draw(next);
        _finish(next);
    }

    function test_abandon__nothingNew__nextRoundClosesOverTheOld() public {
        uint64 round = _begin();
        _abandon(round);
        uint64 next = _close();
        assertEq(rounds.roundInfo(next).endId, 3, "the two of the abandoned round");
    }

    function test_abandon__overfull__closesOverItsShareAndLeavesTheRest() public {
        for (uint256 i = 0; i < 100; i++) {
            _submit(alice, string(abi.encode(i)));
        }
        rounds.close();
        _draw(1);
        for (uint256 i = 100; i < 130; i++) {
            _submit(bob, string(abi.encode(i)));
        }
        _abandon(1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.RoundFull.selector, 2));
        vm.prank(bob);
        registry.submit{ value: DEPOSIT }(keccak256("one more"), 0, 1, 1);

        rounds.close();
        assertEq(rounds.roundInfo(2).firstId, 1, "from the first");
        assertEq(rounds.roundInfo(2).endId, 101, "as many as it takes");
        assertEq(rounds.roundInfo(3).firstId, 101, "the rest to the next");
        _submit(bob, "one more");
        _abandon2(2);
        rounds.close();
        assertEq(rounds.roundInfo(3).firstId, 1, "abandoned again");
        assertEq(rounds.roundInfo(4).firstId, 101, "and carried on");
    }

    function _abandon2(uint64 round) internal {
        _draw(round);
        _abandon(round);
    }
}
