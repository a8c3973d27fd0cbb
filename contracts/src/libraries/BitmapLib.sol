// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

/// @title BitmapLib
/// @notice Bitmaps with one form for each set: ceil(n / 8) bytes, bit i in byte i / 8 from the least significant, unused
/// bits zero.
library BitmapLib {
    /// @notice The bitmap does not have the length for so many bits.
    error BitmapLength(uint256 given, uint256 expected);
    /// @notice A bit beyond the last is set.
    error BitmapTail(uint8 lastByte);

    /// @notice Reverts unless `bitmap` is the one form of a set of `bits` members, `bits` > 0.
    function requireCanonical(bytes calldata bitmap, uint256 bits) internal pure {
        uint256 length = (bits + 7) / 8;
        require(bitmap.length == length, BitmapLength(bitmap.length, length));

        uint256 used = bits % 8;
        uint8 lastByte = uint8(bitmap[length - 1]);
        require(used == 0 || lastByte >> used == 0, BitmapTail(lastByte));
    }
}
