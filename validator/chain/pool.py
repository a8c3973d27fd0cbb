"""Several endpoints of one chain behind one web3 provider: compared, failed over, set aside, and taken back.

    request      -> the first healthy endpoint, in the configured order; the next one when it fails
    consistently -> everything within on one endpoint, begun anew on the next one when that fails
    broadcast    -> every endpoint that is not down or lying: what one of them drops, the others still know
    survey       -> now and then all are asked for chain, head and a block that was final (`verdict` says what follows)

An endpoint that fails rests for a pause that doubles, with jitter, and is then asked for its condition before it is
used again. One that lies rests longer.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from validator.chain.endpoint import Endpoint
from validator.chain.errors import RpcFault, RpcRefusal, WrongChain
from validator.chain.probe import probe
from validator.chain.verdict import Condition, Rules, Sighting, Verdict, judge

STALE_BLOCKS = 16
SURVEY_SECONDS = 15.0
STALL_SECONDS = 90.0
# How long the head of an endpoint that fails still counts when others are judged by it.
REMEMBERED_SECONDS = 300.0
PAUSE_SECONDS, MOST_PAUSE_SECONDS = 1.0, 300.0
# After so many failures in a row an endpoint is taken to be down, and is sent no transactions.
HICCUPS = 3
LIAR_PAUSE_SECONDS, MOST_LIAR_PAUSE_SECONDS = 60.0, 3600.0

_SENDABLE = (Condition.HEALTHY, Condition.LAGGING, Condition.STALLED)
_KNOWN_ALREADY = ("already known", "known transaction", "already imported", "nonce too low")

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """What is thought of one endpoint. ``name`` is its masked address, ``reason`` why it is not healthy.

    ``head`` and ``chain_id`` are what it last showed; ``behind`` is in blocks, against what the others show;
    ``retry_in`` seconds until a failing or lying one is asked again; ``last_seconds`` how long its last answer took.
    """

    name: str
    condition: Condition
    reason: str
    chain_id: int | None
    head: int | None
    behind: int | None
    requests_total: int
    failures_total: int
    last_seconds: float | None
    retry_in: float


@dataclass(slots=True, eq=False)
class _Member:
    endpoint: Endpoint
    condition: Condition = Condition.UNKNOWN
    reason: str = ""
    chain_id: int | None = None
    head: int | None = None
    grown_at: float = 0.0
    seen_at: float = float("-inf")
    retry_at: float = float("-inf")
    setbacks: int = 0
    requests: int = 0
    failures: int = 0
    last_seconds: float | None = None


class _Pin(threading.local):
    """The endpoint that everything on this thread goes to, if one was chosen."""

    member: _Member | None = None


class Pool(JSONBaseProvider):
    """A web3 provider over ``urls``. Raises RpcFault when no endpoint gives a usable answer, RpcRefusal for an error
    answer and Reverted for a revert. Safe to share between threads.

    ``timeout`` (seconds) covers one request to one endpoint as a whole. ``stale_blocks``: an endpoint further behind is
    not asked. ``clock`` counts seconds and never goes back; ``jitter`` spreads the pauses.
    """

    def __init__(
        self,
        urls: Sequence[str],
        timeout: float,
        *,
        stale_blocks: int = STALE_BLOCKS,
        clock: Callable[[], float] = time.monotonic,
        jitter: random.Random | None = None,
    ) -> None:
        super().__init__()
        self.clock = clock
        self.survey_seconds = SURVEY_SECONDS
        self._members = [_Member(Endpoint(url, timeout)) for url in urls]
        self._stale_blocks = stale_blocks
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads pauses, keeps no secret
        self._lock = threading.RLock()
        self._pin = _Pin()
        self._chain_id: int | None = None
        self._anchor: tuple[int, bytes] | None = None
        self._survey_at = float("-inf")

    def __str__(self) -> str:
        return " | ".join(member.endpoint.name for member in self._members)

    # Asking

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - web3's signature
        """One request; see the class for what it raises."""
        if method == "eth_sendRawTransaction":
            return self._broadcast(params)
        if self._pin.member is not None:
            return self._ask(self._pin.member, method, params)
        faults: list[RpcFault] = []
        for member in self._in_turn():
            try:
                return self._ask(member, method, params)
            except RpcRefusal:
                raise
            except RpcFault as fault:
                faults.append(fault)
        raise _joined(faults)

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether any endpoint answers."""
        return any(status.condition is Condition.HEALTHY for status in self.survey())

    def consistently(self, work: Callable[[], T]) -> T:
        """``work``, with all its requests to one endpoint, so that they speak of one chain. If an RpcFault ends it, it
        is begun anew on the next endpoint: it must bear that. Broadcasts within still go everywhere.
        """
        if self._pin.member is not None:
            return work()
        faults: list[RpcFault] = []
        for member in self._in_turn():
            with self._pinned(member):
                try:
                    return work()
                except RpcFault as fault:
                    if member.condition is Condition.HEALTHY:  # a contradiction, which no single answer showed
                        self._failed(member, str(fault))
                    faults.append(fault)
        raise _joined(faults)

    def everywhere(self, method: str, params: Any) -> list[Any]:  # noqa: ANN401 - web3's parameters
        """The results of all healthy endpoints that give one; RpcFault if none does."""
        results, faults = [], []
        for member in self._usable():
            try:
                results.append(self._ask(member, method, params)["result"])
            except RpcFault as fault:
                faults.append(fault)
        if not results:
            raise _joined(faults)
        return results

    @property
    def pinned_key(self) -> str:
        """Which endpoint `consistently` has chosen on this thread (its key); the first one's outside of it."""
        return (self._pin.member or self._members[0]).endpoint.key

    # Comparing

    def status(self) -> tuple[EndpointStatus, ...]:
        """What is thought of each endpoint, in the configured order. Asks nobody."""
        with self._lock:
            now = self.clock()
            heads = [m.head for m in self._members if m.head is not None and m.condition is Condition.HEALTHY]
            return tuple(self._status(member, max(heads, default=None), now) for member in self._members)

    def survey(self, chain_id: int | None = None) -> tuple[EndpointStatus, ...]:
        """Ask every endpoint that is not resting for its condition. Never raises."""
        self._survey_at = self.clock() + self.survey_seconds
        self._survey(self._due(), chain_id)
        return self.status()

    def start(self, chain_id: int | None = None) -> None:
        """The first survey, of all endpoints. Raises RpcFault if none answers, WrongChain if one that answers is not on
        ``chain_id``, or two disagree.
        """
        statuses = self.survey(chain_id)
        wanted = self._chain_id
        for status in statuses:
            if status.chain_id is not None and status.chain_id != wanted:
                raise WrongChain(f"{status.name} serves chain {status.chain_id}, not {wanted}: check the RPC addresses")
        if all(status.condition is not Condition.HEALTHY for status in statuses):
            raise RpcFault("; ".join(status.reason for status in statuses))
        for status in statuses:
            if status.condition is not Condition.HEALTHY:
                _tell_set_aside(status.name, status.condition, status.reason)

    def anchor(self, number: int, hash_: bytes) -> None:
        """Block ``number``, which was scanned as final: all endpoints are held to its hash from now on."""
        with self._lock:
            self._anchor = (number, hash_)

    def confirm_reorganisation(self, number: int, hash_: bytes) -> None:
        """Ask all endpoints about a final block that the one in use no longer shows. RpcFault if the others say that
        the one in use is wrong; else it must be believed.
        """
        member = self._pin.member
        self.anchor(number, hash_)
        if len(self._members) == 1 or member is None:
            return
        self._survey([other for other in self._due() if other.condition is not Condition.LYING], None)
        if member.condition is Condition.LYING:
            raise RpcFault(f"{member.endpoint.name} {member.reason}")

    # Inside

    def _in_turn(self) -> Iterator[_Member]:
        """Whom to ask until one answers: every healthy endpoint, and once more whoever is healthy after all failed. A
        node with one endpoint thus bears a hiccup of it.
        """
        yield from self._usable()
        yield from self._usable()

    def _usable(self) -> list[_Member]:
        now = self.clock()
        if now >= self._survey_at:
            self._survey_at = now + self.survey_seconds
            self._survey(self._due(), None)
        elif rested := [m for m in self._due() if m.condition in (Condition.FAILING, Condition.LYING)]:
            self._survey(rested, None)
        found = [member for member in self._members if member.condition is Condition.HEALTHY]
        if not found:  # then a pause saves nothing
            self._survey([m for m in self._members if m.condition is not Condition.LYING], None)
            found = [member for member in self._members if member.condition is Condition.HEALTHY]
        if not found:
            raise RpcFault("; ".join(_told(member) for member in self._members))
        return found

    def _due(self) -> list[_Member]:
        now = self.clock()
        return [member for member in self._members if member.retry_at <= now]

    def _ask(self, member: _Member, method: str, params: Any) -> RPCResponse:  # noqa: ANN401
        begun = time.monotonic()
        member.requests += 1
        try:
            answer = member.endpoint.ask(method, params)
        except RpcRefusal:
            raise
        except RpcFault as fault:
            self._failed(member, str(fault))
            raise
        member.last_seconds = time.monotonic() - begun
        return answer

    def _broadcast(self, params: Any) -> RPCResponse:  # noqa: ANN401
        healthy = self._usable()
        others = [m for m in self._members if m not in healthy and _may_take(m)]
        answer, problems = self._send_to(healthy, params)
        # Those behind may know the sender's balance and nonce as they were: their word counts only if no other is had.
        late, excuses = self._send_to(others, params)
        answer = answer or (None if any(isinstance(p, RpcRefusal) for p in problems) else late)
        if answer is not None:
            return answer
        refusals = [problem for problem in problems + excuses if isinstance(problem, RpcRefusal)]
        known = [r for r in refusals if any(words in r.reason.lower() for words in _KNOWN_ALREADY)]
        if known or refusals:
            raise (known or refusals)[0]
        raise _joined(problems + excuses)

    def _send_to(self, members: list[_Member], params: Any) -> tuple[RPCResponse | None, list[RpcFault]]:  # noqa: ANN401
        accepted: RPCResponse | None = None
        problems: list[RpcFault] = []
        for member in members:
            try:
                answer = self._ask(member, "eth_sendRawTransaction", params)
                accepted = accepted or answer
            except RpcFault as problem:
                problems.append(problem)
        return accepted, problems

    @contextmanager
    def _pinned(self, member: _Member) -> Iterator[None]:
        self._pin.member = member
        try:
            yield
        finally:
            self._pin.member = None

    def _survey(self, members: list[_Member], chain_id: int | None) -> None:
        if not members:
            return
        if len(members) == 1:
            seen = [self._probe(members[0])]
        else:  # side by side, so that one that hangs costs one deadline, and heads are of one moment
            with ThreadPoolExecutor(max_workers=len(members), thread_name_prefix="rpc-survey") as threads:
                seen = list(threads.map(self._probe, members))
        with self._lock:
            now = self.clock()
            sightings = self._sightings(members, seen, now)
            if self._chain_id is None and (chain_id is not None or sightings):
                self._chain_id = chain_id if chain_id is not None else next(iter(sightings.values())).chain_id
            if self._chain_id is None:
                return
            rules = Rules(self._chain_id, self._anchor[1] if self._anchor else None, self._stale_blocks, STALL_SECONDS)
            for member, verdict in judge(sightings, self._remembered(sightings, now), rules).items():
                self._found(member, verdict, now)

    def _sightings(self, members: list[_Member], seen: list[Sighting | str], now: float) -> dict[_Member, Sighting]:
        sightings: dict[_Member, Sighting] = {}
        for member, sighting in zip(members, seen, strict=True):
            if isinstance(sighting, str):
                self._failed(member, sighting)
                continue
            if member.head is None or sighting.head > member.head:
                member.grown_at = now
            member.chain_id, member.head, member.seen_at = sighting.chain_id, sighting.head, now
            sightings[member] = replace(sighting, unmoved=now - member.grown_at)
        return sightings

    def _remembered(self, sightings: dict[_Member, Sighting], now: float) -> dict[_Member, int]:
        return {
            member: member.head
            for member in self._members
            if member not in sightings
            and member.head is not None
            and member.condition is not Condition.LYING
            and now - member.seen_at <= REMEMBERED_SECONDS
        }

    def _probe(self, member: _Member) -> Sighting | str:
        return probe(lambda method, params: self._ask(member, method, params)["result"], self._anchor)

    def _failed(self, member: _Member, reason: str) -> None:
        with self._lock:
            member.failures += 1
            if member.condition is not Condition.LYING:
                self._found(member, Verdict(Condition.FAILING, reason), self.clock())

    def _found(self, member: _Member, verdict: Verdict, now: float) -> None:
        before, member.condition, member.reason = member.condition, verdict.condition, verdict.reason
        if verdict.condition in _SENDABLE:
            member.setbacks, member.retry_at = 0, float("-inf")
        elif now >= member.retry_at:  # a second fault of one moment is no second setback
            member.retry_at = now + self._pause(member.setbacks, lying=verdict.condition is Condition.LYING)
            member.setbacks = min(member.setbacks + 1, 32)
        if before is verdict.condition:
            return
        if verdict.condition is not Condition.HEALTHY:
            if before is not Condition.UNKNOWN:  # `start` tells of the first survey, unless it ends in an error
                _tell_set_aside(member.endpoint.name, verdict.condition, verdict.reason)
        elif before is not Condition.UNKNOWN:
            _log.info("RPC endpoint is back", endpoint=member.endpoint.name, head=member.head)

    def _pause(self, setbacks: int, *, lying: bool) -> float:
        first, most = (LIAR_PAUSE_SECONDS, MOST_LIAR_PAUSE_SECONDS) if lying else (PAUSE_SECONDS, MOST_PAUSE_SECONDS)
        return min(first * 2.0**setbacks, most) * self._jitter.uniform(0.5, 1.0)

    def _status(self, member: _Member, best: int | None, now: float) -> EndpointStatus:
        return EndpointStatus(
            name=member.endpoint.name,
            condition=member.condition,
            reason=member.reason,
            chain_id=member.chain_id,
            head=member.head,
            behind=max(0, best - member.head) if best is not None and member.head is not None else None,
            requests_total=member.requests,
            failures_total=member.failures,
            last_seconds=member.last_seconds,
            retry_in=max(0.0, member.retry_at - now),
        )


def _may_take(member: _Member) -> bool:
    """Whether a transaction is worth sending there though nothing is read from there: a hiccup of a moment ago must not
    leave it with those that drop it.
    """
    hiccup = member.condition is Condition.FAILING and member.setbacks <= HICCUPS
    return member.condition in _SENDABLE or hiccup


def _tell_set_aside(name: str, condition: Condition, reason: str) -> None:
    _log.warning("RPC endpoint set aside", endpoint=name, condition=str(condition), reason=reason)


def _told(member: _Member) -> str:
    reason = member.reason or "was not asked yet"
    return reason if reason.startswith(member.endpoint.name) else f"{member.endpoint.name} {reason}"


def _joined(faults: Sequence[RpcFault]) -> RpcFault:
    told = list(dict.fromkeys(map(str, faults)))
    return faults[0] if len(told) == 1 else RpcFault("; ".join(told) or "no RPC endpoint is configured")
