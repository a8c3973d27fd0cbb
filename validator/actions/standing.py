"""Where contributions stand: their round, and once that is final, score, rank, payment and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from validator.actions.connect import View
from validator.actions.contributor import ContributorError
from validator.actions.why import why
from validator.audit.case import AuditError
from validator.chain.follower import Checkpoint
from validator.errors import ValidatorError
from validator.rounds.evidence import Evidence, Line
from validator.rounds.lifecycle import Fact, Phase, RoundState, fold
from validator.stages.chronicle import to_fact
from validator.stages.discover import to_row
from validator.stages.documents import load_manifest, read_evidence
from validator.words import units


class NotSubmitted(ContributorError):
    """No finalised submission has this id, perhaps not yet."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a contribution stands. `round` is None while it waits for a round to open; `left`: seconds until the phase
    ends at the latest, by the chain's newest block, None where no clock runs.

    `line`, `rank` (1 for the highest score) of `scored`, and `why` in sentences are there once the round is final;
    `rank` is None for what was not scored.
    """

    id: int
    contributor: str
    round: int | None
    phase: Phase
    left: int | None = None
    line: Line | None = None
    rank: int | None = None
    scored: int = 0
    why: list[str] = field(default_factory=list)


class Lookout:
    """Finalised events of one DAO, read on from where it last stopped, and the evidence they name."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._follower = view.follower()
        self._checkpoint: Checkpoint | None = None
        self._facts: list[Fact] = []
        self._evidence: dict[bytes, Evidence] = {}

    def standing(self, contribution: int) -> Standing:
        """Where one contribution stands. Raises NotSubmitted if there is none of this id."""
        return self._standings([contribution])[0]

    def of(self, account: str) -> list[Standing]:
        """Where all contributions of an account stand, in order of id. Raises ContributorError if it has none."""
        self._read()
        mine = [id_ for id_, who in self._submitted().items() if who == account.lower()]
        if not mine:
            raise ContributorError(f"{account} has no finalised submission to this DAO")
        return self._standings(mine)

    def _standings(self, ids: list[int]) -> list[Standing]:
        self._read()
        submitted, rounds = self._submitted(), fold(self._facts).by_number
        missing = next((id_ for id_ in ids if id_ not in submitted), None)
        if missing is not None:
            raise NotSubmitted(f"contribution {missing} is not among the finalised submissions; is the id right?")
        now = int(self._view.w3.eth.get_block("latest")["timestamp"])
        ordered = sorted(rounds.values(), key=lambda state: state.round)
        return [self._one(id_, submitted[id_], ordered, now) for id_ in ids]

    def _one(self, contribution: int, contributor: str, rounds: list[RoundState], now: int) -> Standing:
        for state in rounds:
            if state.abandoned or (state.closed and not state.first_id <= contribution < state.end_id):
                continue
            if state.final is not None:
                return self._judged(contribution, contributor, state)
            phase = state.phase(now)
            ends = {
                Phase.REPORTING: state.report_deadline,
                Phase.COMMITTING: state.commit_deadline,
                Phase.ATTESTING: state.attest_deadline,
            }.get(phase)
            left = max(0, ends - now) if ends is not None else None
            return Standing(contribution, contributor, state.round, phase, left)
        return Standing(contribution, contributor, None, Phase.NONE)

    def _judged(self, contribution: int, contributor: str, state: RoundState) -> Standing:
        assert state.final is not None
        evidence = self._read_evidence(state.final["evidence"])
        line = next((line for line in evidence.contributions if line.id == contribution), None)
        if line is None:
            raise ContributorError(
                f"the evidence that was attested for round {state.round} does not list contribution {contribution}: "
                f"run `validator audit {state.round}`"
            )
        scores = sorted((-other.raw, other.id) for other in evidence.contributions if other.records)
        return Standing(
            contribution,
            contributor,
            state.round,
            Phase.FINALISED,
            line=line,
            rank=scores.index((-line.raw, line.id)) + 1 if line.records else None,
            scored=len(scores),
            why=self._why(line, evidence, state),
        )

    def _why(self, line: Line, evidence: Evidence, state: RoundState) -> list[str]:
        try:
            manifest = load_manifest(self._view.store, state.manifest)
        except ValidatorError as fault:
            return [f"{line.words()}.", f"The manifest that says more could not be had: {fault}"]
        return why(line, evidence, manifest, lambda amount: f"{units(amount)} tokens")

    def _read_evidence(self, digest: bytes) -> Evidence:
        if digest not in self._evidence:
            self._evidence[digest] = read_evidence(self._view.store, digest)
        return self._evidence[digest]

    def _submitted(self) -> dict[int, str]:
        named = (fact.args for fact in self._facts if fact.name == "ContributionSubmitted")
        return {int(args["id"]): str(args["contributor"]) for args in named}

    def _read(self) -> None:
        while True:
            batch = self._follower.scan(self._checkpoint)
            if batch.rollback_to is not None:
                self._checkpoint, self._facts = None, []
                raise AuditError("the chain reorganised below what it called final; run the command again")
            self._facts += [to_fact(to_row(event)) for event in batch.events]
            still = self._checkpoint is not None and batch.checkpoint == self._checkpoint
            self._checkpoint = batch.checkpoint
            if batch.checkpoint is None or batch.caught_up or still:
                return


def look_up(view: View, contribution: int) -> Standing:
    """Where `contribution` stands, from finalised events and the evidence that the quorum signed."""
    return Lookout(view).standing(contribution)


def wait_until_final(
    view: View,
    contribution: int,
    tell: Callable[[Standing | None], None],
    poll_seconds: float,
    pause: Callable[[float], None] = time.sleep,
) -> Standing:
    """Wait until the round of `contribution` is final. `tell` hears where it stands at every look: None while the
    submission itself is not final yet. Ends only so, or by an error: a round has its own deadlines.
    """
    lookout = Lookout(view)
    while True:
        standing = None
        try:
            standing = lookout.standing(contribution)
        except NotSubmitted:  # sent and mined, and not yet among what is final
            tell(None)
        if standing is not None:
            tell(standing)
            if standing.line is not None:
                return standing
        pause(poll_seconds)
