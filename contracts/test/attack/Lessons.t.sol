// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation, ScoreLeaf } from "../../src/Types.sol";
import { IContributionRegistry } from "../../src/interfaces/IContributionRegistry.sol";
import { IRewardPool } from "../../src/interfaces/IRewardPool.sol";
import { IScoringRounds } from "../../src/interfaces/IScoringRounds.sol";
import { IValidatorSet } from "../../src/interfaces/IValidatorSet.sol";
import { BitmapLib } from "../../src/libraries/BitmapLib.sol";
import { LeafLib } from "../../src/libraries/LeafLib.sol";
import { Fixture } from "../utils/Fixture.sol";
import { CallbackToken, FeeToken } from "../utils/Tokens.sol";
import { Trees } from "../utils/Trees.sol";
import { Hashes } from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// @notice What was done to others, tried here: one test for each lesson, named by whom it was learnt from.
contract LessonsTest is Fixture {
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    address internal mallory = address(0x3A110);

    function setUp() public override {
        super.setUp();
        vm.deal(mallory, 100 ether);
    }

    /* COPIED PENDING SUBMISSION */

    /// Vana (Nethermind NM-0383, 6.1): the owner of the first registration of a URL took the reward of whoever had it
    /// pending. Here both are registered, the copier's envelope does not open, and its deposit is gone.
    function test_copiedPendingSubmission__frontRun__costsTheCopierItsDeposit() public {
        bytes32 digest = keccak256("envelope of alice");
        vm.prank(mallory);
        uint64 copied = registry.submit{ value: DEPOSIT }(digest, 0, 1024, 1);
        vm.prank(alice);
        uint64 own = registry.submit{ value: DEPOSIT }(digest, 0, 1024, 1);
        bytes32[] memory leaves = new bytes32[](2);
        ScoreLeaf memory replayed = ScoreLeaf(copied, mallory, 5, 0, 0, 0);
        ScoreLeaf memory paid = ScoreLeaf(own, alice, 1, 60 ether, 60, 1);
        (leaves[0], leaves[1]) = (_hash(replayed), _hash(paid));
        uint64 round = _scored(Trees.root(leaves));

        rounds.recordScore(round, replayed, Trees.proof(leaves, leaves[0]));
        rounds.recordScore(round, paid, Trees.proof(leaves, leaves[1]));
        assertEq(registry.credits(mallory), 0, "the copier's deposit is forfeited");
        assertEq(registry.credits(alice), DEPOSIT, "alice has hers back");
        _claim(alice);
        assertEq(rewardToken.balanceOf(alice), 60 ether, "and her reward");
    }

    /* REPLAY */

    /// Vana: a proof paid by one pool was paid by the next. Every signature names its chain.
    function test_replay__anotherChain__everySignatureRefused() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        bytes memory attested = _sign(a, 0);
        bytes memory consent = _consent(_signerKey(9), mallory);
        bytes memory permission = _permission(registry.domainSeparator());
        vm.chainId(999);

        vm.expectPartialRevert(IScoringRounds.CommitMismatch.selector);
        rounds.attest(a, SALT, _operator(0), attested);
        _joinRefused(vm.addr(_signerKey(9)), consent, IValidatorSet.InvalidConsent.selector);
        _submissionRefused(permission);
    }

    /// The same again for a second deployment on the same chain.
    function test_replay__anotherContract__everySignatureRefused() public {
        bytes32 domain = rounds.domainSeparator();
        bytes memory consent = _consent(_signerKey(9), mallory);
        bytes memory permission = _permission(registry.domainSeparator());
        super.setUp();
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commitAll(a);

        bytes32 structHash = keccak256(abi.encode(_attestationType(), a));
        bytes memory foreign = _signature(_signerKey(0), keccak256(abi.encodePacked("\x19\x01", domain, structHash)));
        vm.expectPartialRevert(IScoringRounds.WrongSigner.selector);
        rounds.attest(a, SALT, _operator(0), foreign);
        _joinRefused(vm.addr(_signerKey(9)), consent, IValidatorSet.InvalidConsent.selector);
        _submissionRefused(permission);
        // The same struct under the right domain is good: nothing else was wrong with it.
        rounds.attest(a, SALT, _operator(0), _sign(a, 0));
    }

    /// A commit of one round is worth nothing in the next, nor one attempt's in another.
    function test_replay__commitOfAnotherRoundOrAttempt__cannotBeRevealed() public {
        (uint64 first, Attestation memory old) = _wholeRound("1");
        bytes32 oldCommit = _commitHash(old, 0);
        _submit(alice, "2");
        uint64 round = _close();
        _draw(round);
        _reportAll(round);
        Attestation memory a = _attestation(round);
        for (uint256 i = 1; i < VALIDATORS; i++) {
            _commit(a, i);
        }
        vm.prank(_operator(0));
        rounds.commit(round, oldCommit, "");

        bytes memory signature = _sign(a, 0);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.CommitMismatch.selector, round, 1, _operator(0)));
        rounds.attest(a, SALT, _operator(0), signature);
        signature = _sign(old, 0);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.AlreadyAttested.selector, first, 1, _operator(0)));
        rounds.attest(old, SALT, _operator(0), signature);
    }

    /* SIGNATURES */

    /// Every other form of a good signature: the twin with the other s, the compact form, trailing bytes, v of 0 and 1.
    function test_malleability__otherFormsOfAGoodSignature__refused() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_signerKey(0), rounds.attestationDigest(a));
        bytes[4] memory forms = [
            abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27)),
            abi.encodePacked(r, bytes32(uint256(s) | uint256(v - 27) << 255)),
            abi.encodePacked(r, s, v, uint8(0)),
            abi.encodePacked(r, s, v - 27)
        ];
        for (uint256 i = 0; i < forms.length; i++) {
            vm.expectPartialRevert(IScoringRounds.WrongSigner.selector);
            rounds.attest(a, SALT, _operator(0), forms[i]);
        }
        rounds.attest(a, SALT, _operator(0), abi.encodePacked(r, s, v));
        assertEq(rounds.roundInfo(round).attestedWeight, STAKE, "counted once");
    }

    /* TOKENS */

    /// A reward token that calls its receiver back finds every door of the pool shut, and the books closed.
    function test_reentrantToken__anyDoor__nothingTwice() public {
        CallbackToken token = new CallbackToken();
        _deploy(address(stakeToken), address(token));
        token.mint(address(this), FUNDING);
        token.approve(address(pool), FUNDING);
        pool.fund(FUNDING);
        vm.prank(address(rounds));
        pool.finalise(Trees.root(_earningsLeaves(100 ether)), 100 ether, 1, 0);
        (uint256 ofAlice, bytes32[] memory proofOfAlice) = _earningsProof(alice, 100 ether);
        (uint256 ofBob, bytes32[] memory proofOfBob) = _earningsProof(bob, 100 ether);
        bytes[3] memory doors = [
            abi.encodeCall(IRewardPool.claim, (alice, ofAlice, proofOfAlice)),
            abi.encodeCall(IRewardPool.claim, (bob, ofBob, proofOfBob)),
            abi.encodeCall(IRewardPool.fund, (1))
        ];
        for (uint256 i = 0; i < doors.length; i++) {
            token.hook(alice, address(pool), doors[i]);
            uint256 state = vm.snapshotState();
            pool.claim(alice, ofAlice, proofOfAlice);
            assertTrue(!token.reentered(), "no way back in");
            assertEq(token.balanceOf(alice), ofAlice, "paid once");
            vm.revertToState(state);
        }
    }

    /// A token with a fee cannot come in; one that starts to charge later takes from the receivers, not from the books.
    function test_feeOnTransferToken__fromTheStartOrLater__booksWhole() public {
        FeeToken token = new FeeToken();
        _deploy(address(token), address(token));
        token.mint(address(this), FUNDING);
        token.approve(address(pool), FUNDING);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.UnsupportedToken.selector, FUNDING, FUNDING * 99 / 100));
        pool.fund(FUNDING);

        token.charge(false);
        pool.fund(FUNDING);
        vm.prank(address(rounds));
        pool.finalise(Trees.root(_earningsLeaves(100 ether)), 100 ether, 1, 0);
        token.charge(true);
        _claim(alice);
        _claim(bob);
        assertEq(token.balanceOf(alice), 59.4 ether, "alice bears the fee");
        assertEq(token.balanceOf(address(pool)), pool.available(), "the pool does not");
    }

    /* STAKE */

    /// razor-network #211: stake that comes just in time for the pay. Weight counts for rounds that close later, and cannot
    /// leave before the last of them is beyond dispute.
    function test_stakeJustInTime__afterClosing__noVoteAndNoFee() public {
        uint64 round = _begin();
        _join(7, 1000 ether);
        bytes memory bitmap = _bitmap(round);
        vm.expectRevert(abi.encodeWithSelector(IScoringRounds.NoWeightInRound.selector, round, _operator(7)));
        vm.prank(_operator(7));
        rounds.reportAvailability(round, bitmap);
        vm.prank(_operator(0));
        stakeToken.approve(address(validators), 500 ether);
        stakeToken.mint(_operator(0), 500 ether);
        vm.prank(_operator(0));
        validators.topUp(500 ether);

        Attestation memory a = _finish(round);
        assertEq(rounds.weightOn(rounds.attestationDigest(a)), 4 * STAKE, "the weights of the closing");
        _toStalled(round);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NoFee.selector, round, _operator(7)));
        pool.claimFee(round, _operator(7));
        pool.claimFee(round, _operator(0));
        assertEq(rewardToken.balanceOf(_operator(0)), FEE / 4, "a late top-up earns nothing");
    }

    /// razor-network #527: out before the penalty. An exit asked for long ago does not open while the round that still
    /// counts the operator can be disputed: here it equivocates in the last attempt of a round that was retried for weeks.
    function test_exitBeforePenalty__equivocatingInALateRetry__slashed() public {
        uint64 round = _begin();
        vm.prank(_operator(0));
        validators.requestExit();
        _skip(30 days);
        rounds.retry(round);
        Attestation memory a = _finish(round);
        vm.expectPartialRevert(IValidatorSet.ExitDelay.selector);
        vm.prank(_operator(0));
        validators.withdraw();

        Attestation memory b = _attestation(round);
        b.attempt = a.attempt;
        b.evidence = keccak256("other");
        _skip(6 days);
        rounds.proveEquivocation(_operator(0), a, _sign(a, 0), b, _sign(b, 0));
        assertEq(validators.stakeOf(_operator(0)), STAKE / 2, "slashed while leaving");
    }

    /// The same for a commit that is not revealed in a round that the others finalise at once.
    function test_exitBeforePenalty__unrevealedCommit__charged() public {
        uint64 round = _begin();
        vm.prank(_operator(3));
        validators.requestExit();
        _skip(30 days);
        rounds.retry(round);
        Attestation memory a = _attestation(round);
        _reportAll(round);
        _commitAll(a);
        for (uint256 i = 0; i < 3; i++) {
            _attest(a, i);
        }
        rounds.finalise(a);
        vm.expectPartialRevert(IValidatorSet.ExitDelay.selector);
        vm.prank(_operator(3));
        validators.withdraw();
        _toStalled(round);
        rounds.chargeUnrevealed(round, 1 + 1, _operator(3));
        assertEq(validators.stakeOf(_operator(3)), STAKE - 1 ether, "charged while leaving");
    }

    /// subtensor #1787: whoever got a freed slot inherited what its predecessor had committed. Commits, weights and stake
    /// belong to an address, and a signing address serves one operator for ever.
    function test_slotInheritance__newcomerInAFreedPlace__inheritsNothing() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        vm.prank(_operator(0));
        validators.requestExit();
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
        _skip(8 days);
        vm.prank(_operator(0));
        validators.withdraw();
        _joinRefusedBy(mallory, vm.addr(_signerKey(0)), IValidatorSet.SignerTaken.selector);
        _join(8, STAKE);

        bytes memory signature = _sign(a, 8);
        vm.expectPartialRevert(IScoringRounds.WrongPhase.selector);
        rounds.attest(a, SALT, _operator(8), signature);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NoFee.selector, round, _operator(8)));
        pool.claimFee(round, _operator(8));
        assertEq(validators.weightAt(_operator(8), round), 0, "no weight in a round before it joined");
        pool.claimFee(round, _operator(0));
        assertEq(rewardToken.balanceOf(_operator(0)), FEE / 4, "the predecessor keeps its fee");
    }

    /* TREES AND BITMAPS */

    /// Uniswap merkle-distributor #35: an inner node passed for a leaf. Both trees hash their leaves twice.
    function test_secondPreimage__innerNodesAsLeaves__refused() public {
        (uint64 round, Attestation memory a) = _wholeRound("1");
        bytes32[] memory leaves = _scoreLeaves(1);
        assertEq(Hashes.commutativeKeccak256(leaves[0], leaves[1]), a.scoresRoot, "the pair hashes to the root");
        // A leaf whose single hash is the root needs a preimage of the pair; the double hash of no field layout has one.
        ScoreLeaf memory forged = ScoreLeaf(1, alice, 1, uint128(uint256(leaves[0])), 0, 0);
        assertTrue(!rounds.verifyScore(round, forged, new bytes32[](0)), "no leaf of no path");
        bytes32[] memory inner = new bytes32[](1);
        inner[0] = leaves[1];
        assertTrue(!rounds.verifyScore(round, forged, inner), "no leaf beside a leaf");

        bytes32[] memory earnings = _earningsLeaves(100 ether);
        address account = address(uint160(uint256(earnings[0])));
        vm.expectPartialRevert(IRewardPool.InvalidProof.selector);
        pool.claim(account, uint256(earnings[1]), new bytes32[](0));
        vm.expectPartialRevert(IRewardPool.InvalidProof.selector);
        pool.claim(account, uint256(earnings[1]), earnings);
    }

    /// OCR2 and UMA bound their calldata: a bitmap has one length and one form, one voice each, and nobody else's.
    function test_bitmapGriefing__wrongLengthTailOrVoice__refused() public {
        uint64 round = _begin();
        bytes[4] memory bitmaps = [bytes(""), hex"0300", hex"04", hex"ff"];
        for (uint256 i = 0; i < 4; i++) {
            vm.expectPartialRevert(i < 2 ? BitmapLib.BitmapLength.selector : BitmapLib.BitmapTail.selector);
            vm.prank(_operator(0));
            rounds.reportAvailability(round, bitmaps[i]);
        }
        vm.expectPartialRevert(IScoringRounds.NoWeightInRound.selector);
        vm.prank(mallory);
        rounds.reportAvailability(round, hex"03");
        vm.prank(_operator(0));
        rounds.reportAvailability(round, hex"00");
        vm.expectPartialRevert(IScoringRounds.AlreadyReported.selector);
        vm.prank(_operator(0));
        rounds.reportAvailability(round, hex"03");
        assertEq(rounds.roundInfo(round).reportedWeight, STAKE, "one voice");
    }

    /* EARNED TOTAL */

    /// A total that outgrows what a round may pay would eat fees, later rounds, or what was never funded.
    function test_earnedTotalInflation__byAnyField__noQuorumCanForm() public {
        uint64 round = _begin();
        Attestation memory a = _attestation(round);
        a.earnedTotal += 1;
        _inflated(round, a, IScoringRounds.WrongEarnedTotal.selector);
        a.roundTotal = uint128(BUDGET) + 1;
        a.earnedTotal = a.roundTotal;
        _inflated(round, a, IScoringRounds.PoolExceeded.selector);
        a.roundTotal = type(uint128).max;
        a.earnedTotal = type(uint128).max;
        _inflated(round, a, IScoringRounds.PoolExceeded.selector);
        a.attempt = rounds.roundInfo(round).attempt;
        vm.expectPartialRevert(IScoringRounds.NoQuorum.selector);
        rounds.finalise(a);
        assertEq(pool.earnedTotal(), 0, "nothing earned");
    }

    /// Rounds that pay all they offer, until the pool is dry: then they offer nothing, and nothing more is earned.
    function test_earnedTotalInflation__roundAfterRound__stopsAtTheFunds() public {
        for (uint256 i = 0; i < 12; i++) {
            _submit(alice, string(abi.encode(i)));
            uint64 round = _close();
            _draw(round);
            Attestation memory a = _attestation(round);
            a.roundTotal = rounds.roundInfo(round).pool;
            a.earnedTotal = pool.earnedTotal() + a.roundTotal;
            a.earningsRoot = LeafLib.earnings(alice, a.earnedTotal);
            _reportAll(round);
            _commitAll(a);
            _attestAll(a);
            rounds.finalise(a);
        }
        assertEq(pool.available(), 0, "dry");
        pool.claim(alice, pool.earnedTotal(), new bytes32[](0));
        assertEq(rewardToken.balanceOf(address(pool)), pool.feesOwed(), "fees are still there");
    }

    /* STEPS */

    /// Begins a round over what was submitted and finalises it with this tree of scores.
    function _scored(bytes32 scoresRoot) internal returns (uint64 round) {
        round = _close();
        _draw(round);
        Attestation memory a = _attestation(round);
        a.scoresRoot = scoresRoot;
        _reportAll(round);
        _commitAll(a);
        _attestAll(a);
        rounds.finalise(a);
    }

    /// All validators commit to it, none can attest it, and the attempt stalls.
    function _inflated(uint64 round, Attestation memory a, bytes4 refusal) internal {
        a.attempt = rounds.roundInfo(round).attempt;
        _reportAll(round);
        _commitAll(a);
        bytes memory signature = _sign(a, 0);
        vm.expectPartialRevert(refusal);
        rounds.attest(a, SALT, _operator(0), signature);
        _toStalled(round);
        if (a.attempt < 3) rounds.retry(round);
    }

    function _permission(bytes32 domain) internal pure returns (bytes memory) {
        bytes32 kind = keccak256(
            "Submission(address contributor,bytes32 digest,uint8 codec,uint64 size,uint32 keyEpoch,uint64 deadline)"
        );
        bytes32 structHash =
            keccak256(abi.encode(kind, vm.addr(1), keccak256("x"), uint8(0), uint64(1), uint32(1), type(uint64).max));
        return _signature(1, keccak256(abi.encodePacked("\x19\x01", domain, structHash)));
    }

    function _submissionRefused(bytes memory permission) internal {
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.InvalidPermission.selector, vm.addr(1)));
        vm.prank(mallory);
        registry.submitFor{ value: DEPOSIT }(vm.addr(1), keccak256("x"), 0, 1, 1, type(uint64).max, permission);
    }

    function _joinRefused(address signer, bytes memory consent, bytes4 refusal) internal {
        vm.prank(owner);
        dao.admit(mallory, true);
        vm.expectPartialRevert(refusal);
        vm.prank(mallory);
        validators.join(STAKE, signer, keccak256("key"), consent);
    }

    function _joinRefusedBy(address operator, address signer, bytes4 refusal) internal {
        bytes memory consent = _consent(_signerKey(0), operator);
        _joinRefused(signer, consent, refusal);
    }

    function _attestationType() internal pure returns (bytes32) {
        return keccak256(
            "ScoreAttestation(uint64 round,uint32 attempt,bytes32 manifest,bytes32 seed,bytes32 inputsRoot,bytes32 scoresRoot,bytes32 earningsRoot,uint128 roundTotal,uint128 earnedTotal,uint32 count,bytes32 evidence)"
        );
    }
}
