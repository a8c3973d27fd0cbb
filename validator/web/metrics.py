"""Prometheus metrics of one server, in a registry of its own: computed when they are asked for, so never stale."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from validator.chain.verdict import Condition
from validator.errors import ValidatorError
from validator.rounds.lifecycle import Phase
from validator.web.health import Vitals, chain_age, ready
from validator.web.source import Known, Source

LATEST_ROUNDS = 8
"""Rounds that have a series each: those that may still change. Older ones would only make the answer grow."""
DUTIES = ("report", "commit", "attest")


class ChainMetrics(Collector):
    """What the chain says of the DAO."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        """The families; only `poc_chain_up` when the chain does not answer."""
        try:
            known = self._source.known()
        except ValidatorError:
            yield _gauge("poc_chain_up", "1 while the chain can be read.", 0)
            return
        yield _gauge("poc_chain_up", "1 while the chain can be read.", 1)
        yield from _chain(known)


class NodeMetrics(Collector):
    """How the nodes of this process do, one series a DAO."""

    def __init__(self, nodes: Mapping[str, Vitals]) -> None:
        self._nodes = nodes

    def collect(self) -> Iterable[Metric]:
        """The families."""
        nodes = self._nodes
        yield _counter("poc_ticks", "Ticks that succeeded.", nodes, lambda v: v.pulse.ticks)
        yield _counter("poc_tick_failures", "Ticks that failed.", nodes, lambda v: v.pulse.failures_total)
        words = "Ticks that failed since the last that succeeded."
        yield _per_dao("poc_tick_failures_in_a_row", words, nodes, lambda v: v.pulse.failures)
        words = "Time since a tick succeeded, or since the start."
        yield _per_dao("poc_last_success_age_seconds", words, nodes, _quiet)
        yield _per_dao("poc_tick_seconds", "Time in the tick in hand; 0 between ticks.", nodes, _in_tick)
        yield _per_dao("poc_ready", "1 while the node does its duty, as /ready says.", nodes, lambda v: ready(v).ok)
        yield _per_dao("poc_head_age_seconds", "Age of the newest block that the node has seen.", nodes, chain_age)
        yield _per_dao("poc_scanned_age_seconds", "Age of the newest final block scanned.", nodes, _scanned_age)
        yield _per_dao("poc_content_up", "1 while the content store keeps what it is given.", nodes, _content_up)
        yield _per_dao("poc_transactions_unsettled", "Transactions under way.", nodes, _of_duty("unsettled"))
        words = "How long the next transaction has been under way."
        yield _per_dao("poc_transaction_waiting_seconds", words, nodes, _waiting)
        yield _per_dao("poc_account_balance_wei", "Coin of the account that pays gas.", nodes, _of_duty("balance_wei"))
        words = "Duties whose deadline passed in the latest round that asked any."
        yield _per_dao(
            "poc_deadlines_missed_now", words, nodes, lambda v: len(v.pulse.duty.missed) if v.pulse.duty else 0
        )
        words = "Rounds under way whose manifest wants another scorer than this release has."
        yield _per_dao("poc_rounds_unscorable", words, nodes, _unscorable)
        yield self._missed()
        yield from self._endpoints()

    def _missed(self) -> Metric:
        family = CounterMetricFamily(
            "poc_deadlines_missed", "Deadlines missed since the start.", labels=["dao", "duty"]
        )
        for dao, vitals in self._nodes.items():
            for duty in DUTIES:
                family.add_metric([dao, duty], vitals.pulse.missed.get(duty, 0))
        return family

    def _endpoints(self) -> Iterator[Metric]:
        names = ["dao", "endpoint"]
        up = GaugeMetricFamily("poc_rpc_healthy", "1 while an RPC endpoint is used.", labels=names)
        behind = GaugeMetricFamily("poc_rpc_behind_blocks", "How far an endpoint's head is behind.", labels=names)
        asked = CounterMetricFamily("poc_rpc_requests", "Requests to an endpoint.", labels=names)
        failed = CounterMetricFamily("poc_rpc_failures", "Requests that it failed.", labels=names)
        for dao, vitals in self._nodes.items():
            for number, status in enumerate(vitals.endpoints()):
                labels = [dao, f"{number} {status.name}"]
                up.add_metric(labels, status.condition is Condition.HEALTHY)
                asked.add_metric(labels, status.requests_total)
                failed.add_metric(labels, status.failures_total)
                if status.behind is not None:
                    behind.add_metric(labels, status.behind)
        yield from (up, behind, asked, failed)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the process runs on: since when, what it uses and may use of memory (bytes), and where its home is."""

    started: float
    used: Callable[[], int]
    limit: int
    home: Path
    clock: Callable[[], float] = time.monotonic


