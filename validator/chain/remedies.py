"""What each custom error of the contracts means for whoever sent the call, and what to do. `{name}` is an argument of
the error.

A test holds this table against the ABIs: every error has its sentence, and no sentence names an argument that the error
lacks.
"""

from __future__ import annotations

from collections.abc import Mapping

_DAO = {
    "EnforcedPause": "the DAO is paused already",
    "ExpectedPause": "the DAO is not paused",
    "InvalidParameter": "parameter {name} is out of its range: correct it",
    "OwnableInvalidOwner": "{owner} cannot own the DAO",
    "OwnableUnauthorizedAccount": "only the DAO's owner may do this, {account} is not: use the owner's key",
    "UnknownKeyEpoch": "key epoch {epoch} was never published",
    "UnknownManifest": "manifest version {version} was never published",
    "UnknownParameters": "parameters version {version} was never set",
    "WrappedKeySize": "a wrapped key of {size} bytes is too large, the limit is {limit}",
    "ZeroValue": "a digest or key of zeros was given: pass the real one",
}

_REGISTRY = {
    "DuplicateContribution": "this contributor has already submitted this content, as contribution {id}",
    "InvalidPermission": "the permission to submit is not signed by {contributor}: let the contributor sign again",
    "NoCredit": "{account} has no credit to withdraw",
    "NoOpenRound": "no round is open yet: open the first one, once manifest and key epoch are published",
    "PaymentRefused": "{account} did not accept the payment: check that it can receive the chain's coin",
    "PermissionExpired": "the permission to submit expired at {deadline}: let the contributor sign a new one",
    "RoundFull": "round {round} takes no more contributions: submit again after it has closed",
    "StaleKeyEpoch": "the content is sealed to key epoch {given}, the latest is {latest}: seal and submit it again",
    "SubmissionsPaused": "the DAO has paused submissions: wait until it takes them again",
    "UnknownCodec": "codec {codec} is neither 0 (raw) nor 1 (dag-pb)",
    "UnknownContribution": "there is no contribution {id}",
    "WrongDeposit": "{sent} wei were sent, the deposit of the open round is {deposit}: send exactly that",
    "ZeroDigest": "the content's digest is all zeros: pass that of the CID",
}

_VALIDATORS = {
    "AlreadyValidator": "{operator} has joined already, or has not withdrawn yet",
    "ExitDelay": "the stake can be withdrawn from {withdrawable_at} on: wait",
    "Exiting": "{operator} is leaving the set (stake free from {withdrawable_at}): withdraw, then join anew",
    "InvalidConsent": "the signing key {signer} did not consent to sign for {operator}: sign the consent with that key",
    "NotAdmitted": "the DAO has not admitted {operator}: ask its owner to",
    "NotExiting": "{operator} has not asked to leave: request the exit first",
    "NotValidator": "{operator} is not a validator: join first",
    "RoundUnsettled": "round {round} still counts this stake: bring it to its end (finalise or retry), then withdraw",
    "SignerTaken": "the signing key {signer} belongs to operator {operator} for ever: make a new one with `validator "
    "keys signing-create`",
    "StakeTooSmall": "a stake of {stake} is below the least of {min_stake}: stake more",
    "WeightForgotten": "the weight of {operator} in round {round} is no longer kept: read it from StakeChanged events",
    "ZeroKey": "the HPKE key is all zeros: pass the validator's public key",
}

