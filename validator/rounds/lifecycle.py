"""What the chain's finalised events say about a round: a pure fold.

    RoundOpened   RoundClosed    SeedDrawn             reports          commits           attestations   quorum
        |-- Open ----|-- Closed ----|---- Reporting ------|-- Committing ---|--- Attesting ---|-- Finalised
                                                                                             `-- Stalled -- RoundRetried
                                                                                             (attempt + 1)
                                                                                                         `-
                                                                                                         RoundAbandoned
A phase ends at its deadline, or as soon as all the weight of the snapshot has acted. Deadlines are compared with the
timestamp of the newest finalised block, never with a local clock, so every node sees the same phase.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from validator.rounds.included import included, quorum
from validator.rounds.types import ZERO_DIGEST, Submission


class Phase(IntEnum):
    """Phases of a round, in the order of `ScoringRounds.Phase`."""

    NONE = 0
    OPEN = 1
    CLOSED = 2
    REPORTING = 3
    COMMITTING = 4
    ATTESTING = 5
    FINALISED = 6
    STALLED = 7
    ABANDONED = 8


@dataclass(frozen=True, slots=True)
class Fact:
    """One decoded event, in chain order. Addresses are lower-case hex, bytes are bytes."""

    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RoundState:
    """One round as finalised events tell it. Weights in stake-token units, deadlines in Unix seconds.

    `reports`: (weight, bitmap) by operator; `commits`: commit hash by operator, `backups`: what each wrote down beside
    it; `attestations`: (attestation digest, signature, fields) by operator; all of the current attempt. `final`: the
    attested fields once finalised.
    """

    round: int
    manifest: bytes
    first_id: int = 0
    end_id: int = 0
    pool: int = 0
    total_weight: int = 0
    closed: bool = False
    seed_block: int = 0
    seed: bytes = ZERO_DIGEST
    beacon: bytes = ZERO_DIGEST
    attempt: int = 0
    report_deadline: int = 0
    commit_deadline: int = 0
    attest_deadline: int = 0
    reports: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)
    commits: Mapping[str, bytes] = field(default_factory=dict)
    backups: Mapping[str, bytes] = field(default_factory=dict)
    attestations: Mapping[str, tuple[bytes, bytes, Mapping[str, Any]]] = field(default_factory=dict)
    members: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    final: Mapping[str, Any] | None = None
    final_digest: bytes = ZERO_DIGEST
    abandoned: bool = False

    def weight(self, operators: Iterable[str]) -> int:
        """Weight of some operators in the snapshot of this round."""
        return sum(self.members[operator][1] for operator in operators if operator in self.members)

    def phase(self, timestamp: int) -> Phase:
        """The phase at a finalised block's `timestamp` (Unix seconds), as far as finalised events tell."""
        if self.final is not None:
            return Phase.FINALISED
        if self.abandoned:
            return Phase.ABANDONED
        if not self.closed:
            return Phase.OPEN
        if self.seed == ZERO_DIGEST:
            return Phase.CLOSED
        if timestamp <= self.report_deadline and self.weight(self.reports) < self.total_weight:
            return Phase.REPORTING
        if timestamp <= self.commit_deadline and self.weight(self.commits) < self.total_weight:
            return Phase.COMMITTING
        return Phase.STALLED if self._hopeless(timestamp) else Phase.ATTESTING

    def _hopeless(self, timestamp: int) -> bool:
        """No answer has a quorum, and none can get one any more in this attempt (the rule of `ScoringRounds.phase`)."""
        if self.agreed() is not None:
            return False
        committed = self.weight(self.commits)
        revealed = self.weight(self.attestations)
        return timestamp > self.attest_deadline or not quorum(committed, self.total_weight) or revealed >= committed

    def agreed(self) -> Mapping[str, Any] | None:
        """The attested fields that a quorum of weight has signed, or None."""
        weights: dict[bytes, int] = {}
        for operator, (digest, _, fields) in self.attestations.items():
            weights[digest] = weights.get(digest, 0) + self.weight([operator])
            if quorum(weights[digest], self.total_weight):
                return fields
        return None

    def included(self) -> frozenset[int]:
        """Ids that a quorum reported; meaningful once the reporting phase has ended."""
        return included(self.first_id, self.end_id, self.reports.values(), self.total_weight)


