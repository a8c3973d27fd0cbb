from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from tests.web.conftest import Played
from validator.daemon import Daemon, Health
from validator.settings import HUNG_SECONDS
from validator.stages.round import tick
from validator.stages.watch import Duty, Missed
from validator.web.app import make_app
from validator.web.health import Vitals, alive, healthy, ready, worst
from validator.web.source import Source

POLL = 2.0
LATE = 10 * POLL + 30


NOW = 1_700_000_000.0
WELL = {"last_success": 999.0, "ticks": 1}


def vitals(now: float = 1000.0, **noted: object) -> Vitals:
    return Vitals(Health(**{"started": 0.0, **noted}), POLL, clock=lambda: now, now=lambda: NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("duty", "told"),
    [
        (Duty(), ""),
        (Duty(head_time=int(NOW) - 300), ""),
        (Duty(head_time=int(NOW) - 301), "the chain stands still: its newest block is 301 s old"),
        (Duty(head_time=int(NOW) + 60), ""),  # a chain whose clock is ahead is not stale
        (Duty(content_fault="https://user:hunter2@ipfs.example refused\nit"), "content store fails: https://***@ipfs"),
        (
            Duty(unscorable=((7, "the manifest wants exact version 9"),)),
            "round 7 is not scored here: the manifest wants",
        ),
        (
            Duty(missed=frozenset({Missed(3, 2, "attest"), Missed(3, 2, "report")})),
            "attest in round 3, attempt 2, report",
        ),
    ],
)
def test_ready_and_healthy__ticks_succeed_but_nothing_comes_of_them__are_red_and_live_is_not(
    duty: Duty, told: str
) -> None:
    state = vitals(**WELL, duty=duty)
    assert alive(state).ok
    for answer in (ready(state), healthy(state)):
        assert answer.ok is (told == "")
        assert told in answer.reason
        assert "hunter2" not in answer.reason


def test_worst__several_daos__names_the_one_that_is_not_well() -> None:
    answers = {"0xa": ready(vitals(**WELL)), "0xb": ready(vitals(**WELL, failures=2, last_error="no answer"))}
    assert worst(answers).reason == "0xb: 2 ticks in a row have failed: no answer"
    assert worst({"0xa": answers["0xa"]}).ok


@pytest.mark.parametrize(
    ("noted", "now", "ok"),
    [
        ({}, LATE, True),  # just started
        ({}, LATE + 1, False),  # started, and nothing came of it
        ({"last_success": 100.0}, 100 + LATE, True),
        ({"last_success": 100.0}, 101 + LATE, False),
        ({"last_success": 100.0, "in_tick_since": 110.0}, 110 + HUNG_SECONDS, True),  # a long tick is work
        ({"last_success": 100.0, "in_tick_since": 110.0}, 111 + HUNG_SECONDS, False),
    ],
)
def test_alive__pulse_at_a_time__as_a_supervisor_should_act(noted: dict[str, float], now: float, ok: bool) -> None:
    answer = alive(vitals(now, **noted))

    assert answer.ok is ok
    assert bool(answer.reason) is not ok


def test_alive__last_error__told_in_one_line() -> None:
    answer = alive(vitals(2000.0, last_success=1.0, failures=3, last_error="no\nconnection"))

    assert answer.reason == "no tick has succeeded for 1999 s: no connection"


@pytest.mark.parametrize(
    ("noted", "ok"),
    [
        ({}, False),
        ({"in_tick_since": 1.0}, False),
        ({"last_success": 999.0, "ticks": 1}, True),
        ({"last_success": 999.0, "ticks": 1, "failures": 1}, False),
    ],
)
def test_ready__pulse__only_after_a_success_and_while_none_fails(noted: dict[str, float], ok: bool) -> None:
    assert ready(vitals(**noted)).ok is ok


def test_routes__a_daemon_through_its_life__health_ready_and_metrics_follow(played: Played, source: Source) -> None:
    daemon = Daemon(played.node, POLL)
    now = [daemon.health.started]
    client = TestClient(make_app(source, Vitals(daemon.health, POLL, clock=lambda: now[0])))

    dao = played.node.deployment.rounds

    def codes() -> tuple[int, int]:
        return client.get("/health").status_code, client.get("/ready").status_code

    assert codes() == (200, 503)
    daemon.tickers[0].run()
    now[0] = daemon.health.last_success or 0.0
    assert codes() == (200, 200)
    assert f'poc_ticks_total{{dao="{dao}"}} 1.0' in client.get("/metrics").text
    failing = replace_rpc(daemon, played)
    daemon.tickers[0].run()
    failing()
    assert codes() == (200, 503)
    assert f'poc_tick_failures_in_a_row{{dao="{dao}"}} 1.0' in client.get("/metrics").text
    now[0] += LATE + 1
    assert codes() == (503, 503)
    assert "http://127.0.0.1:9" in client.get("/health").json()["reason"]


def replace_rpc(daemon: Daemon, played: Played) -> Callable[[], None]:
    """Let the daemon's node speak to a port that nobody listens on; returns what puts the old way back."""
    from web3 import Web3

    from validator.chain.follower import Follower
    from validator.chain.pool import Pool

    node = daemon.node
    dead = Web3(Pool(["http://127.0.0.1:9"], 1.0))
    daemon.node = replace(node, w3=dead, follower=Follower(dead, node.deployment))

    def restore() -> None:
        daemon.node = node

    return restore


def test_routes__without_a_node__ready_tells_whether_the_chain_can_be_read(client: TestClient) -> None:
    assert client.get("/health").json() == {
        "ok": True,
        "reason": "",
        "ticks": 0,
        "failures": 0,
        "last_success_age_seconds": None,
        "in_tick_seconds": None,
        "self_test": None,
        "dao": None,
    }
    assert client.get("/ready").status_code == 200


def test_metrics__a_played_round__phases_and_block(client: TestClient, played: Played) -> None:
    tick(played.node)
    response = client.get("/metrics")

    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'poc_round_phase{round="1"} 6.0' in response.text
    assert 'poc_round_phase{round="2"} 1.0' in response.text
    assert "poc_contributions_total 6.0" in response.text
    assert "poc_ticks" not in response.text  # no node beside this one