_ROUNDS = {
    "AlreadyAttested": "{operator} has already attested in attempt {attempt} of round {round}",
    "AlreadyCommitted": "{operator} has already committed in attempt {attempt} of round {round}",
    "AlreadyOpened": "the first round was opened already",
    "AlreadyProven": "this equivocation of {operator} was already punished",
    "AlreadyRecorded": "the score of contribution {id} was already recorded",
    "AlreadyReported": "{operator} has already reported in attempt {attempt} of round {round}",
    "BackupSize": "a backup of {size} bytes is too large, the limit is {limit}",
    "BitmapLength": "the bitmap has {given} bytes instead of {expected}",
    "BitmapTail": "unused bits of the bitmap's last byte ({last_byte}) are set",
    "CommitMismatch": "{operator} did not commit to this attestation and salt in attempt {attempt} of round {round}",
    "DaoNotReady": "the DAO has not published manifest and key epoch yet",
    "DepositHeld": "the deposit of contribution {id} is still held: its score can be recorded, or is on the way",
    "EmptyRound": "round {round} has no contributions yet: nothing to close",
    "FeesNotSettled": "fees of round {round} can be claimed after its attest deadline, once it is final",
    "InvalidScore": "the score of contribution {id} is not in the tree of round {round}, or the round is not final",
    "NoEquivocation": "the two attestations do not prove anything: same round and attempt, but different, is needed",
    "NoQuorum": "{digest} holds {weight} of {total_weight}, more than two thirds are needed: wait for the others",
    "NotRecorded": "the score of contribution {id} was not recorded yet: record it with its proof",
    "NothingToCharge": "{operator} owes nothing for attempt {attempt} of round {round}, or not yet, or has paid",
    "NoWeight": "no validator has weight: nobody could score the round; let one join",
    "NoWeightInRound": "{operator} has no weight in round {round}: it joined later, or has left",
    "PoolExceeded": "the attestation pays {round_total}, the round offers {pool}",
    "PreviousUnsettled": "round {round} must be final or abandoned first",
    "SeedNotReady": "the seed comes from block {seed_block}: try again after it",
    "StillOpen": "round {round} stays open until {until}, or until it is full",
    "UnknownAttempt": "attempt {attempt} of round {round} has not begun",
    "WrongAttempt": "the attestation is of attempt {given} of round {round}, which is at attempt {current}",
    "WrongEarnedTotal": "attested lifetime earnings {given}, right are {expected}: is this node's history whole?",
    "WrongManifest": "the attestation names manifest {given}, the round has {expected}",
    "WrongPhase": "round {round} is {phase}, which does not allow this",
    "WrongSeed": "the attestation names seed {given}, the round has {expected}",
    "WrongSigner": "the signature is of {recovered}, the operator's signing key is {expected}",
    "ZeroCommit": "a commit of zeros was given",
}

_POOL = {
    "EarningsDecreased": "lifetime earnings of {earned_total} are less than the {previous} before",
    "EarningsExceeded": "payments of {claimed} would exceed the {earned_total} earned by all",
    "InvalidProof": "{account} with {cumulative} is not in the current earnings tree: get a fresh proof",
    "NoFee": "{operator} has no fee to claim for round {round}: it did not attest with the quorum, or was paid",
    "NothingToClaim": "{account} was already paid its {claimed}",
    "Unfunded": "{owed} would be owed, only {funded} were ever funded: fund the pool",
}

_SHARED = {
    "ERC20InsufficientAllowance": "{spender} may take {allowance} tokens, {needed} are needed: approve it first",
    "ERC20InsufficientBalance": "{sender} holds {balance} tokens, {needed} are needed",
    "ERC20InvalidApprover": "{approver} cannot approve",
    "ERC20InvalidReceiver": "{receiver} cannot receive tokens",
    "ERC20InvalidSender": "{sender} cannot send tokens",
    "ERC20InvalidSpender": "{spender} cannot spend tokens",
    "InvalidShortString": "a contract failed on a short string: please report this",
    "OnlyRounds": "only the rounds contract may call this, not {caller}",
    "ReentrancyGuardReentrantCall": "a token called back into the contract: it cannot be used here",
    "SafeCastOverflowedUintDowncast": "{value} does not fit into {bits} bits",
    "SafeERC20FailedOperation": "the token {token} refused the transfer: check balance and approval",
    "StringTooLong": "a contract failed on a long string: please report this",
    "UnsupportedToken": "the token moved {received} instead of {asked}: one with transfer fees cannot be used here",
    "ZeroAddress": "an address is zero that must not be",
    "ZeroAmount": "the amount must not be zero",
}

REMEDIES: Mapping[str, str] = {**_DAO, **_REGISTRY, **_VALIDATORS, **_ROUNDS, **_POOL, **_SHARED}
