// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { IScoringRounds } from "../interfaces/IScoringRounds.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title SignatureLib
/// @notice Signatures of signing keys. They are ECDSA only, 65 bytes with s in the lower half: a key that a contract
/// could redefine later would let one past signature mean two things.
library SignatureLib {
    /// @notice Reverts unless `signer` signed `digest`.
    function requireSigned(address signer, bytes32 digest, bytes calldata signature) internal pure {
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        // The zero address is nobody's signing address, and what a bad signature recovers to.
        require(recovered == signer && signer != address(0), IScoringRounds.WrongSigner(recovered, signer));
    }
}
