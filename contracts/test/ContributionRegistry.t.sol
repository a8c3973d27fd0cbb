// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Contribution, Parameters } from "../src/Types.sol";
import { IContributionRegistry } from "../src/interfaces/IContributionRegistry.sol";
import { Fixture } from "./utils/Fixture.sol";

/// @notice A wallet that accepts permissions by ERC-1271 and refuses ether.
contract ContractWallet {
    bytes32 private immutable _accepted;

    constructor(bytes32 accepted) {
        _accepted = accepted;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == _accepted ? this.isValidSignature.selector : bytes4(0);
    }
}

/// @notice An account that calls back when it is paid.
contract Reenterer {
    IContributionRegistry private immutable _registry;
    uint256 public paid;

    constructor(IContributionRegistry registry_) {
        _registry = registry_;
    }

    function submit(bytes32 digest) external payable {
        _registry.submit{ value: msg.value }(digest, 0, 1, 1);
    }

    receive() external payable {
        paid++;
        _registry.withdrawCredit(payable(address(this)));
    }
}

contract ContributionRegistryTest is Fixture {
    bytes32 internal constant DIGEST = keccak256("content");
    uint256 internal constant CAROL_KEY = 0xCA401;

    function test_constructor__zeroAddress__refused() public {
        bytes4 refusal = IContributionRegistry.ZeroAddress.selector;
        _refusesZero("ContributionRegistry", abi.encode(address(0), rounds), refusal);
        _refusesZero("ContributionRegistry", abi.encode(dao, address(0)), refusal);
    }

    function test_submit__valid__registered() public {
        vm.expectEmit(address(registry));
        emit IContributionRegistry.ContributionSubmitted(1, alice, 1, DIGEST, 1, 4096, 1);
        vm.prank(alice);
        uint64 id = registry.submit{ value: DEPOSIT }(DIGEST, 1, 4096, 1);

        Contribution memory c = registry.contribution(id);
        assertEq(registry.count(), 1, "count");
        assertEq(registry.idOf(alice, DIGEST), id, "id by key");
        assertEq(c.contributor, alice, "contributor");
        assertEq(c.round, 1, "round");
        assertEq(c.digest, DIGEST, "digest");
        assertEq(uint256(c.codec), 1, "codec");
        assertEq(c.size, 4096, "size");
        assertEq(c.keyEpoch, 1, "key epoch");
        assertEq(c.deposit, DEPOSIT, "deposit");
        assertEq(c.payer, alice, "payer");
    }

    function test_submit__wrongDeposit__refused() public {
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.WrongDeposit.selector, 0, DEPOSIT));
        registry.submit(DIGEST, 0, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.WrongDeposit.selector, DEPOSIT + 1, DEPOSIT));
        registry.submit{ value: DEPOSIT + 1 }(DIGEST, 0, 1, 1);
    }

    function test_submit__malformed__refused() public {
        vm.startPrank(alice);
        vm.expectRevert(IContributionRegistry.ZeroDigest.selector);
        registry.submit{ value: DEPOSIT }(0, 0, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.UnknownCodec.selector, 2));
        registry.submit{ value: DEPOSIT }(DIGEST, 2, 1, 1);
    }

    function test_submit__paused__refusedUntilUnpaused() public {
        vm.prank(owner);
        dao.pause();
        vm.prank(alice);
        vm.expectRevert(IContributionRegistry.SubmissionsPaused.selector);
        registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, 1);

        vm.prank(owner);
        dao.unpause();
        vm.prank(alice);
        registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, 1);
    }

    function test_submit__keyEpoch__latestAndTheOneBeforeOnly() public {
        vm.startPrank(owner);
        dao.publishKeyEpoch(keccak256("epoch 2"));
        dao.publishKeyEpoch(keccak256("epoch 3"));
        vm.stopPrank();

        uint32[4] memory refused = [0, 1, 4, type(uint32).max];
        for (uint256 i = 0; i < refused.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.StaleKeyEpoch.selector, refused[i], 3));
            vm.prank(alice);
            registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, refused[i]);
        }
        vm.startPrank(alice);
        registry.submit{ value: DEPOSIT }(keccak256("2"), 0, 1, 2);
        registry.submit{ value: DEPOSIT }(keccak256("3"), 0, 1, 3);
    }

    function test_submit__duplicateOfSameContributor__refused() public {
        vm.startPrank(alice);
        registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.DuplicateContribution.selector, 1));
        registry.submit{ value: DEPOSIT }(DIGEST, 1, 2, 1);
    }

    function test_submit__copiedByAnother__doesNotBlockTheFirst() public {
        vm.prank(bob);
        registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, 1);
        vm.prank(alice);
        uint64 id = registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, 1);

        assertEq(registry.contribution(id).contributor, alice, "alice has her own contribution");
    }

    function test_submit__roundFull__refusedUntilItCloses() public {
        for (uint256 i = 0; i < 100; i++) {
            _submit(alice, string(abi.encode(i)));
        }
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.RoundFull.selector, 1));
        vm.prank(bob);
        registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, 1);

        rounds.close();
        vm.prank(bob);
        registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, 1);
        assertEq(registry.contribution(101).round, 2, "in the next round");
    }

    function test_submit__beforeFirstRound__refused() public {
        _deploy(address(stakeToken), address(rewardToken));
        vm.prank(owner);
        dao.publishKeyEpoch(MANIFEST);
        vm.expectRevert(IContributionRegistry.NoOpenRound.selector);
        registry.submit(DIGEST, 0, 1, 1);
    }

    function test_submit__zeroDeposit__accepted() public {
        Parameters memory p = _parameters();
        p.deposit = 0;
        vm.prank(owner);
        dao.setParameters(p);
        _submit(alice, "a");
        _close();

        vm.prank(alice);
        uint64 id = registry.submit(DIGEST, 0, 1, 1);
        assertEq(registry.contribution(id).deposit, 0, "nothing held");
    }

    /* SUBMIT FOR */

    function test_submitFor__signed__belongsToSignerDepositToPayer() public {
        address carol = vm.addr(CAROL_KEY);
        bytes memory signature = _permission(CAROL_KEY, carol, DIGEST, _later());
        vm.prank(bob);
        uint64 id = registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 0, 1, 1, _later(), signature);

        assertEq(registry.contribution(id).contributor, carol, "contributor");
        assertEq(registry.contribution(id).payer, bob, "payer");
        vm.prank(address(rounds));
        registry.settle(id, false);
        assertEq(registry.credits(bob), DEPOSIT, "credit to the payer");
    }

    function test_submitFor__byTheContributor__paysItself() public {
        address carol = vm.addr(CAROL_KEY);
        vm.deal(carol, 1 ether);
        bytes memory signature = _permission(CAROL_KEY, carol, DIGEST, _later());
        vm.prank(carol);
        uint64 id = registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 0, 1, 1, _later(), signature);

        assertEq(registry.contribution(id).payer, carol, "payer");
    }

    function test_submitFor__expired__refused() public {
        address carol = vm.addr(CAROL_KEY);
        uint64 deadline = _later();
        bytes memory signature = _permission(CAROL_KEY, carol, DIGEST, deadline);
        _skip(2 hours);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.PermissionExpired.selector, deadline));
        vm.prank(bob);
        registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 0, 1, 1, deadline, signature);
    }

    function test_submitFor__lastSecond__accepted() public {
        address carol = vm.addr(CAROL_KEY);
        uint64 deadline = uint64(vm.getBlockTimestamp());
        bytes memory signature = _permission(CAROL_KEY, carol, DIGEST, deadline);
        vm.prank(bob);
        registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 0, 1, 1, deadline, signature);
        assertEq(registry.count(), 1, "registered");
    }

    function test_submitFor__otherSignerOrContent__refused() public {
        address carol = vm.addr(CAROL_KEY);
        bytes memory refusal = abi.encodeWithSelector(IContributionRegistry.InvalidPermission.selector, carol);
        bytes memory signature = _permission(0xBAD, carol, DIGEST, _later());
        vm.startPrank(bob);
        vm.expectRevert(refusal);
        registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 0, 1, 1, _later(), signature);

        signature = _permission(CAROL_KEY, carol, DIGEST, _later());
        vm.expectRevert(refusal);
        registry.submitFor{ value: DEPOSIT }(carol, keccak256("other"), 0, 1, 1, _later(), signature);
        vm.expectRevert(refusal);
        registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 1, 1, 1, _later(), signature);
        vm.expectRevert(refusal);
        registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 0, 2, 1, _later(), signature);
    }

    function test_submitFor__usedTwice__refused() public {
        address carol = vm.addr(CAROL_KEY);
        bytes memory signature = _permission(CAROL_KEY, carol, DIGEST, _later());
        vm.startPrank(bob);
        registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 0, 1, 1, _later(), signature);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.DuplicateContribution.selector, 1));
        registry.submitFor{ value: DEPOSIT }(carol, DIGEST, 0, 1, 1, _later(), signature);
    }

    function test_submitFor__contractWallet__acceptedByErc1271() public {
        address foreseen = vm.computeCreateAddress(address(this), vm.getNonce(address(this)));
        ContractWallet wallet = new ContractWallet(_permissionDigest(foreseen, DIGEST, _later()));
        vm.startPrank(bob);
        uint64 id = registry.submitFor{ value: DEPOSIT }(address(wallet), DIGEST, 0, 1, 1, _later(), "");

        assertEq(registry.contribution(id).contributor, address(wallet), "contributor");
    }

    /* DEPOSITS */

    function test_settle__byStranger__refused() public {
        _submit(alice, "a");
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.OnlyRounds.selector, address(this)));
        registry.settle(1, false);
    }

    function test_settle__unknown__refused() public {
        vm.prank(address(rounds));
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.UnknownContribution.selector, 1));
        registry.settle(1, false);
    }

    function test_settle__forfeited__creditOfTheOwner() public {
        _submit(alice, "a");
        vm.expectEmit(address(registry));
        emit IContributionRegistry.DepositSettled(1, owner, DEPOSIT, true);
        vm.prank(address(rounds));
        registry.settle(1, true);

        assertEq(registry.credits(owner), DEPOSIT, "credit");
        assertEq(registry.contribution(1).deposit, 0, "nothing held");
    }

    function test_settle__twice__creditedOnce() public {
        _submit(alice, "a");
        vm.startPrank(address(rounds));
        registry.settle(1, false);
        registry.settle(1, true);
        registry.settle(1, false);

        assertEq(registry.credits(alice), DEPOSIT, "once");
        assertEq(registry.credits(owner), 0, "nothing forfeited");
    }

    function test_settle__twice__toldOnce() public {
        _submit(alice, "a");
        vm.startPrank(address(rounds));
        registry.settle(1, false);
        vm.recordLogs();
        registry.settle(1, false);
        assertEq(vm.getRecordedLogs().length, 0, "no second event");
    }

    function test_settle__depositOfOneWei__credited() public {
        Parameters memory p = _parameters();
        p.deposit = 1;
        vm.prank(owner);
        dao.setParameters(p);
        _submit(alice, "a");
        _close();
        vm.prank(alice);
        registry.submit{ value: 1 }(keccak256("b"), 0, 1, 1);
        vm.prank(address(rounds));
        registry.settle(2, false);
        assertEq(registry.credits(alice), 1, "credited");
    }

    function test_withdrawCredit__byAnybody__paysTheAccount() public {
        _submit(alice, "a");
        vm.prank(address(rounds));
        registry.settle(1, false);
        uint256 before = alice.balance;
        vm.expectEmit(address(registry));
        emit IContributionRegistry.CreditWithdrawn(alice, DEPOSIT);
        registry.withdrawCredit(payable(alice));

        assertEq(alice.balance - before, DEPOSIT, "paid");
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NoCredit.selector, alice));
        registry.withdrawCredit(payable(alice));
    }

    function test_withdrawCredit__refusingAccount__keepsItsCredit() public {
        ContractWallet wallet = new ContractWallet(0);
        vm.deal(address(wallet), 1 ether);
        vm.prank(address(wallet));
        registry.submit{ value: DEPOSIT }(DIGEST, 0, 1, 1);
        vm.prank(address(rounds));
        registry.settle(1, false);

        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.PaymentRefused.selector, address(wallet)));
        registry.withdrawCredit(payable(address(wallet)));
        assertEq(registry.credits(address(wallet)), DEPOSIT, "kept");
    }

    function test_withdrawCredit__reentered__paysNothingTwice() public {
        Reenterer thief = new Reenterer(registry);
        thief.submit{ value: DEPOSIT }(DIGEST);
        _submit(alice, "a");
        vm.prank(address(rounds));
        registry.settle(1, false);

        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.PaymentRefused.selector, address(thief)));
        registry.withdrawCredit(payable(address(thief)));
        assertEq(address(registry).balance, 2 * DEPOSIT, "nothing left");
    }

    /* STEPS */

    function _later() internal pure returns (uint64) {
        return 1_800_000_000 + 1 hours;
    }

    function _permissionDigest(address contributor, bytes32 digest, uint64 deadline) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "Submission(address contributor,bytes32 digest,uint8 codec,uint64 size,uint32 keyEpoch,uint64 deadline)"
        );
        bytes32 structHash = keccak256(abi.encode(typehash, contributor, digest, 0, 1, 1, deadline));
        return keccak256(abi.encodePacked("\x19\x01", registry.domainSeparator(), structHash));
    }

    function _permission(uint256 key, address contributor, bytes32 digest, uint64 deadline)
        internal
        view
        returns (bytes memory)
    {
        return _signature(key, _permissionDigest(contributor, digest, deadline));
    }
}
