// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title ExactTransferLib
/// @notice Takes tokens from an account and tells how many arrived, so that a token with a fee on transfer is refused
/// and cannot break the books.
library ExactTransferLib {
    using SafeERC20 for IERC20;

    /// @return received Units by which this contract's balance grew.
    function pull(IERC20 token, address from, uint256 amount) internal returns (uint256 received) {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(from, address(this), amount);
        received = token.balanceOf(address(this)) - before;
    }
}