@dataclass(frozen=True, slots=True)
class Rounds:
    """All rounds by number, and the members of the validator set (signing address, weight) as of the last event."""

    by_number: Mapping[int, RoundState] = field(default_factory=dict)
    members: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def fold(facts: Iterable[Fact], before: Rounds | None = None) -> Rounds:
    """What events say, going on from `before`. Facts must be in chain order; those about other things are left out."""
    start = before or Rounds()
    rounds, members = dict(start.by_number), dict(start.members)
    for fact in facts:
        if fact.name in ("ValidatorJoined", "StakeChanged"):
            _change_member(members, fact)
        apply = _APPLY.get(fact.name)
        if apply is not None:
            number = int(fact.args["round"])
            rounds[number] = apply(rounds.get(number), fact.args)
            if fact.name == "RoundClosed":
                rounds[number] = replace(rounds[number], members=dict(members))
    return Rounds(rounds, members)


def without_answers(state: RoundState) -> RoundState:
    """What still counts of a round that is final and past its deadlines: who attested what, but no bitmaps, backups,
    signatures and fields.
    """
    digests = {operator: (digest, b"", dict[str, Any]()) for operator, (digest, _, _) in state.attestations.items()}
    return replace(state, reports={}, commits={}, backups={}, attestations=digests)


def _change_member(members: dict[str, tuple[str, int]], fact: Fact) -> None:
    operator = str(fact.args["operator"])
    signer, weight = members.get(operator, ("", 0))
    if fact.name == "ValidatorJoined":
        members[operator] = (str(fact.args["signer"]), weight)
    else:
        members[operator] = (signer, int(fact.args["weight"]))


def submissions(facts: Iterable[Fact], first_id: int, end_id: int) -> list[Submission]:
    """Submissions with ids in [first_id, end_id), in order of id, which is chain order."""
    submitted = [fact for fact in facts if fact.name == "ContributionSubmitted"]
    start, stop = (bisect_left(submitted, id_, key=lambda fact: int(fact.args["id"])) for id_ in (first_id, end_id))
    return [to_submission(fact.args) for fact in submitted[start:stop]]


def to_submission(args: Mapping[str, Any]) -> Submission:
    """A `ContributionSubmitted` event."""
    return Submission(
        id=int(args["id"]),
        contributor=str(args["contributor"]),
        digest=args["digest"],
        codec=int(args["codec"]),
        size=int(args["size"]),
        key_epoch=int(args["keyEpoch"]),
    )


def _known(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    if state is None:
        raise ValueError(f"events of round {args['round']} start before the first block that was scanned")
    return state


def _opened(_: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    return RoundState(round=int(args["round"]), manifest=args["manifest"])


def _closed(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    return replace(
        _known(state, args),
        closed=True,
        first_id=int(args["firstId"]),
        end_id=int(args["endId"]),
        pool=int(args["pool"]),
        total_weight=int(args["totalWeight"]),
        seed_block=int(args["seedBlock"]),
    )


def _deadlines(args: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "report_deadline": int(args["reportDeadline"]),
        "commit_deadline": int(args["commitDeadline"]),
        "attest_deadline": int(args["attestDeadline"]),
    }


def _seeded(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    return replace(_known(state, args), seed=args["seed"], beacon=args["beacon"], attempt=1, **_deadlines(args))


def _rearmed(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    return replace(_known(state, args), seed_block=int(args["seedBlock"]))


def _reported(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    state = _known(state, args)
    report = (int(args["weight"]), bytes(args["bitmap"]))
    return replace(state, reports={**state.reports, str(args["operator"]): report})


def _committed(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    state = _known(state, args)
    operator = str(args["operator"])
    return replace(
        state,
        commits={**state.commits, operator: args["commitHash"]},
        backups={**state.backups, operator: bytes(args["backup"])},
    )


def _attested(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    state = _known(state, args)
    entry = (args["digest"], bytes(args["signature"]), args["attestation"])
    return replace(state, attestations={**state.attestations, str(args["operator"]): entry})


def _finalised(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    return replace(_known(state, args), final=args["attestation"], final_digest=args["digest"])


def _retried(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    return replace(
        _known(state, args),
        attempt=int(args["attempt"]),
        reports={},
        commits={},
        backups={},
        attestations={},
        **_deadlines(args),
    )


def _abandoned(state: RoundState | None, args: Mapping[str, Any]) -> RoundState:
    return replace(_known(state, args), abandoned=True)


_APPLY = {
    "RoundOpened": _opened,
    "RoundClosed": _closed,
    "SeedRearmed": _rearmed,
    "SeedDrawn": _seeded,
    "AvailabilityReported": _reported,
    "Committed": _committed,
    "Attested": _attested,
    "RoundFinalised": _finalised,
    "RoundRetried": _retried,
    "RoundAbandoned": _abandoned,
}

FOLDED = ("ValidatorJoined", "StakeChanged", *_APPLY)
"""The events that `fold` looks at."""
