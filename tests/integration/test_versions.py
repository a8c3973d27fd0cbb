"""A round whose manifest wants another scorer than this release has: nothing is scored or attested for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support import CLEAN, NOISE, World
from validator.actions.preflight import State, preflight
from validator.daemon import ticker_of
from validator.manifest import Versions
from validator.rounds.lifecycle import Phase
from validator.rounds.score import own_versions
from validator.web.health import Vitals, alive, ready

NAME = "validator-1"


@pytest.fixture
def newer() -> Versions:
    own = own_versions()
    return own.model_copy(update={"exact": own.exact + 1})


def test_round__manifest_of_a_newer_release__is_refused_everywhere_until_the_node_is_upgraded(
    tmp_path: Path, newer: Versions, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as steward:  # whose release is newer than the validator's
        steward.setattr("validator.actions.steward.own_versions", lambda: newer)
        world = World(tmp_path, validators=1, capacity=2)
    try:
        world.contribute(CLEAN, NOISE)
        node = world.node(NAME)
        ticker = ticker_of(node, 0.2)
        with capture_logs() as logs:
            world.play([node], lambda: world.round(1).phase(node.finalised_time()) is Phase.COMMITTING)
            for _ in range(3):
                ticker.run()

        told = f"exact version {newer.exact} (this node computes version {own_versions().exact}); upgrade this node"
        said = [entry for entry in logs if entry["event"] == "this release must not score a round"]
        assert sorted(entry["round"] for entry in said) == [1, 2]  # once each, the open one beforehand
        assert all(entry["log_level"] == "error" and told in entry["reason"] for entry in said)
        assert any(entry["event"] == "waits" and told in entry["error"] for entry in logs)
        (checked,) = [found for found in preflight(world.home(NAME)) if found.check == "manifest"]
        assert (checked.state, told in checked.found) == (State.FAIL, True)
        vitals = Vitals(ticker.health, 0.2)
        assert alive(vitals).ok
        assert told in ready(vitals).reason
        state = world.round(1)
        assert len(state.reports) == 1  # holding data is nobody's arithmetic
        assert not state.commits
        assert not state.attestations
        assert node.journal.step(1, state.attempt, "scored") is None
        assert node.identity is not None
        assert '"signatures": []' in node.identity.protection.export()

        monkeypatch.setattr("validator.rounds.score.own_versions", lambda: newer)  # the upgrade
        node.score_failures.clear()
        world.play([node], lambda: world.is_final(1))
        ticker.run()
        assert ticker.health.duty is not None
        assert ticker.health.duty.unscorable == ()
        node.close()
    finally:
        world.close()
