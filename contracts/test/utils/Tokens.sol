// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A token that keeps one hundredth of every transfer, from the start or from when it is told.
contract FeeToken is ERC20 {
    bool public charging = true;

    constructor() ERC20("Fee", "FEE") { }

    function charge(bool charging_) external {
        charging = charging_;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (!charging || from == address(0) || to == address(0)) return super._update(from, to, value);
        super._update(from, to, value - value / 100);
        super._update(from, address(this), value / 100);
    }
}

/// @notice A token that calls its receiver back once, as ERC-777 did, with what the receiver asked for.
contract CallbackToken is ERC20 {
    address private _hooked;
    address private _target;
    bytes private _data;
    bool public reentered;

    constructor() ERC20("Callback", "CBK") { }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function hook(address hooked, address target, bytes calldata data) external {
        (_hooked, _target, _data) = (hooked, target, data);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (to != _hooked || to == address(0)) return;
        _hooked = address(0);
        (bool accepted,) = _target.call(_data);
        if (accepted) reentered = true;
    }
}

/// @notice An account that does what it is told, so that a token can call it back and it can act as itself.
contract Puppet {
    function act(address target, bytes calldata data) external {
        (bool accepted, bytes memory answer) = target.call(data);
        if (accepted) return;
        assembly ("memory-safe") {
            revert(add(answer, 0x20), mload(answer))
        }
    }
}
