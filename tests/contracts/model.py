"""What the contracts must do, written down a second time and as plainly as it goes: the reference that
`test_model.py` holds them against.

Nothing is packed, cached or bounded here: a weight is looked up in the history of all changes, a tally is the sum of
what was said, a balance is what came in less what went out. An act either happens or raises `No` with the name of the
error that the contracts must give, checked in the order in which they check.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from validator.chain.types import Parameters, Phase

BPS = 10_000
FORFEITS = range(4, 8)
SEED_DELAY, HASHES_KEPT = 2, 256


class No(Exception):
    """The act must be refused with this error."""


def demand(condition: bool, error: str) -> None:
    """Refuses with ``error`` unless the condition holds."""
    if not condition:
        raise No(error)


def quorum(weight: int, total: int) -> bool:
    """More than two thirds."""
    return 3 * weight > 2 * total


@dataclass
class Ballot:
    """What one operator did in one attempt; answers are numbered."""

    reported: bool = False
    committed: int = 0
    attested: int = 0
    charged: bool = False
    proven: bool = False


@dataclass
class Attempt:
    """Deadlines in Unix seconds, inclusive."""

    report: int
    commit: int
    attest: int
    blamed: bool = False
    reports_over: bool = False
    commits_over: bool = False
    ballots: dict[str, Ballot] = field(default_factory=lambda: defaultdict(Ballot))


@dataclass
class Round:
    """Ids are [first, end)."""

    parameters: Parameters
    opened: int
    first: int
    end: int = 0
    seed_block: int = 0
    pool: int = 0
    fee: int = 0
    earned_before: int = 0
    weights: dict[str, int] | None = None
    attempts: list[Attempt] = field(default_factory=list)
    ended: Phase | None = None
    answer: int = 0
    fees_paid: dict[str, int] = field(default_factory=dict)
    released: int | None = None

    @property
    def total(self) -> int:
        """Weight of all operators when the round closed."""
        return sum((self.weights or {}).values())

    def tally(self, answer: int, attempt: Attempt | None = None) -> int:
        """The weight that attested an answer, in the last attempt unless another is asked for."""
        given = (attempt or self.attempts[-1]).ballots.items()
        return sum((self.weights or {})[name] for name, ballot in given if ballot.attested == answer)

    def acted(self, what: str) -> int:
        """The weight that reported, committed or attested in the last attempt."""
        given = self.attempts[-1].ballots.items()
        return sum((self.weights or {}).get(name, 0) for name, ballot in given if getattr(ballot, what))

    def offer(self, answer: int) -> int:
        """What an answer pays to contributors: the first all, the second half, and so on."""
        return self.pool // answer


@dataclass
class Member:
    """Leaves nothing behind when it withdraws but its history of weights."""

    exit_at: int = 0
    last_round: int = 0


@dataclass
class Model:
    """The whole DAO. ``shares`` are the accounts among which a round's offer is split, the last taking the rest."""

    parameters: Parameters
    shares: tuple[str, ...]
    owner: str
    now: int
    block: int
    paused: bool = False
    rounds: dict[int, Round] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    weights: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    staked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    burned: int = 0
    stake_paid: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    funded: int = 0
    earned: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    claimed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    deposits: dict[int, tuple[str, int]] = field(default_factory=dict)
    contributors: list[str] = field(default_factory=list)
    credits: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    recorded: set[int] = field(default_factory=set)
    room: int = 0
    """The first id that the open round does not take."""

    def __post_init__(self) -> None:
        self._open(1, 1)

    # Looking

    @property
    def current(self) -> int:
        return max(self.rounds)

    @property
    def open(self) -> Round:
        return self.rounds[self.current]

    def weight_at(self, operator: str, number: int) -> int:
        """The last change that counts from that round or an earlier one."""
        return next((weight for since, weight in reversed(self.weights[operator]) if since <= number), 0)

    def total_weight(self) -> int:
        return sum(self.weight_at(name, self.current) for name in list(self.weights))

    def fees_owed(self) -> int:
        """What is offered in finalised rounds, not paid, and not released."""
        ended = [r for r in self.rounds.values() if r.ended == Phase.FINALISED and r.released is None]
        return sum(r.fee - sum(r.fees_paid.values()) for r in ended)

    def fees_paid(self) -> int:
        return sum(sum(r.fees_paid.values()) for r in self.rounds.values())

    def available(self) -> int:
        return self.funded - sum(self.earned.values()) - self.fees_owed() - self.fees_paid()

    def phase(self, number: int) -> Phase:
        """From the clock and from what was done, never stored."""
        if number not in self.rounds:
            return Phase.NONE
        r = self.rounds[number]
        if r.ended is not None:
            return r.ended
        if r.weights is None:
            return Phase.OPEN
        if not r.attempts:
            return Phase.CLOSED
        a = r.attempts[-1]
        if self.now <= a.report and not a.reports_over and not self._commits_over(a):
            return Phase.REPORTING
        if not self._commits_over(a):
            return Phase.COMMITTING
        answers = {ballot.attested for ballot in a.ballots.values()} - {0}
        if any(quorum(r.tally(answer), r.total) for answer in answers):
            return Phase.ATTESTING
        committed = r.acted("committed")
        stuck = self.now > a.attest or not quorum(committed, r.total) or r.acted("attested") == committed
        return Phase.STALLED if stuck else Phase.ATTESTING

    def _commits_over(self, a: Attempt) -> bool:
        return self.now > a.commit or a.commits_over

    def _settled(self, number: int) -> bool:
        return self.rounds[number].ended is not None

    # Contributors

    def submit(self, contributor: str, payer: str, value: int) -> int:
        demand(not self.paused, "SubmissionsPaused")
        demand(value == self.open.parameters.deposit, "WrongDeposit")
        number = len(self.contributors) + 1
        demand(number < self.room, "RoundFull")
        self.contributors.append(contributor)
        self.deposits[number] = (payer, value)
        return number

    def record(self, number: int, contribution: int, status: int) -> None:
        demand(contribution not in self.recorded, "AlreadyRecorded")
        r = self.rounds[number]
        demand(r.ended == Phase.FINALISED and r.first <= contribution < r.end, "InvalidScore")
        self.recorded.add(contribution)
        self._settle(contribution, self.owner if status in FORFEITS else None)

    def reclaim(self, number: int, contribution: int) -> None:
        r = self.rounds[number]
        held = contribution < r.first
        if r.weights is None:
            held = held or self.total_weight() != 0
        else:
            grace = r.attempts[-1].attest + r.parameters.exit_seconds if r.attempts else 0
            late = r.ended == Phase.FINALISED and self.now > grace
            held = held or contribution >= r.end or not (r.ended == Phase.ABANDONED or late)
        demand(not held, "DepositHeld")
        demand(contribution in self.deposits, "UnknownContribution")
        self._settle(contribution, None)

    def _settle(self, contribution: int, forfeited_to: str | None) -> None:
        payer, amount = self.deposits[contribution]
        self.credits[forfeited_to or payer] += amount
        self.deposits[contribution] = (payer, 0)

    def withdraw_credit(self, account: str) -> int:
        demand(self.credits[account] != 0, "NoCredit")
        amount, self.credits[account] = self.credits[account], 0
        return amount

    def claim(self, account: str) -> None:
        """With the leaf of the newest tree."""
        demand(self.earned[account] > self.claimed[account], "NothingToClaim")
        self.claimed[account] = self.earned[account]

    # Rounds

    def _open(self, number: int, first: int) -> None:
        self.rounds[number] = Round(self.parameters, self.now, first)
        self.room = first + self.parameters.max_contributions

    def close(self) -> None:
        number, r = self.current, self.open
        demand(number == 1 or self._settled(number - 1), "PreviousUnsettled")
        following = len(self.contributors) + 1
        demand(following > r.first, "EmptyRound")
        demand(self.now >= r.opened + r.parameters.open_seconds or following >= self.room, "StillOpen")
        demand(self.total_weight() != 0, "NoWeight")
        r.end = min(following, self.room)
        r.seed_block = self.block + SEED_DELAY
        r.pool = min(r.parameters.round_budget, self.available())
        r.fee = min(r.parameters.validator_fee, self.available() - r.pool)
        r.earned_before = sum(self.earned.values())
        r.weights = {name: self.weight_at(name, number) for name in list(self.weights)}
        self._open(number + 1, r.end)

    def draw(self, number: int) -> None:
        demand(self.phase(number) == Phase.CLOSED, "WrongPhase")
        r = self.rounds[number]
        demand(self.block > r.seed_block, "SeedNotReady")
        if self.block - r.seed_block > HASHES_KEPT:
            r.seed_block = self.block + SEED_DELAY
        else:
            self._begin(r)

    def _begin(self, r: Round) -> None:
        p = r.parameters
        report = self.now + p.report_seconds
        commit = report + p.commit_seconds
        r.attempts.append(Attempt(report, commit, commit + p.attest_seconds))

    def report(self, number: int, operator: str) -> None:
        demand(self.phase(number) == Phase.REPORTING, "WrongPhase")
        r = self.rounds[number]
        ballot = r.attempts[-1].ballots[operator]
        demand(not ballot.reported, "AlreadyReported")
        demand((r.weights or {}).get(operator, 0) != 0, "NoWeightInRound")
        ballot.reported = True
        r.attempts[-1].reports_over = r.acted("reported") == r.total

    def commit(self, number: int, operator: str, answer: int) -> None:
        demand(self.phase(number) == Phase.COMMITTING, "WrongPhase")
        r = self.rounds[number]
        ballot = r.attempts[-1].ballots[operator]
        demand(not ballot.committed, "AlreadyCommitted")
        demand((r.weights or {}).get(operator, 0) != 0, "NoWeightInRound")
        ballot.committed = answer
        r.attempts[-1].commits_over = r.acted("committed") == r.total

    def attest(self, number: int, operator: str, answer: int) -> None:
        r = self.rounds[number]
        running = bool(r.attempts) and r.ended in (None, Phase.FINALISED)
        demand(running and self._commits_over(r.attempts[-1]) and self.now <= r.attempts[-1].attest, "WrongPhase")
        ballot = r.attempts[-1].ballots[operator]
        demand(not ballot.attested, "AlreadyAttested")
        demand(ballot.committed == answer, "CommitMismatch")
        ballot.attested = answer

    def finalise(self, number: int, answer: int) -> None:
        r = self.rounds[number]
        demand(bool(r.attempts) and r.ended is None, "WrongPhase")
        demand(quorum(r.tally(answer), r.total), "NoQuorum")
        r.ended, r.answer = Phase.FINALISED, answer
        for account, amount in self.split(r.offer(answer)).items():
            self.earned[account] += amount

    def split(self, offer: int) -> dict[str, int]:
        """What each account earns of a round's offer."""
        even = {account: offer // len(self.shares) for account in self.shares}
        even[self.shares[-1]] += offer - sum(even.values())
        return even

    def retry(self, number: int) -> None:
        demand(self.phase(number) == Phase.STALLED, "WrongPhase")
        r = self.rounds[number]
        r.attempts[-1].blamed = self._blames(r)
        if len(r.attempts) < r.parameters.max_attempts:
            return self._begin(r)
        r.ended = Phase.ABANDONED
        heir = self.rounds[number + 1]
        self.room -= heir.first - r.first
        heir.first = r.first
        return None

    def claim_fee(self, number: int, operator: str) -> int:
        r = self.rounds[number]
        demand(r.ended == Phase.FINALISED and self.now > r.attempts[-1].attest, "FeesNotSettled")
        ballot = r.attempts[-1].ballots[operator]
        demand(ballot.attested == r.answer and operator not in r.fees_paid, "NoFee")
        r.fees_paid[operator] = r.fee * (r.weights or {})[operator] // r.total
        owed = {name for name, given in r.attempts[-1].ballots.items() if given.attested == r.answer}
        if owed == set(r.fees_paid):
            r.released = r.fee - sum(r.fees_paid.values())
        return r.fees_paid[operator]

    # Faults

    def _blames(self, r: Round) -> bool:
        return self.now > r.attempts[-1].attest and quorum(r.acted("committed"), r.total)

    def charge(self, number: int, attempt: int, operator: str, reporter: str) -> None:
        r = self.rounds[number]
        known = 1 <= attempt <= len(r.attempts)
        ballot = r.attempts[attempt - 1].ballots[operator] if known else Ballot()
        owes = bool(ballot.committed) and not ballot.attested and not ballot.charged
        blamed = known and (self._blames(r) if attempt == len(r.attempts) else r.attempts[attempt - 1].blamed)
        demand(blamed and owes, "NothingToCharge")
        ballot.charged = True
        self._slash(operator, r.parameters.unrevealed_fee, reporter, r.parameters)

    def equivocate(self, number: int, operator: str, reporter: str) -> None:
        """Proof that the operator signed two answers in the last attempt."""
        r = self.rounds[number]
        demand(bool(r.attempts), "UnknownAttempt")
        ballot = r.attempts[-1].ballots[operator]
        demand(not ballot.proven, "AlreadyProven")
        acted = ballot.reported or ballot.committed
        demand(bool(acted) or operator in self.members, "WrongSigner")
        ballot.proven = True
        self._slash(operator, self.staked[operator] * r.parameters.slash_bps // BPS, reporter, r.parameters)

    def _slash(self, operator: str, amount: int, reporter: str, p: Parameters) -> None:
        taken = min(amount, self.staked[operator])
        share = taken * p.reporter_bps // BPS
        self.burned += taken - share
        self.stake_paid[reporter] += share
        self.staked[operator] -= taken
        weight = min(self.staked[operator], self.weight_at(operator, self.current))
        self.weights[operator].append((self.current, weight))

    # Validators

    def _reweigh(self, operator: str) -> None:
        cap = self.open.parameters.max_weight
        self.weights[operator].append((self.current, min(self.staked[operator], cap)))

    def join(self, operator: str, amount: int) -> None:
        """With a signing address that nobody has used."""
        demand(operator not in self.members, "AlreadyValidator")
        demand(amount >= self.open.parameters.min_stake, "StakeTooSmall")
        self.members[operator] = Member()
        self.staked[operator] = amount
        self._reweigh(operator)

    def _staying(self, operator: str) -> Member:
        demand(operator in self.members, "NotValidator")
        demand(self.members[operator].exit_at == 0, "Exiting")
        return self.members[operator]

    def top_up(self, operator: str, amount: int) -> None:
        self._staying(operator)
        demand(amount != 0, "ZeroAmount")
        self.staked[operator] += amount
        self._reweigh(operator)

    def update_weight(self, operator: str) -> None:
        self._staying(operator)
        self._reweigh(operator)

    def announce(self, operator: str, url: str) -> None:
        demand(operator in self.members, "NotValidator")
        demand(len(url.encode()) <= 256, "UrlTooLong")

    def request_exit(self, operator: str) -> None:
        member = self._staying(operator)
        member.exit_at = self.now + self.open.parameters.exit_seconds
        closed = self.current - 1
        member.last_round = closed if closed and self.weight_at(operator, closed) else 0
        self.weights[operator].append((self.current, 0))

    def withdraw(self, operator: str) -> int:
        demand(operator in self.members, "NotValidator")
        member = self.members[operator]
        demand(member.exit_at != 0, "NotExiting")
        demand(self.now >= member.exit_at, "ExitDelay")
        if member.last_round:
            r = self.rounds[member.last_round]
            demand(r.ended is not None, "RoundUnsettled")
            demand(self.now >= r.attempts[-1].attest + r.parameters.exit_seconds, "ExitDelay")
        del self.members[operator]
        amount, self.staked[operator] = self.staked[operator], 0
        self.stake_paid[operator] += amount
        return amount