class MachineMetrics(Collector):
    """Memory, disk and time of the process."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def collect(self) -> Iterable[Metric]:
        """The families."""
        machine = self._machine
        yield _gauge("poc_uptime_seconds", "Time since the start.", machine.clock() - machine.started)
        yield _gauge("poc_memory_used_bytes", "Resident memory of the process and its workers.", machine.used())
        yield _gauge("poc_memory_limit_bytes", "What it may use; 0 for no limit.", machine.limit)
        try:
            yield _gauge("poc_disk_free_bytes", "Free on the disk of the home.", shutil.disk_usage(machine.home).free)
        except OSError:
            return  # no series: `absent` in the alert rules sees that


def make_registry(source: Source, nodes: Mapping[str, Vitals], machine: Machine | None) -> CollectorRegistry:
    """A registry for one server."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ChainMetrics(source))
    if nodes:
        registry.register(NodeMetrics(nodes))
    if machine is not None:
        registry.register(MachineMetrics(machine))
        ProcessCollector(registry=registry)
    return registry


def _per_dao(name: str, help_: str, nodes: Mapping[str, Vitals], value: Callable[[Vitals], float | None]) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=["dao"])
    for dao, vitals in nodes.items():
        found = value(vitals)
        if found is not None:
            family.add_metric([dao], found)
    return family


def _counter(name: str, help_: str, nodes: Mapping[str, Vitals], value: Callable[[Vitals], float]) -> Metric:
    family = CounterMetricFamily(name, help_, labels=["dao"])
    for dao, vitals in nodes.items():
        family.add_metric([dao], value(vitals))
    return family


def _quiet(vitals: Vitals) -> float:
    last = vitals.pulse.last_success
    return vitals.clock() - (last if last is not None else vitals.pulse.started)


def _in_tick(vitals: Vitals) -> float:
    since = vitals.pulse.in_tick_since
    return vitals.clock() - since if since is not None else 0.0


def _scanned_age(vitals: Vitals) -> float | None:
    duty = vitals.pulse.duty
    return max(0.0, vitals.now() - duty.finalised_time) if duty is not None and duty.finalised_time else None


def _waiting(vitals: Vitals) -> float:
    duty = vitals.pulse.duty
    return vitals.clock() - duty.waiting_since if duty is not None and duty.waiting_nonce is not None else 0.0


def _content_up(vitals: Vitals) -> float | None:
    return None if vitals.pulse.duty is None else float(not vitals.pulse.duty.content_fault)


def _missed_now(vitals: Vitals) -> float | None:
    return None if vitals.pulse.duty is None else len(vitals.pulse.duty.missed)


def _unscorable(vitals: Vitals) -> float | None:
    return None if vitals.pulse.duty is None else len(vitals.pulse.duty.unscorable)


def _of_duty(name: str) -> Callable[[Vitals], float | None]:
    return lambda vitals: None if vitals.pulse.duty is None else getattr(vitals.pulse.duty, name)


def exposition(registry: CollectorRegistry) -> bytes:
    """The text format, version 0.0.4."""
    return generate_latest(registry)


def _chain(known: Known) -> Iterator[Metric]:
    ledger = known.ledger
    yield _gauge("poc_finalised_block", "Height of the newest final block.", known.block)
    yield _gauge("poc_finalised_timestamp_seconds", "Unix time of the newest final block.", known.time)
    yield CounterMetricFamily("poc_contributions", "Contributions ever submitted.", len(ledger.submitted))
    phases = GaugeMetricFamily("poc_round_phase", f"Phase of a round: {_PHASES}.", labels=["round"])
    attempts = GaugeMetricFamily("poc_round_attempt", "Attempt of a round; 0 before its seed.", labels=["round"])
    attested = GaugeMetricFamily("poc_round_attestations", "Attestations of a round's attempt.", labels=["round"])
    for number in sorted(ledger.rounds)[-LATEST_ROUNDS:]:
        state = ledger.rounds[number]
        phases.add_metric([str(number)], state.phase(known.time))
        attempts.add_metric([str(number)], state.attempt)
        attested.add_metric([str(number)], len(state.attestations))
    yield from (phases, attempts, attested)
    states = ledger.rounds.values()
    yield CounterMetricFamily(
        "poc_rounds_finalised", "Rounds that are final.", sum(s.final is not None for s in states)
    )
    yield CounterMetricFamily("poc_rounds_abandoned", "Rounds that were given up.", sum(s.abandoned for s in states))


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_, value)


_PHASES = ", ".join(f"{phase.value} {phase.name.lower()}" for phase in Phase if phase)
