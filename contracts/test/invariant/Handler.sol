// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Contribution, Parameters, Phase, RoundInfo, ScoreLeaf, Validator } from "../../src/Types.sol";
import { LeafLib } from "../../src/libraries/LeafLib.sol";
import { Fixture } from "../utils/Fixture.sol";
import { Trees } from "../utils/Trees.sol";

/// @notice Everything that anybody may do to the contracts, each act guarded by the conditions under which it must work:
/// a revert is a finding. Where an act is tried although it must not work, its success is the finding. Validators answer
/// one of two ways, so that rounds finalise, split, stall and are abandoned. The handler keeps its own tally of
/// everything, from what it did and not from what the contracts say.
contract Handler is Fixture {
    uint256 internal constant OPERATORS = 6;

    /* THE TALLY */

    uint256 internal _contents;
    uint256 internal _aliceEarned;
    uint256 internal _bobEarned;
    uint256 internal _fundedIn = FUNDING;
    uint256 internal _feesOut;
    uint256 internal _stakedIn = VALIDATORS * STAKE;
    uint256 internal _stakedOut;
    /// How often what came about, so that a test can tell that the acts get somewhere.
    mapping(bytes32 what => uint256) public times;
    mapping(uint64 round => bytes32) internal _final;
    mapping(bytes32 digest => uint256) internal _weightFor;
    mapping(uint64 round => mapping(uint32 attempt => bool)) internal _blamed;
    mapping(uint64 round => mapping(uint32 attempt => mapping(uint256 answer => Attestation))) internal _answers;
    mapping(uint64 round => mapping(uint32 attempt => mapping(uint256 operator => Deeds))) internal _deeds;
    mapping(uint64 round => mapping(uint256 operator => uint256)) internal _feePaid;
    mapping(uint64 round => uint256) internal _feesOf;
    mapping(uint256 operator => uint64) internal _lastRound;
    mapping(uint64 id => bool) internal _recorded;

    /// What a validator did in one attempt. `answer` is 0 until it commits.
    struct Deeds {
        uint256 answer;
        bool revealed;
        bool charged;
        bool proven;
    }

    /* CLOCK */

    function wait(uint256 duration) external {
        _skip(bound(duration, 1, 40 minutes));
        _mine(1);
    }

    /* OWNER */

    /// Anything that is allowed, for the rounds to come.
    function setParameters(uint256 seed) external {
        Parameters memory p = _parameters();
        p.openSeconds = uint32(seed % 2 hours);
        p.attestSeconds = uint32(1 + (seed >> 16) % 1 hours);
        p.maxContributions = uint32(1 + (seed >> 32) % 6);
        p.maxAttempts = uint32(1 + (seed >> 40) % 3);
        p.exitSeconds = uint32(1 days + (seed >> 48) % 9 days);
        p.slashBps = uint16((seed >> 80) % 10_001);
        p.reporterBps = uint16((seed >> 96) % 10_000);
        p.deposit = uint128((seed >> 112) % 0.02 ether);
        p.roundBudget = uint128((seed >> 128) % 3000 ether);
        p.validatorFee = uint128((seed >> 144) % 100 ether);
        p.maxWeight = uint128(50 ether + (seed >> 160) % 1000 ether);
        p.unrevealedFee = uint128((seed >> 176) % 200 ether);
        vm.prank(owner);
        dao.setParameters(p);
    }

    function pauseOrUnpause() external {
        bool paused = dao.paused();
        vm.prank(owner);
        if (paused) dao.unpause();
        else dao.pause();
    }

    function fund(uint256 amount) external {
        amount = bound(amount, 1, 5000 ether);
        rewardToken.mint(address(this), amount);
        rewardToken.approve(address(pool), amount);
        pool.fund(amount);
        _fundedIn += amount;
    }

    /* CONTRIBUTORS */

    function submit(uint256 who) public {
        (, uint64 fullAt, uint128 deposit) = rounds.submissionTerms();
        bool taken = registry.count() + 1 < fullAt && !dao.paused();
        address account = who % 2 == 0 ? alice : bob;
        bytes32 digest = keccak256(abi.encode(_contents++));
        vm.deal(account, 1 ether);
        vm.prank(account);
        try registry.submit{ value: deposit }(digest, 0, 1024, 1) {
            assertTrue(taken, "taken although full or paused");
        } catch {
            assertTrue(!taken, "refused although there was room");
            times["full or paused"]++;
        }
    }

    function claim(uint256 who) public {
        address account = who % 2 == 0 ? alice : bob;
        uint256 cumulative = who % 2 == 0 ? _aliceEarned : _bobEarned;
        bool owed = cumulative != pool.claimed(account);
        bytes32[] memory proof;
        if (owed || cumulative != 0) {
            proof = Trees.proof(_tree(_aliceEarned, _bobEarned), LeafLib.earnings(account, cumulative));
        }
        try pool.claim(account, cumulative, proof) {
            assertTrue(owed, "paid twice");
            times["claimed"]++;
        } catch {
            assertTrue(!owed, "not paid");
        }
    }

    function reclaim(uint256 seed) external {
        uint64 round = uint64(bound(seed, 1, rounds.currentRound()));
        RoundInfo memory info = rounds.roundInfo(round);
        if (info.phase != Phase.Abandoned) return;
        rounds.reclaimDeposit(round, uint64(bound(seed, info.firstId, info.endId - 1)));
    }

    function withdrawCredit(uint256 who) public {
        address account = who % 3 == 0 ? alice : who % 3 == 1 ? bob : owner;
        if (registry.credits(account) != 0) registry.withdrawCredit(payable(account));
    }

    function recordScore(uint256 seed) external {
        uint64 round = uint64(bound(seed, 1, rounds.currentRound()));
        RoundInfo memory info = rounds.roundInfo(round);
        if (info.phase != Phase.Finalised || _recorded[info.firstId]) return;
        _recorded[info.firstId] = true;
        rounds.recordScore(round, _leaf(info.firstId), new bytes32[](0));
    }

    /* ROUNDS */

    function close() public {
        uint64 round = rounds.currentRound();
        RoundInfo memory info = rounds.roundInfo(round);
        (, uint64 fullAt,) = rounds.submissionTerms();
        bool due = vm.getBlockTimestamp() >= info.openedAt + rounds.parametersOf(round).openSeconds
            || registry.count() + 1 >= fullAt;
        bool ready = due && (round == 1 || _settled(round - 1)) && registry.count() >= info.firstId
            && validators.totalWeight() != 0;
        try rounds.close() {
            assertTrue(ready, "closed too early");
        } catch {
            assertTrue(!ready, "not closed");
        }
    }

    function drawSeed() public {
        uint64 round = rounds.currentRound() - 1;
        if (
            round != 0 && rounds.phase(round) == Phase.Closed && vm.getBlockNumber() > rounds.roundInfo(round).seedBlock
        ) {
            rounds.drawSeed(round);
        }
    }

    function report(uint256 who) public {
        (uint64 round, uint32 attempt, uint256 i) = _acting(who, Phase.Reporting);
        if (round == 0 || validators.weightAt(_operator(i), round) == 0) return;
        (bool reported,,) = rounds.ballot(round, attempt, _operator(i));
        if (!reported) _report(round, i);
    }

    function commit(uint256 who, uint256 answer) public {
        (uint64 round, uint32 attempt, uint256 i) = _acting(who, Phase.Committing);
        if (round == 0 || validators.weightAt(_operator(i), round) == 0) return;
        Deeds storage deeds = _deeds[round][attempt][i];
        if (deeds.answer != 0) return;
        // Three quarters answer alike.
        deeds.answer = answer % 4 == 0 ? 2 : 1;
        Attestation memory a = _answer(round, deeds.answer);
        _answers[round][attempt][deeds.answer] = a;
        _commit(a, i);
    }

    /// After the round is final too, until the deadline.
    function attest(uint256 who) public {
        uint64 round = rounds.currentRound() - 1;
        if (round == 0) return;
        RoundInfo memory info = rounds.roundInfo(round);
        uint256 i = who % OPERATORS;
        Deeds storage deeds = _deeds[round][info.attempt][i];
        bool open = info.phase == Phase.Attesting || info.phase == Phase.Finalised;
        if (!open || deeds.answer == 0 || deeds.revealed || vm.getBlockTimestamp() > info.attestDeadline) return;
        Attestation memory a = _answers[round][info.attempt][deeds.answer];
        uint256 weight = validators.weightAt(_operator(i), round);
        _attest(a, i);
        deeds.revealed = true;
        _weightFor[rounds.attestationDigest(a)] += weight;
    }

    /// In any phase of the unsettled round, whether or not there is a quorum.
    function finalise(uint256 answer) public {
        uint64 round = rounds.currentRound() - 1;
        if (round == 0) return;
        RoundInfo memory info = rounds.roundInfo(round);
        Attestation memory a = _answers[round][info.attempt][answer % 2 + 1];
        bytes32 digest = rounds.attestationDigest(a);
        bool quorum = a.round != 0 && !_settled(round) && _weightFor[digest] * 3 > info.totalWeight * 2;
        try rounds.finalise(a) {
            assertTrue(quorum, "final without a quorum");
            times["final"]++;
            assertEq(_final[round], bytes32(0), "final twice");
            _final[round] = digest;
            _aliceEarned += a.roundTotal / 2;
            _bobEarned += a.roundTotal - a.roundTotal / 2;
        } catch {
            assertTrue(!quorum, "not final in spite of a quorum");
            times["not final"]++;
        }
    }

    /// One act of every kind that a round can take now, by all validators: what random acts alone would take ages to do.
    function playRound(uint256 seed) external {
        submit(seed);
        _skip(bound(seed, 1, 1 hours));
        _mine(3);
        close();
        _mine(3);
        drawSeed();
        for (uint256 i = 0; i < OPERATORS; i++) {
            report(i);
        }
        for (uint256 i = 0; i < OPERATORS; i++) {
            if (seed >> (90 + i) & 7 != 0) commit(i, seed >> (8 * i));
        }
        for (uint256 i = 0; i < OPERATORS; i++) {
            if (seed >> (100 + i) & 3 != 0) attest(i);
        }
        finalise(seed);
    }

    function retry() external {
        uint64 round = rounds.currentRound() - 1;
        if (round == 0) return;
        RoundInfo memory info = rounds.roundInfo(round);
        _blamed[round][info.attempt] = _isBlamed(info);
        try rounds.retry(round) {
            assertTrue(info.phase == Phase.Stalled, "retried although it had not stalled");
            times["retried"]++;
        } catch {
            assertTrue(info.phase != Phase.Stalled, "not retried");
        }
    }

    function claimFee(uint256 seed, uint256 who) public {
        uint64 round = uint64(bound(seed, 1, rounds.currentRound()));
        RoundInfo memory info = rounds.roundInfo(round);
        uint256 i = who % OPERATORS;
        if (info.phase != Phase.Finalised || vm.getBlockTimestamp() <= info.attestDeadline) return;
        Deeds storage deeds = _deeds[round][info.attempt][i];
        bool agrees =
            deeds.revealed && rounds.attestationDigest(_answers[round][info.attempt][deeds.answer]) == _final[round];
        uint256 before = rewardToken.balanceOf(_operator(i));
        try pool.claimFee(round, _operator(i)) {
            assertTrue(agrees, "fee for nothing");
            times["fee"]++;
            uint256 paid = rewardToken.balanceOf(_operator(i)) - before;
            _feesOut += paid;
            _feesOf[round] += paid;
            assertEq(_feePaid[round][i]++, 0, "fee paid twice");
        } catch {
            assertTrue(!agrees || _feePaid[round][i] != 0, "fee not paid");
        }
    }

    /* VALIDATORS */

    function join(uint256 who) external {
        uint256 i = VALIDATORS + who % (OPERATORS - VALIDATORS);
        if (validators.operatorOf(vm.addr(_signerKey(i))) != address(0)) return;
        _join(i, STAKE);
        _stakedIn += STAKE;
    }

    function topUp(uint256 who, uint256 amount) external {
        address operator = _operator(who % OPERATORS);
        if (!_stays(operator)) return;
        amount = bound(amount, 1, 2000 ether);
        stakeToken.mint(operator, amount);
        vm.startPrank(operator);
        stakeToken.approve(address(validators), amount);
        validators.topUp(amount);
        vm.stopPrank();
        _stakedIn += amount;
    }

    function updateWeight(uint256 who) external {
        if (_stays(_operator(who % OPERATORS))) validators.updateWeight(_operator(who % OPERATORS));
    }

    function announce(uint256 who) external {
        address operator = _operator(who % OPERATORS);
        if (validators.signerOf(operator) == address(0)) return;
        vm.prank(operator);
        validators.announce("https://one.example");
    }

    function requestExit(uint256 who) public {
        uint256 i = who % OPERATORS;
        // Seldom, or nobody is left to score.
        if (!_stays(_operator(i)) || who % 7 != 0) return;
        uint64 closed = rounds.currentRound() - 1;
        _lastRound[i] = closed != 0 && validators.weightAt(_operator(i), closed) != 0 ? closed : 0;
        vm.prank(_operator(i));
        validators.requestExit();
    }

    function withdraw(uint256 who) public {
        uint256 i = who % OPERATORS;
        Validator memory v = validators.validators(_operator(i));
        if (v.exitAt == 0) return;
        bool free = vm.getBlockTimestamp() >= v.exitAt;
        if (_lastRound[i] != 0) {
            uint256 until =
                rounds.roundInfo(_lastRound[i]).attestDeadline + rounds.parametersOf(_lastRound[i]).exitSeconds;
            free = free && _settled(_lastRound[i]) && vm.getBlockTimestamp() >= until;
        }
        vm.prank(_operator(i));
        try validators.withdraw() {
            assertTrue(free, "out before its last round was beyond dispute");
            times["withdrawn"]++;
            _stakedOut += v.stake;
        } catch {
            assertTrue(!free, "held for ever");
            times["held"]++;
        }
    }

    /* FAULTS */

    function proveEquivocation(uint256 who) external {
        uint256 i = who % OPERATORS;
        uint64 round = rounds.currentRound() - 1;
        if (round == 0 || rounds.roundInfo(round).attempt == 0 || who % 5 != 0) return;
        if (validators.signerOf(_operator(i)) == address(0)) return;
        Attestation memory a = _attestation(round);
        Attestation memory b = _attestation(round);
        b.evidence = keccak256("other");
        (bytes memory signatureA, bytes memory signatureB) = (_sign(a, i), _sign(b, i));
        Deeds storage deeds = _deeds[round][a.attempt][i];
        try rounds.proveEquivocation(_operator(i), a, signatureA, b, signatureB) {
            assertTrue(!deeds.proven, "punished twice");
            times["proven"]++;
            deeds.proven = true;
            _takeReward();
        } catch {
            assertTrue(deeds.proven, "not punished");
        }
    }

    function chargeUnrevealed(uint256 seed, uint256 who) external {
        uint64 round = uint64(bound(seed, 1, rounds.currentRound()));
        RoundInfo memory info = rounds.roundInfo(round);
        if (info.attempt == 0) return;
        uint32 attempt = uint32(1 + who % info.attempt);
        uint256 i = seed % OPERATORS;
        Deeds storage deeds = _deeds[round][attempt][i];
        bool owes = deeds.answer != 0 && !deeds.revealed && !deeds.charged;
        bool blamed = attempt == info.attempt ? _isBlamed(info) : _blamed[round][attempt];
        try rounds.chargeUnrevealed(round, attempt, _operator(i)) {
            assertTrue(owes && blamed, "charged for nothing");
            times["charged"]++;
            deeds.charged = true;
            _takeReward();
        } catch {
            assertTrue(!owes || !blamed, "not charged");
        }
    }

    /* STEPS */

    function _takeReward() internal {
        _stakedOut += stakeToken.balanceOf(address(this));
        stakeToken.transfer(address(0xDEAD), stakeToken.balanceOf(address(this)));
    }

    function _isBlamed(RoundInfo memory info) internal view returns (bool) {
        return vm.getBlockTimestamp() > info.attestDeadline && info.committedWeight * 3 > info.totalWeight * 2;
    }

    function _stays(address operator) internal view returns (bool) {
        Validator memory v = validators.validators(operator);
        return v.signer != address(0) && v.exitAt == 0;
    }

    function _acting(uint256 who, Phase phase) internal view returns (uint64, uint32, uint256) {
        uint64 round = rounds.currentRound() - 1;
        if (round == 0 || rounds.phase(round) != phase) return (0, 0, 0);
        return (round, rounds.roundInfo(round).attempt, who % OPERATORS);
    }

    function _settled(uint64 round) internal view returns (bool) {
        Phase phase = rounds.phase(round);
        return phase == Phase.Finalised || phase == Phase.Abandoned;
    }

    /// Answer 1 pays half of what the round offers, answer 2 all of it.
    function _answer(uint64 round, uint256 answer) internal view returns (Attestation memory a) {
        RoundInfo memory info = rounds.roundInfo(round);
        a = _attestation(round);
        a.roundTotal = uint128(info.pool / (answer == 1 ? 2 : 1));
        a.earnedTotal = pool.earnedTotal() + a.roundTotal;
        uint256 half = a.roundTotal / 2;
        a.earningsRoot = Trees.root(_tree(_aliceEarned + half, _bobEarned + a.roundTotal - half));
        a.scoresRoot = _hash(_leaf(info.firstId));
        // Where the round offers nothing, the answers differ still.
        a.count = uint32(answer);
    }

    /// The tree of scores has one leaf: the first contribution, malformed if its id is even.
    function _leaf(uint64 id) internal view returns (ScoreLeaf memory) {
        Contribution memory c = registry.contribution(id);
        return ScoreLeaf(id, c.contributor, id % 2 == 0 ? 6 : 1, 1, 1, 1);
    }

    function _tree(uint256 forAlice, uint256 forBob) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](2);
        leaves[0] = LeafLib.earnings(alice, forAlice);
        leaves[1] = LeafLib.earnings(bob, forBob);
    }
}
