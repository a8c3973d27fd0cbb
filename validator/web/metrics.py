"""Prometheus metrics of one server, in a registry of its own: computed when they are asked for, so never stale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from validator.errors import ValidatorError
from validator.rounds.lifecycle import Phase
from validator.web.health import Vitals
from validator.web.source import Known, Source

LATEST_ROUNDS = 8
"""Rounds that have a series each: those that may still change. Older ones would only make the answer grow."""


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
    """How a node's ticks go."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> Iterable[Metric]:
        """The families of one node."""
        pulse, now = self._vitals.pulse, self._vitals.clock()
        since, last = pulse.in_tick_since, pulse.last_success
        yield CounterMetricFamily("poc_ticks", "Ticks that succeeded.", pulse.ticks)
        yield CounterMetricFamily("poc_tick_failures", "Ticks that failed.", pulse.failures_total)
        yield _gauge("poc_tick_failures_in_a_row", "Ticks that failed since the last that succeeded.", pulse.failures)
        quiet = now - (last if last is not None else pulse.started)
        yield _gauge("poc_last_success_age_seconds", "Time since a tick succeeded, or since the start.", quiet)
        yield _gauge("poc_tick_seconds", "Time in the tick in hand; 0 between ticks.", now - since if since else 0)
        yield _gauge("poc_uptime_seconds", "Time since the start.", now - pulse.started)


def make_registry(source: Source, vitals: Vitals | None) -> CollectorRegistry:
    """A registry for one server."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ChainMetrics(source))
    if vitals is not None:
        registry.register(NodeMetrics(vitals))
    return registry


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
