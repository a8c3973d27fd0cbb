// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, Contribution, Phase, RoundInfo, ScoreLeaf, Validator } from "../../src/Types.sol";
import { LeafLib } from "../../src/libraries/LeafLib.sol";
import { Fixture } from "../utils/Fixture.sol";
import { Trees } from "../utils/Trees.sol";

/// @notice Everything that anybody may do to the contracts, each act guarded by the conditions under which it must work:
/// a revert is a finding. Validators answer one of two ways, so that rounds finalise, split, stall and are abandoned.
contract Handler is Fixture {
    uint256 internal constant OPERATORS = 6;

    uint256 internal _contents;
    uint256 internal _aliceEarned;
    uint256 internal _bobEarned;
    uint256 public stakedIn;
    uint256 public stakedOut;
    uint256 public finalisations;
    mapping(uint64 round => bytes32) public finalDigest;
    mapping(uint64 round => mapping(uint32 attempt => mapping(uint256 operator => uint256 answer))) internal _answers;
    mapping(uint64 round => mapping(uint32 attempt => mapping(uint256 operator => bool))) internal _proven;
    mapping(uint64 id => bool) internal _recorded;

    function setUp() public override {
        super.setUp();
        stakedIn = VALIDATORS * STAKE;
    }

    /* CLOCK */

    function wait(uint256 duration) external {
        _skip(bound(duration, 1, 40 minutes));
        _mine(1);
    }

    /* CONTRIBUTORS */

    function submit(uint256 who) external {
        (, uint64 fullAt,) = rounds.submissionTerms();
        if (registry.count() + 1 >= fullAt) return;
        _submit(who % 2 == 0 ? alice : bob, string(abi.encode(_contents++)));
    }

    function claim(uint256 who) external {
        address account = who % 2 == 0 ? alice : bob;
        uint256 cumulative = who % 2 == 0 ? _aliceEarned : _bobEarned;
        if (cumulative == pool.claimed(account)) return;
        bytes32[] memory leaves = _tree(_aliceEarned, _bobEarned);
        pool.claim(account, cumulative, Trees.proof(leaves, LeafLib.earnings(account, cumulative)));
    }

    function reclaim(uint256 seed) external {
        uint64 last = rounds.currentRound();
        uint64 round = uint64(bound(seed, 1, last));
        RoundInfo memory info = rounds.roundInfo(round);
        if (info.phase != Phase.Abandoned) return;
        rounds.reclaimDeposit(round, uint64(bound(seed, info.firstId, info.endId - 1)));
    }

    function withdrawCredit(uint256 who) external {
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

    function close() external {
        uint64 round = rounds.currentRound();
        RoundInfo memory info = rounds.roundInfo(round);
        if (round > 1 && !_settled(round - 1)) return;
        if (registry.count() < info.firstId || validators.totalWeight() == 0) return;
        if (vm.getBlockTimestamp() < info.openedAt + 1 hours) return;
        rounds.close();
    }

    function drawSeed() external {
        uint64 round = rounds.currentRound() - 1;
        if (
            round != 0 && rounds.phase(round) == Phase.Closed && vm.getBlockNumber() > rounds.roundInfo(round).seedBlock
        ) {
            rounds.drawSeed(round);
        }
    }

    function report(uint256 who) external {
        (uint64 round, uint32 attempt, uint256 i) = _acting(who, Phase.Reporting);
        if (round == 0 || validators.weightAt(_operator(i), round) == 0) return;
        (bool reported,,) = rounds.ballot(round, attempt, _operator(i));
        if (!reported) _report(round, i);
    }

    function commit(uint256 who, uint256 answer) external {
        (uint64 round, uint32 attempt, uint256 i) = _acting(who, Phase.Committing);
        if (round == 0 || validators.weightAt(_operator(i), round) == 0) return;
        (, bytes32 commitHash,) = rounds.ballot(round, attempt, _operator(i));
        if (commitHash != 0) return;
        // Three quarters answer alike.
        answer = answer % 4 == 0 ? 2 : 1;
        _answers[round][attempt][i] = answer;
        _commit(_answer(round, answer), i);
    }

    function attest(uint256 who) external {
        (uint64 round, uint32 attempt, uint256 i) = _acting(who, Phase.Attesting);
        if (round == 0) return;
        RoundInfo memory info = rounds.roundInfo(round);
        (, bytes32 commitHash,) = rounds.ballot(round, attempt, _operator(i));
        if (commitHash == 0 || vm.getBlockTimestamp() > info.attestDeadline) return;
        _attest(_answer(round, _answers[round][attempt][i]), i);
    }

    function finalise(uint256 answer) external {
        uint64 round = rounds.currentRound() - 1;
        if (round == 0 || rounds.phase(round) != Phase.Attesting) return;
        answer = answer % 2 + 1;
        Attestation memory a = _answer(round, answer);
        uint256 weight = rounds.weightOn(rounds.attestationDigest(a));
        if (weight * 3 <= rounds.roundInfo(round).totalWeight * 2) return;
        rounds.finalise(a);

        require(finalDigest[round] == 0, "final twice");
        finalDigest[round] = rounds.attestationDigest(a);
        finalisations++;
        _aliceEarned += a.roundTotal / 2;
        _bobEarned += a.roundTotal - a.roundTotal / 2;
    }

    /// One act of every kind that a round can take now, by all validators: what random acts alone would take ages to do.
    function playRound(uint256 seed) external {
        this.submit(seed);
        _skip(bound(seed, 1, 1 hours));
        _mine(3);
        this.close();
        _mine(3);
        this.drawSeed();
        for (uint256 i = 0; i < OPERATORS; i++) {
            this.report(i);
        }
        for (uint256 i = 0; i < OPERATORS; i++) {
            this.commit(i, seed >> (8 * i));
        }
        for (uint256 i = 0; i < OPERATORS; i++) {
            if (seed >> (100 + i) & 3 != 0) this.attest(i);
        }
        this.finalise(seed);
    }

    function retry() external {
        uint64 round = rounds.currentRound() - 1;
        if (round != 0 && rounds.phase(round) == Phase.Stalled) rounds.retry(round);
    }

    function claimFee(uint256 seed, uint256 who) external {
        uint64 round = uint64(bound(seed, 1, rounds.currentRound()));
        RoundInfo memory info = rounds.roundInfo(round);
        if (info.phase != Phase.Finalised || vm.getBlockTimestamp() <= info.attestDeadline) return;
        address operator = _operator(who % OPERATORS);
        (, uint256 weight,,) = rounds.feeTerms(round, operator);
        if (weight != 0 && !pool.feeClaimed(round, operator)) pool.claimFee(round, operator);
    }

    /* VALIDATORS */

    function join(uint256 who) external {
        uint256 i = VALIDATORS + who % (OPERATORS - VALIDATORS);
        if (validators.operatorOf(vm.addr(_signerKey(i))) != address(0)) return;
        _join(i, STAKE);
        stakedIn += STAKE;
    }

    function topUp(uint256 who, uint256 amount) external {
        address operator = _operator(who % OPERATORS);
        Validator memory v = validators.validators(operator);
        if (v.signer == address(0) || v.exitAt != 0) return;
        amount = bound(amount, 1, 2000 ether);
        stakeToken.mint(operator, amount);
        vm.startPrank(operator);
        stakeToken.approve(address(validators), amount);
        validators.topUp(amount);
        vm.stopPrank();
        stakedIn += amount;
    }

    function requestExit(uint256 who) external {
        address operator = _operator(who % OPERATORS);
        Validator memory v = validators.validators(operator);
        // Seldom, or nobody is left to score.
        if (v.signer == address(0) || v.exitAt != 0 || who % 7 != 0) return;
        vm.prank(operator);
        validators.requestExit();
    }

    function withdraw(uint256 who) external {
        address operator = _operator(who % OPERATORS);
        Validator memory v = validators.validators(operator);
        if (v.exitAt == 0) return;
        if (vm.getBlockTimestamp() < v.exitAt) vm.warp(v.exitAt);
        uint64 round = rounds.currentRound() - 1;
        if (round != 0 && !_settled(round) && validators.weightAt(operator, round) != 0) return;
        vm.prank(operator);
        validators.withdraw();
        stakedOut += v.stake;
    }

    function proveEquivocation(uint256 who) external {
        uint256 i = who % OPERATORS;
        uint64 round = rounds.currentRound() - 1;
        if (round == 0 || rounds.roundInfo(round).attempt == 0 || who % 5 != 0) return;
        if (validators.signerOf(_operator(i)) == address(0)) return;
        Attestation memory a = _answer(round, 1);
        Attestation memory b = _answer(round, 2);
        if (_proven[round][a.attempt][i]) return;
        _proven[round][a.attempt][i] = true;
        rounds.proveEquivocation(_operator(i), a, _sign(a, i), b, _sign(b, i));
        stakedOut += stakeToken.balanceOf(address(this));
        stakeToken.transfer(address(0xDEAD), stakeToken.balanceOf(address(this)));
    }

    /* CHECKS */

    /// Every reward token is available, earned and unclaimed, or owed as a fee.
    function checkRewards() external view {
        uint256 unclaimed = pool.earnedTotal() - pool.claimedTotal();
        uint256 owed = pool.available() + unclaimed + pool.feesOwed();
        assertEq(rewardToken.balanceOf(address(pool)), owed, "balance is what is owed");
        assertEq(pool.claimedTotal(), pool.claimed(alice) + pool.claimed(bob), "claims add up");
        assertEq(pool.earnedTotal(), _aliceEarned + _bobEarned, "earnings add up");
        assertLe(pool.claimed(alice), _aliceEarned, "alice is not overpaid");
        assertLe(pool.claimed(bob), _bobEarned, "bob is not overpaid");
    }

    /// Every stake token is somebody's stake, burned, or went out again; weights add up.
    function checkStake() external view {
        uint256 stake;
        uint256 weight;
        uint64 current = rounds.currentRound();
        for (uint256 i = 0; i < OPERATORS; i++) {
            stake += validators.stakeOf(_operator(i));
            weight += validators.weightAt(_operator(i), current);
        }
        assertEq(stakeToken.balanceOf(address(validators)), stake + validators.burned(), "balance is the stake");
        assertEq(stakedIn - stakedOut, stake + validators.burned(), "nothing came from nowhere");
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

    /// One round is open, at most the one before it is unsettled, ranges join up, tallies are within bounds.
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
            assertEq(info.digest, finalDigest[round], "final once");
        }
        assertTrue(rounds.phase(current) == Phase.Open, "a round is open");
        assertEq(rounds.roundInfo(current).firstId, nextId, "and joins up");
    }

    /// From any state, everybody gets everything out, by acts that anybody may do.
    function drain() external {
        uint64 round = rounds.currentRound() - 1;
        if (round != 0 && !_settled(round)) {
            while (rounds.phase(round) == Phase.Closed) {
                _mine(3);
                rounds.drawSeed(round);
            }
            _toStalled(round);
            if (rounds.phase(round) == Phase.Attesting) this.finalise(0);
            if (!_settled(round) && rounds.phase(round) == Phase.Attesting) this.finalise(1);
            if (!_settled(round)) _abandon(round);
        }
        for (uint256 i = 0; i < OPERATORS; i++) {
            _leave(_operator(i));
        }
        assertEq(stakeToken.balanceOf(address(validators)), validators.burned(), "all stake is out");

        _skip(8 days);
        for (uint64 r = 1; r <= rounds.currentRound(); r++) {
            RoundInfo memory info = rounds.roundInfo(r);
            uint64 end = r == rounds.currentRound() ? registry.count() + 1 : info.endId;
            for (uint64 id = info.firstId; id < end; id++) {
                rounds.reclaimDeposit(r, id);
            }
            if (info.phase != Phase.Finalised) continue;
            for (uint256 i = 0; i < OPERATORS; i++) {
                this.claimFee(r, i);
            }
        }
        for (uint256 i = 0; i < 3; i++) {
            this.withdrawCredit(i);
        }
        assertEq(address(registry).balance, 0, "all deposits are out");
        this.claim(0);
        this.claim(1);
        assertEq(pool.feesOwed(), 0, "all fees are paid or released");
        assertEq(rewardToken.balanceOf(address(pool)), pool.available(), "all rewards are out");
    }

    /* STEPS */

    function _leave(address operator) internal {
        Validator memory v = validators.validators(operator);
        if (v.signer == address(0)) return;
        vm.startPrank(operator);
        if (v.exitAt == 0) validators.requestExit();
        // A round that ended early may have an hour left to its attest deadline, from which the delay counts too.
        _skip(7 days + 1 hours);
        validators.withdraw();
        vm.stopPrank();
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
