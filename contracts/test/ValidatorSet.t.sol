// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Parameters, Phase, Validator } from "../src/Types.sol";
import { IValidatorSet } from "../src/interfaces/IValidatorSet.sol";
import { Fixture } from "./utils/Fixture.sol";
import { CallbackToken, FeeToken, Puppet } from "./utils/Tokens.sol";

contract ValidatorSetTest is Fixture {
    address internal newcomer = address(0x4EC0);
    uint256 internal constant NEW_KEY = 0x4E1;
    bytes32 internal constant HPKE = keccak256("hpke");

    function setUp() public override {
        super.setUp();
        stakeToken.mint(newcomer, 10_000 ether);
        vm.prank(newcomer);
        stakeToken.approve(address(validators), type(uint256).max);
        vm.prank(owner);
        dao.admit(newcomer, true);
    }

    function test_constructor__zeroAddress__refused() public {
        _refusesZero("ValidatorSet", abi.encode(address(0), rounds, stakeToken), IValidatorSet.ZeroAddress.selector);
        _refusesZero("ValidatorSet", abi.encode(dao, address(0), stakeToken), IValidatorSet.ZeroAddress.selector);
        _refusesZero("ValidatorSet", abi.encode(dao, rounds, address(0)), IValidatorSet.ZeroAddress.selector);
    }

    /* JOIN */

    function test_join__admittedWithConsent__counted() public {
        address signer = vm.addr(NEW_KEY);
        bytes memory consent = _consent(NEW_KEY, newcomer);
        vm.expectEmit(address(validators));
        emit IValidatorSet.ValidatorJoined(newcomer, signer, HPKE, 50 ether);
        vm.expectEmit(address(validators));
        emit IValidatorSet.StakeChanged(newcomer, 50 ether, 50 ether, 1);
        vm.prank(newcomer);
        validators.join(50 ether, signer, HPKE, consent);

        Validator memory v = validators.validators(newcomer);
        assertEq(v.signer, signer, "signer");
        assertEq(v.hpkeKey, HPKE, "key");
        assertEq(v.stake, 50 ether, "stake");
        assertEq(v.weight, 50 ether, "weight");
        assertEq(v.exitAt, 0, "no exit");
        assertEq(validators.operatorOf(signer), newcomer, "operator by signer");
        assertEq(validators.signerOf(newcomer), signer, "signer by operator");
        assertEq(validators.operators().length, VALIDATORS + 1, "listed");
        assertEq(validators.totalWeight(), 450 ether, "total");
        assertEq(stakeToken.balanceOf(address(validators)), 450 ether, "held");
    }

    function test_join__ownSignerWithoutConsent__accepted() public {
        _joinSelf(50 ether);
        assertEq(validators.signerOf(newcomer), newcomer, "signs itself");
    }

    function test_join__aboveCap__weightCapped() public {
        _joinSelf(2000 ether);
        assertEq(validators.stakeOf(newcomer), 2000 ether, "stake");
        assertEq(validators.weightAt(newcomer, 1), 1000 ether, "weight");
    }

    function test_join__notAdmitted__refused() public {
        vm.prank(owner);
        dao.admit(newcomer, false);
        _joinRefused(50 ether, newcomer, HPKE, "", abi.encodeWithSelector(IValidatorSet.NotAdmitted.selector, newcomer));
    }

    function test_join__twice__refused() public {
        _joinSelf(50 ether);
        _joinRefused(
            50 ether, newcomer, HPKE, "", abi.encodeWithSelector(IValidatorSet.AlreadyValidator.selector, newcomer)
        );
    }

    function test_join__malformed__refused() public {
        bytes memory small = abi.encodeWithSelector(IValidatorSet.StakeTooSmall.selector, 10 ether - 1, 10 ether);
        _joinRefused(10 ether - 1, newcomer, HPKE, "", small);
        _joinRefused(50 ether, newcomer, 0, "", abi.encodeWithSelector(IValidatorSet.ZeroKey.selector));
        _joinRefused(50 ether, address(0), HPKE, "", abi.encodeWithSelector(IValidatorSet.ZeroAddress.selector));
    }

    function test_join__consentMissingOrForAnother__refused() public {
        address signer = vm.addr(NEW_KEY);
        bytes memory refusal = abi.encodeWithSelector(IValidatorSet.InvalidConsent.selector, signer, newcomer);
        _joinRefused(50 ether, signer, HPKE, "", refusal);
        _joinRefused(50 ether, signer, HPKE, _consent(NEW_KEY, alice), refusal);
        _joinRefused(50 ether, signer, HPKE, _consent(0xBAD, newcomer), refusal);
    }

    function test_join__signerOfAnother__refused() public {
        address taken = vm.addr(_signerKey(0));
        bytes memory refusal = abi.encodeWithSelector(IValidatorSet.SignerTaken.selector, taken, _operator(0));
        _joinRefused(50 ether, taken, HPKE, _consent(_signerKey(0), newcomer), refusal);
    }

    function test_join__tokenWithFee__refusedAndBooksWhole() public {
        FeeToken token = new FeeToken();
        _deploy(address(token), address(rewardToken));
        token.mint(newcomer, 100 ether);
        vm.prank(owner);
        dao.admit(newcomer, true);
        vm.startPrank(newcomer);
        token.approve(address(validators), 100 ether);
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.UnsupportedToken.selector, 100 ether, 99 ether));
        validators.join(100 ether, newcomer, HPKE, "");

        assertEq(validators.totalWeight(), 0, "nothing counted");
    }

    /* TOP UP, UPDATE */

    function test_topUp__staying__stakeAndWeightGrow() public {
        _joinSelf(900 ether);
        vm.expectEmit(address(validators));
        emit IValidatorSet.StakeChanged(newcomer, 1100 ether, 1000 ether, 1);
        vm.prank(newcomer);
        validators.topUp(200 ether);

        assertEq(validators.totalWeight(), 1400 ether, "capped in the total too");
    }

    function test_topUp__zeroOrStrangerOrExiting__refused() public {
        vm.startPrank(newcomer);
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.NotValidator.selector, newcomer));
        validators.topUp(1);
        validators.join(50 ether, newcomer, HPKE, "");
        vm.expectRevert(IValidatorSet.ZeroAmount.selector);
        validators.topUp(0);
        validators.requestExit();
        vm.expectRevert(
            abi.encodeWithSelector(IValidatorSet.Exiting.selector, newcomer, vm.getBlockTimestamp() + 7 days)
        );
        validators.topUp(1);
    }

    function test_topUp__duringRound__countsFromTheOpenRound() public {
        _begin();
        address operator = _operator(0);
        stakeToken.mint(operator, 50 ether);
        vm.startPrank(operator);
        stakeToken.approve(address(validators), 50 ether);
        validators.topUp(50 ether);

        assertEq(validators.weightAt(operator, 1), 100 ether, "the closed round keeps its weight");
        assertEq(validators.weightAt(operator, 2), 150 ether, "the open round has the new one");
        assertEq(validators.totalWeightAt(1), 400 ether, "total of the closed round");
        assertEq(validators.totalWeightAt(2), 450 ether, "total of the open round");
    }

    function test_updateWeight__newCapLatched__applied() public {
        _joinSelf(2000 ether);
        Parameters memory p = _parameters();
        p.maxWeight = 70 ether;
        vm.prank(owner);
        dao.setParameters(p);
        validators.updateWeight(newcomer);
        assertEq(validators.weightAt(newcomer, 1), 1000 ether, "the open round has its own cap");

        _submit(alice, "a");
        _close();
        validators.updateWeight(newcomer);
        assertEq(validators.weightAt(newcomer, 1), 1000 ether, "round 1 is closed");
        assertEq(validators.weightAt(newcomer, 2), 70 ether, "round 2 has latched the new cap");
    }

    function test_weightAt__longAgo__refused() public {
        _wholeRound("1");
        _wholeRound("2");
        address operator = _operator(0);
        assertEq(validators.weightAt(operator, 1), 100 ether, "unchanged since");
        vm.prank(operator);
        validators.requestExit();
        assertEq(validators.weightAt(operator, 2), 100 ether, "the round before the change");
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.WeightForgotten.selector, operator, 1));
        validators.weightAt(operator, 1);
        assertEq(validators.totalWeightAt(1), 400 ether, "totals are kept");
    }

    /* ANNOUNCE */

    function test_announce__member__said() public {
        _joinSelf(50 ether);
        vm.expectEmit(address(validators));
        emit IValidatorSet.PeerAnnounced(newcomer, "https://one.example");
        vm.prank(newcomer);
        validators.announce("https://one.example");
    }

    function test_announce__leaving__stillHeardUntilWithdrawn() public {
        _joinSelf(50 ether);
        vm.startPrank(newcomer);
        validators.requestExit();
        vm.expectEmit(address(validators));
        emit IValidatorSet.PeerAnnounced(newcomer, "");
        validators.announce("");
        vm.warp(block.timestamp + 30 days);
        validators.withdraw();
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.NotValidator.selector, newcomer));
        validators.announce("https://one.example");
    }

    function test_announce__stranger__refused() public {
        vm.prank(newcomer);
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.NotValidator.selector, newcomer));
        validators.announce("https://one.example");
    }

    function testFuzz_announce__anyBytes__takenUpToTheLimit(bytes memory url, uint256 size) public {
        size = bound(size, 0, 300);
        bytes memory said = new bytes(size);
        for (uint256 i = 0; i < size && url.length != 0; i++) {
            said[i] = url[i % url.length];
        }
        uint256 before = validators.totalWeight();
        vm.prank(_operator(0));
        if (size > 256) {
            vm.expectRevert(abi.encodeWithSelector(IValidatorSet.UrlTooLong.selector, size, 256));
        } else {
            vm.expectEmit(address(validators));
            emit IValidatorSet.PeerAnnounced(_operator(0), string(said));
        }
        validators.announce(string(said));
        assertEq(validators.totalWeight(), before, "nothing else changes");
    }

    /* EXIT */

    function test_requestExit__staying__weightless() public {
        uint64 exitAt = uint64(vm.getBlockTimestamp() + 7 days);
        vm.expectEmit(address(validators));
        emit IValidatorSet.ExitRequested(_operator(0), exitAt);
        vm.expectEmit(address(validators));
        emit IValidatorSet.StakeChanged(_operator(0), STAKE, 0, 1);
        vm.startPrank(_operator(0));
        validators.requestExit();

        assertEq(validators.totalWeight(), 300 ether, "total");
        assertEq(validators.stakeOf(_operator(0)), STAKE, "stake stays");
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.Exiting.selector, _operator(0), exitAt));
        validators.requestExit();
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.Exiting.selector, _operator(0), exitAt));
        validators.updateWeight(_operator(0));
    }

    function test_withdraw__tooEarlyOrNotExiting__refused() public {
        vm.startPrank(_operator(0));
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.NotExiting.selector, _operator(0)));
        validators.withdraw();
        validators.requestExit();
        _skip(7 days - 1);
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.ExitDelay.selector, vm.getBlockTimestamp() + 1));
        validators.withdraw();
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.NotValidator.selector, alice));
        vm.prank(alice);
        validators.withdraw();
    }

    function test_withdraw__afterDelay__paidAndGone() public {
        vm.startPrank(_operator(0));
        validators.requestExit();
        _skip(7 days);
        vm.expectEmit(address(validators));
        emit IValidatorSet.StakeWithdrawn(_operator(0), STAKE);
        validators.withdraw();

        assertEq(stakeToken.balanceOf(_operator(0)), STAKE, "paid");
        assertEq(validators.operators().length, VALIDATORS - 1, "unlisted");
        assertEq(validators.signerOf(_operator(0)), address(0), "no signer");
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.NotValidator.selector, _operator(0)));
        validators.withdraw();
    }

    function test_withdraw__countedByUnsettledRound__anExitDelayAfterItsEnd() public {
        uint64 round = _begin();
        vm.prank(_operator(0));
        validators.requestExit();
        _skip(30 days);
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.RoundUnsettled.selector, round));
        vm.prank(_operator(0));
        validators.withdraw();

        _abandon(round);
        uint256 until = uint256(rounds.roundInfo(round).attestDeadline) + 7 days;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.ExitDelay.selector, until));
        vm.prank(_operator(0));
        validators.withdraw();

        vm.warp(until);
        vm.prank(_operator(0));
        validators.withdraw();
        assertEq(stakeToken.balanceOf(_operator(0)), STAKE, "paid");
    }

    function test_withdraw__unsettledRoundThatDoesNotCountIt__allowed() public {
        vm.prank(_operator(0));
        validators.requestExit();
        _begin();
        _skip(7 days);
        vm.prank(_operator(0));
        validators.withdraw();
        assertEq(stakeToken.balanceOf(_operator(0)), STAKE, "paid");
    }

    function test_join__again__withANewSignerOnly() public {
        vm.startPrank(_operator(0));
        validators.requestExit();
        _skip(7 days);
        validators.withdraw();
        stakeToken.approve(address(validators), STAKE);
        address old = vm.addr(_signerKey(0));
        bytes memory consent = _consent(_signerKey(0), _operator(0));
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.SignerTaken.selector, old, _operator(0)));
        validators.join(STAKE, old, HPKE, consent);
        validators.join(STAKE, _operator(0), HPKE, "");
        assertEq(validators.totalWeight(), 400 ether, "back");
    }

    /* SLASH */

    function test_slash__byStranger__refused() public {
        vm.expectRevert(abi.encodeWithSelector(IValidatorSet.OnlyRounds.selector, address(this)));
        validators.slash(_operator(0), 1, reporter, 0);
    }

    function testFuzz_slash__anyAmount__conserved(uint256 amount, uint16 bps) public {
        bps = uint16(bound(bps, 0, 9999));
        uint256 expected = amount < STAKE ? amount : STAKE;
        uint256 share = expected * bps / 10_000;
        vm.expectEmit(address(validators));
        emit IValidatorSet.ValidatorSlashed(_operator(0), expected, reporter, share);
        vm.prank(address(rounds));
        uint256 slashed = validators.slash(_operator(0), amount, reporter, bps);

        assertEq(slashed, expected, "capped by the stake");
        assertEq(stakeToken.balanceOf(reporter), share, "reporter");
        assertEq(validators.burned(), expected - share, "burned");
        assertEq(validators.stakeOf(_operator(0)), STAKE - expected, "stake");
        assertEq(validators.totalWeight(), 4 * STAKE - expected, "weight");
        assertEq(stakeToken.balanceOf(address(validators)), 4 * STAKE - share, "held");
    }

    function test_slash__capped__weightFallsWithTheStakeOnly() public {
        _joinSelf(2000 ether);
        vm.prank(address(rounds));
        validators.slash(newcomer, 500 ether, reporter, 0);
        assertEq(validators.weightAt(newcomer, 1), 1000 ether, "still at the cap");
        vm.prank(address(rounds));
        validators.slash(newcomer, 600 ether, reporter, 0);
        assertEq(validators.weightAt(newcomer, 1), 900 ether, "below the cap");
    }

    function test_slash__exiting__takenBeforeWithdrawal() public {
        vm.prank(_operator(0));
        validators.requestExit();
        vm.prank(address(rounds));
        validators.slash(_operator(0), 40 ether, reporter, 5000);
        assertEq(validators.totalWeight(), 300 ether, "weight stays zero");

        _skip(7 days);
        vm.prank(_operator(0));
        validators.withdraw();
        assertEq(stakeToken.balanceOf(_operator(0)), 60 ether, "the rest");
    }

    function test_slash__withdrawnOperator__takesNothing() public {
        vm.startPrank(_operator(0));
        validators.requestExit();
        _skip(7 days);
        validators.withdraw();
        vm.stopPrank();
        assertEq(validators.stakeOf(_operator(0)), 0, "no stake left");
        vm.prank(address(rounds));
        assertEq(validators.slash(_operator(0), STAKE, reporter, 5000), 0, "nothing to take");
        assertEq(stakeToken.balanceOf(address(validators)), 3 * STAKE, "the others' stake is untouched");
    }

    function test_slash__shareOfNothing__movesNoToken() public {
        vm.prank(address(rounds));
        vm.recordLogs();
        validators.slash(_operator(0), 1 ether, reporter, 0);
        assertEq(vm.getRecordedLogs().length, 2, "slashed and changed, and no transfer of nothing");
    }

    function test_slash__shareOfOneUnit__paid() public {
        vm.prank(address(rounds));
        validators.slash(_operator(0), 2, reporter, 5000);
        assertEq(stakeToken.balanceOf(reporter), 1, "one unit");
    }

    /* REENTRANCY */

    function test_slash__reporterReenters__refused() public {
        (CallbackToken token, Puppet puppet) = _puppetJoined();
        puppet.act(address(validators), abi.encodeCall(IValidatorSet.requestExit, ()));
        _skip(7 days);
        _hook(token, address(puppet), puppet, abi.encodeCall(IValidatorSet.withdraw, ()));
        vm.prank(address(rounds));
        validators.slash(address(puppet), 50 ether, address(puppet), 5000);

        assertTrue(!token.reentered(), "no way back in");
        assertEq(validators.stakeOf(address(puppet)), 50 ether, "books whole");
    }

    function test_withdraw__joiningAgainInside__refused() public {
        (CallbackToken token, Puppet puppet) = _puppetJoined();
        puppet.act(address(validators), abi.encodeCall(IValidatorSet.requestExit, ()));
        _skip(7 days);
        bytes memory consent = _consent(_signerKey(50), address(puppet));
        bytes memory join = abi.encodeCall(IValidatorSet.join, (50 ether, vm.addr(_signerKey(50)), HPKE, consent));
        _hook(token, address(puppet), puppet, join);
        puppet.act(address(validators), abi.encodeCall(IValidatorSet.withdraw, ()));

        assertTrue(!token.reentered(), "no way back in");
        assertEq(token.balanceOf(address(puppet)), 1100 ether, "paid once");
    }

    /// Somebody else's deposit inside one's own would be counted as one's own.
    function test_topUpAndJoin__anothersTopUpInside__refusedAndOwnCounted() public {
        (CallbackToken token, Puppet puppet) = _puppetJoined();
        _hook(token, address(validators), puppet, abi.encodeCall(IValidatorSet.topUp, (1 ether)));
        token.mint(newcomer, 300 ether);
        vm.prank(owner);
        dao.admit(newcomer, true);
        vm.startPrank(newcomer);
        token.approve(address(validators), 300 ether);
        validators.join(200 ether, newcomer, HPKE, "");
        _hook(token, address(validators), puppet, abi.encodeCall(IValidatorSet.topUp, (1 ether)));
        validators.topUp(100 ether);

        assertTrue(!token.reentered(), "no way back in");
        assertEq(validators.stakeOf(newcomer), 300 ether, "one's own");
        assertEq(validators.stakeOf(address(puppet)), 100 ether, "and no more");
    }

    /* THE LAST ROUND */

    function test_withdraw__joinedAfterTheUnsettledRoundClosed__notHeldByIt() public {
        uint64 round = _begin();
        _joinSelf(100 ether);
        vm.startPrank(newcomer);
        validators.requestExit();
        _skip(7 days);
        validators.withdraw();
        assertTrue(rounds.phase(round) != Phase.Finalised && validators.stakeOf(newcomer) == 0, "out");
    }

    function test_withdraw__secondTime__notHeldByRoundsOfTheFirst() public {
        (uint64 first,) = _wholeRound("1");
        vm.startPrank(_operator(0));
        validators.requestExit();
        _skip(8 days);
        validators.withdraw();
        stakeToken.approve(address(validators), STAKE);
        validators.join(STAKE, _operator(0), HPKE, "");
        validators.requestExit();
        vm.stopPrank();
        assertEq(validators.weightAt(_operator(0), first + 1), 0, "counts for no round");
        _begin();
        _skip(7 days);
        vm.prank(_operator(0));
        validators.withdraw();
        assertEq(stakeToken.balanceOf(_operator(0)), STAKE, "out again");
    }

    function test_withdraw__neverCounted__notHeldByTheFirstRound() public {
        for (uint256 i = 0; i < 2; i++) {
            vm.startPrank(_operator(0));
            if (i == 1) {
                stakeToken.approve(address(validators), STAKE);
                validators.join(STAKE, _operator(0), HPKE, "");
            }
            validators.requestExit();
            vm.stopPrank();
            if (i == 1) _begin();
            _skip(7 days);
            vm.prank(_operator(0));
            validators.withdraw();
        }
        assertTrue(rounds.phase(1) == Phase.Stalled, "round 1 is under way");
    }

    /* STEPS */

    /// A set whose stake token calls back, and an operator in it that does what it is told.
    function _puppetJoined() internal returns (CallbackToken token, Puppet puppet) {
        (token, puppet) = (new CallbackToken(), new Puppet());
        _deploy(address(token), address(rewardToken));
        token.mint(address(puppet), 1100 ether);
        vm.prank(owner);
        dao.admit(address(puppet), true);
        bytes memory consent = _consent(_signerKey(40), address(puppet));
        address signer = vm.addr(_signerKey(40));
        puppet.act(address(token), abi.encodeCall(token.approve, (address(validators), type(uint256).max)));
        puppet.act(address(validators), abi.encodeCall(IValidatorSet.join, (100 ether, signer, HPKE, consent)));
    }

    /// When tokens reach `receiver`, the puppet calls the set.
    function _hook(CallbackToken token, address receiver, Puppet puppet, bytes memory data) internal {
        token.hook(receiver, address(puppet), abi.encodeCall(Puppet.act, (address(validators), data)));
    }

    function _joinSelf(uint256 amount) internal {
        vm.prank(newcomer);
        validators.join(amount, newcomer, HPKE, "");
    }

    function _joinRefused(uint256 amount, address signer, bytes32 key, bytes memory consent, bytes memory refusal)
        internal
    {
        vm.expectRevert(refusal);
        vm.prank(newcomer);
        validators.join(amount, signer, key, consent);
    }
}
