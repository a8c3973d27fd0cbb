// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation } from "../Types.sol";
import { IScoringRounds } from "../interfaces/IScoringRounds.sol";
import { AttestationLib } from "./AttestationLib.sol";

/// @notice What a validator did in one attempt of one round, and what it was when it first did something. `answer` is a
/// word that each step overwrites, which is what keeps a round cheap: the hash of the reported bitmap, then the commit,
/// then the digest of the attestation.
struct Ballot {
    address signer;
    uint88 weight;
    /// The marks below.
    uint8 marks;
    // ---
    bytes32 answer;
}

uint8 constant REPORTED = 1;
uint8 constant COMMITTED = 2;
uint8 constant ATTESTED = 4;
uint8 constant CHARGED = 8;
uint8 constant EQUIVOCATED = 16;

/// @title BallotLib
/// @notice What a ballot says.
library BallotLib {
    /// @notice Whether the operator attested `digest`.
    function attested(Ballot storage vote, bytes32 digest) internal view returns (bool) {
        return vote.marks & ATTESTED != 0 && vote.answer == digest;
    }

    /// @notice Whether the operator committed, has not revealed, and was not charged for it.
    function owesReveal(Ballot storage vote) internal view returns (bool) {
        return vote.marks & (COMMITTED | ATTESTED | CHARGED) == COMMITTED;
    }

    /// @notice Reverts unless `digest` and `salt` are what the operator committed to and has not revealed yet.
    function requireCommitted(
        Ballot storage vote,
        Attestation calldata a,
        address operator,
        bytes32 digest,
        bytes32 salt
    ) internal view {
        uint8 marks = vote.marks;
        require(marks & ATTESTED == 0, IScoringRounds.AlreadyAttested(a.round, a.attempt, operator));
        bytes32 expected = AttestationLib.commitHash(a.round, a.attempt, operator, digest, salt);
        bool matches = marks & COMMITTED != 0 && vote.answer == expected;
        require(matches, IScoringRounds.CommitMismatch(a.round, a.attempt, operator));
    }
}
