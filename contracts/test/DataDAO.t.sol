// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Parameters } from "../src/Types.sol";
import { IDataDAO } from "../src/interfaces/IDataDAO.sol";
import { Fixture } from "./utils/Fixture.sol";
import { Ownable } from "@openzeppelin/contracts/access/Ownable.sol";
import { Ownable2Step } from "@openzeppelin/contracts/access/Ownable2Step.sol";

contract DataDAOTest is Fixture {
    function test_publishManifest__byOwner__nextVersion() public {
        vm.expectEmit(address(dao));
        emit IDataDAO.ManifestPublished(2, keccak256("next"));
        vm.prank(owner);
        dao.publishManifest(keccak256("next"));

        assertEq(dao.manifestVersion(), 2, "version");
        assertEq(dao.manifest(2), keccak256("next"), "digest");
        assertEq(dao.manifest(1), MANIFEST, "the old version stays");
    }

    function test_ownerFunctions__byStranger__refused() public {
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, alice);
        vm.startPrank(alice);
        vm.expectRevert(refusal);
        dao.publishManifest(MANIFEST);
        vm.expectRevert(refusal);
        dao.publishKeyEpoch(MANIFEST);
        vm.expectRevert(refusal);
        dao.grantKey(1, alice, "");
        vm.expectRevert(refusal);
        dao.admit(alice, true);
        vm.expectRevert(refusal);
        dao.setParameters(_parameters());
        vm.expectRevert(refusal);
        dao.pause();
        vm.expectRevert(refusal);
        dao.unpause();
    }

    function test_publish__zero__refused() public {
        vm.startPrank(owner);
        vm.expectRevert(IDataDAO.ZeroValue.selector);
        dao.publishManifest(0);
        vm.expectRevert(IDataDAO.ZeroValue.selector);
        dao.publishKeyEpoch(0);
    }

    function test_publishKeyEpoch__byOwner__nextEpoch() public {
        vm.expectEmit(address(dao));
        emit IDataDAO.KeyEpochPublished(2, keccak256("epoch 2"));
        vm.prank(owner);
        dao.publishKeyEpoch(keccak256("epoch 2"));

        assertEq(dao.keyEpoch(), 2, "epoch");
        assertEq(dao.keyOf(2), keccak256("epoch 2"), "key");
    }

    function test_views__unknownVersion__refused() public {
        vm.expectRevert(abi.encodeWithSelector(IDataDAO.UnknownManifest.selector, 9));
        dao.manifest(9);
        vm.expectRevert(abi.encodeWithSelector(IDataDAO.UnknownKeyEpoch.selector, 9));
        dao.keyOf(9);
        vm.expectRevert(abi.encodeWithSelector(IDataDAO.UnknownParameters.selector, 9));
        dao.parametersAt(9);
        vm.expectRevert(abi.encodeWithSelector(IDataDAO.UnknownParameters.selector, 0));
        dao.parametersAt(0);
    }

    function test_grantKey__knownEpoch__emitted() public {
        vm.expectEmit(address(dao));
        emit IDataDAO.KeyGranted(1, _operator(0), "wrapped");
        vm.prank(owner);
        dao.grantKey(1, _operator(0), "wrapped");
    }

    function test_grantKey__unknownEpochOrTooLong__refused() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IDataDAO.UnknownKeyEpoch.selector, 2));
        dao.grantKey(2, alice, "");
        vm.expectRevert(abi.encodeWithSelector(IDataDAO.WrappedKeySize.selector, 1025, 1024));
        dao.grantKey(1, alice, new bytes(1025));
        dao.grantKey(1, alice, new bytes(1024));
    }

    function test_pause__byOwner__toldAndUndone() public {
        vm.startPrank(owner);
        dao.pause();
        assertTrue(dao.paused(), "paused");
        dao.unpause();
        assertTrue(!dao.paused(), "unpaused");
    }

    function test_transferOwnership__twoSteps__onlyAfterAcceptance() public {
        vm.prank(owner);
        Ownable2Step(address(dao)).transferOwnership(alice);
        assertEq(dao.owner(), owner, "still the old owner");

        vm.prank(alice);
        Ownable2Step(address(dao)).acceptOwnership();
        assertEq(dao.owner(), alice, "the new owner");
    }

    function test_setParameters__valid__nextVersion() public {
        Parameters memory p = _parameters();
        p.deposit = 7;
        vm.expectEmit(address(dao));
        emit IDataDAO.ParametersSet(p);
        vm.prank(owner);
        dao.setParameters(p);

        assertEq(dao.parametersVersion(), 2, "version");
        assertEq(dao.parameters().deposit, 7, "latest");
        assertEq(dao.parametersAt(1).deposit, DEPOSIT, "the old version stays");
    }

    function test_setParameters__limitsThemselves__accepted() public {
        Parameters memory p = _parameters();
        p.openSeconds = 365 days;
        p.exitSeconds = 365 days;
        p.slashBps = 10_000;
        p.reporterBps = 9999;
        p.deposit = type(uint112).max;
        p.maxWeight = type(uint88).max;
        vm.startPrank(owner);
        dao.setParameters(p);
        p.exitSeconds = p.maxAttempts * (p.reportSeconds + p.commitSeconds + p.attestSeconds);
        dao.setParameters(p);
        assertEq(dao.parametersVersion(), 3, "both taken");
    }

    function test_admit__byOwner__toldAndUndone() public {
        vm.startPrank(owner);
        vm.expectEmit(address(dao));
        emit IDataDAO.OperatorAdmitted(alice, true);
        dao.admit(alice, true);
        assertTrue(dao.admitted(alice), "admitted");
        vm.expectEmit(address(dao));
        emit IDataDAO.OperatorAdmitted(alice, false);
        dao.admit(alice, false);
        assertTrue(!dao.admitted(alice), "no longer");
    }

    function test_setParameters__outOfRange__refusedByName() public {
        Parameters memory p = _parameters();
        p.openSeconds = 366 days;
        _refused(p, "openSeconds");
        p = _parameters();
        p.reportSeconds = 0;
        _refused(p, "reportSeconds");
        p = _parameters();
        p.commitSeconds = 0;
        _refused(p, "commitSeconds");
        p = _parameters();
        p.attestSeconds = 0;
        _refused(p, "attestSeconds");
        p = _parameters();
        p.maxContributions = 0;
        _refused(p, "maxContributions");
        p = _parameters();
        p.maxAttempts = 0;
        _refused(p, "maxAttempts");
        p = _parameters();
        p.slashBps = 10_001;
        _refused(p, "slashBps");
        p = _parameters();
        p.reporterBps = 10_000;
        _refused(p, "reporterBps");
        p = _parameters();
        p.deposit = uint128(type(uint112).max) + 1;
        _refused(p, "deposit");
        p = _parameters();
        p.minStake = 0;
        _refused(p, "minStake");
        p = _parameters();
        p.maxWeight = 0;
        _refused(p, "maxWeight");
        p.maxWeight = uint128(type(uint88).max) + 1;
        _refused(p, "maxWeight");
        p = _parameters();
        p.exitSeconds = 366 days;
        _refused(p, "exitSeconds");
    }

    function testFuzz_setParameters__exitShorterThanDispute__refused(
        uint32 report,
        uint32 commit,
        uint32 attest,
        uint32 attempts,
        uint32 exit
    ) public {
        Parameters memory p = _parameters();
        p.reportSeconds = uint32(bound(report, 1, type(uint32).max));
        p.commitSeconds = uint32(bound(commit, 1, type(uint32).max));
        p.attestSeconds = uint32(bound(attest, 1, type(uint32).max));
        p.maxAttempts = uint32(bound(attempts, 1, type(uint32).max));
        p.exitSeconds = exit;
        uint256 dispute = (uint256(p.reportSeconds) + p.commitSeconds + p.attestSeconds) * p.maxAttempts;

        if (exit < dispute || exit > 365 days) _refused(p, "exitSeconds");
        vm.prank(owner);
        try dao.setParameters(p) {
            assertTrue(exit >= dispute && exit <= 365 days, "accepted in range only");
        } catch { }
    }

    function _refused(Parameters memory p, string memory name) internal {
        vm.expectRevert(abi.encodeWithSelector(IDataDAO.InvalidParameter.selector, name));
        vm.prank(owner);
        dao.setParameters(p);
    }
}
