"""The DAO's finalised events, sorted for looking things up. Filled by `source`, in chain order, and never edited.

Lists only grow, and what was handed out stays as it was, so requests may read while a later batch is taken up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from validator.errors import ValidatorError
from validator.rounds.lifecycle import Fact, Rounds, RoundState, fold
from validator.rounds.types import Submission

MOST_PEER = 256
"""Characters of an announced address that are kept: the contract takes no more bytes."""


class LedgerError(ValidatorError):
    """The chain's events do not fit together."""


@dataclass(frozen=True, slots=True)
class Member:
    """What became of one operator of the validator set. Stake and weight in stake-token units, now. `peer`: where it
    says that it serves what it has pinned, in its own words.
    """

    operator: str
    signer: str
    stake: int = 0
    weight: int = 0
    exit_at: int | None = None
    withdrawn: bool = False
    slashed: int = 0
    equivocations: int = 0
    unrevealed: int = 0
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The validator set as a round's close found it: weight and signing address by operator."""

    weights: dict[str, int]
    signers: dict[str, str]


@dataclass(slots=True)
class Ledger:
    """Finalised events up to one block.

    `facts`: all but submissions. `submitted[i]` has id i + 1, and was submitted while round `submitted_in[i]` was open.
    `at_close`: the validator set in the snapshot of a round. `manifests`: digests in order of version, from 1.
    `recorded`: ids whose score was put on chain one by one. `granted`: who was given the secret of a key epoch.
    """

    facts: list[Fact] = field(default_factory=list)
    folded: Rounds = field(default_factory=Rounds)
    submitted: list[Submission] = field(default_factory=list)
    submitted_in: list[int] = field(default_factory=list)
    by_contributor: dict[str, list[int]] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    at_close: dict[int, Snapshot] = field(default_factory=dict)
    manifests: list[bytes] = field(default_factory=list)
    recorded: set[int] = field(default_factory=set)
    granted: dict[int, list[str]] = field(default_factory=dict)

    @property
    def rounds(self) -> Mapping[int, RoundState]:
        """Every round by number."""
        return self.folded.by_number

    def take(self, facts: Iterable[Fact]) -> None:
        """Take up the next facts, in chain order."""
        fresh: list[Fact] = []
        for fact in facts:
            if fact.name == "ContributionSubmitted":
                self._submitted(fact)
                continue
            fresh.append(fact)
            self._member(fact)
            if fact.name == "RoundClosed":
                signers = {name: member.signer for name, member in self.members.items()}
                weights = {name: member.weight for name, member in self.members.items() if member.weight}
                self.at_close[int(fact.args["round"])] = Snapshot(weights, signers)
            elif fact.name == "ManifestPublished":
                self.manifests.append(fact.args["digest"])
            elif fact.name == "ScoreRecorded":
                self.recorded.add(int(fact.args["id"]))
            elif fact.name == "KeyGranted":
                self._granted(int(fact.args["epoch"]), str(fact.args["operator"]))
        self.facts += fresh
        try:
            self.folded = fold(fresh, self.folded)
        except ValueError as error:
            raise LedgerError(str(error)) from None

    def round_of(self, contribution: int) -> RoundState | None:
        """The round that judged or will judge a contribution; None while no round is open. An abandoned round hands its
        contributions on.
        """
        standing = [state for state in self.rounds.values() if not state.abandoned]
        for state in standing:
            if state.closed and state.first_id <= contribution < state.end_id:
                return state
        return next((state for state in standing if not state.closed), None)

    def ids(self, state: RoundState) -> range:
        """Ids of a round; of the open one, those that stand in it so far."""
        if state.closed:
            return range(state.first_id, state.end_id)
        taken = [other.end_id for other in self.rounds.values() if other.closed and not other.abandoned]
        return range(max(taken, default=1), len(self.submitted) + 1)

    def submissions(self, ids: range) -> Sequence[Submission]:
        """Submissions of consecutive ids."""
        return self.submitted[ids.start - 1 : ids.stop - 1]

    def before(self, number: int) -> RoundState | None:
        """The last finalised round before round `number`."""
        earlier = [state for state in self.rounds.values() if state.round < number and state.final is not None]
        return max(earlier, key=lambda state: state.round, default=None)

    def last_final(self) -> RoundState | None:
        """The finalised round whose earnings tree the pool pays by."""
        return self.before(max(self.rounds, default=0) + 1)

    def _submitted(self, fact: Fact) -> None:
        args = fact.args
        item = Submission(
            id=int(args["id"]),
            contributor=str(args["contributor"]),
            digest=args["digest"],
            codec=int(args["codec"]),
            size=int(args["size"]),
            key_epoch=int(args["keyEpoch"]),
        )
        if item.id != len(self.submitted) + 1:
            raise LedgerError(
                f"contribution {item.id} follows on {len(self.submitted)}: scan from the DAO's first block"
            )
        self.submitted_in.append(int(args["round"]))
        self.submitted.append(item)
        self.by_contributor.setdefault(item.contributor, []).append(item.id)

    def _granted(self, epoch: int, operator: str) -> None:
        holders = self.granted.setdefault(epoch, [])
        if operator not in holders:
            holders.append(operator)

    def _member(self, fact: Fact) -> None:
        operator = str(fact.args.get("operator", ""))
        member = self.members.get(operator)
        if fact.name == "ValidatorJoined":
            signer = str(fact.args["signer"])
            fresh = Member(operator, signer) if member is None else replace(member, signer=signer)
            self.members[operator] = replace(fresh, stake=int(fact.args["stake"]), exit_at=None, withdrawn=False)
        elif member is not None:
            self.members[operator] = _after(member, fact)


def _after(member: Member, fact: Fact) -> Member:
    """`member` after an event of its own."""
    args = fact.args
    match fact.name:
        case "StakeChanged":
            return replace(member, stake=int(args["stake"]), weight=int(args["weight"]))
        case "ExitRequested":
            return replace(member, exit_at=int(args["withdrawableAt"]))
        case "StakeWithdrawn":
            return replace(member, stake=0, weight=0, withdrawn=True)
        case "PeerAnnounced":
            return replace(member, peer=str(args["url"])[:MOST_PEER])
        case "ValidatorSlashed":
            return replace(member, slashed=member.slashed + int(args["amount"]))
        case "EquivocationProven":
            return replace(member, equivocations=member.equivocations + 1)
        case "CommitUnrevealed":
            return replace(member, unrevealed=member.unrevealed + 1)
    return member
