"""Alert rules: each names metrics that exist, parses, and fires when it should and only then."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.promql import Alert, Expression, seconds, series
from validator.chain.pool import EndpointStatus
from validator.chain.verdict import Condition
from validator.rounds.lifecycle import Rounds, RoundState
from validator.stages.watch import Duty
from validator.ticker import Health
from validator.web.health import Vitals
from validator.web.metrics import Machine, exposition, make_registry

RULES = Path(__file__).parents[2] / "docker" / "prometheus" / "alerts.yml"
CASES = Path(__file__).with_name("alerts.test.yml")
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
TESTS: dict[str, Any] = yaml.safe_load(CASES.read_text())
OF_PROMETHEUS = {"up"}


class Readable:
    """As much of a source as the metrics need: a DAO whose first round is open."""

    def known(self) -> Any:
        from validator.web.ledger import Ledger
        from validator.web.source import Known

        return Known(Ledger(folded=Rounds({1: RoundState(1, b"")})), 1, 1)


@pytest.fixture(scope="module")
def exposed() -> str:
    """What a node with everything to tell answers at /metrics."""
    status = EndpointStatus("http://one", Condition.HEALTHY, "", 1, 5, 0, 9, 1, 0.1, 0.0)
    health = Health(duty=Duty(head_time=1, finalised_time=1, balance_wei=5))
    nodes = {"0xda0": Vitals(health, 4.0, endpoints=lambda: (status,))}
    machine = Machine(0.0, lambda: 1, 2, Path.cwd())
    return exposition(make_registry(Readable(), nodes, machine)).decode()  # type: ignore[arg-type]


def names(exposed: str) -> set[str]:
    return {re.split(r"[{ ]", line)[0] for line in exposed.splitlines() if line and not line.startswith("#")}


def test_alerts__every_metric_they_name__is_exposed(exposed: str) -> None:
    for rule in ALERTS:
        assert Expression(rule["expr"]).metrics <= names(exposed) | OF_PROMETHEUS, rule["alert"]


def test_alerts__labels_in_their_words__are_labels_of_their_series(exposed: str) -> None:
    always = {"instance", "job"}
    for rule in ALERTS:
        used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        for metric in Expression(rule["expr"]).metrics & names(exposed):
            line = next(line for line in exposed.splitlines() if re.match(rf"{metric}[{{ ]", line))
            assert used <= set(re.findall(r'(\w+)="', line)) | always, (rule["alert"], metric)


def test_alerts__each__says_what_to_do_and_how_urgent_it_is() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "warn")
        assert set(rule["annotations"]) == {"summary", "cure"}


def test_metrics__names__carry_their_units_and_few_labels(exposed: str) -> None:
    units = ("_seconds", "_bytes", "_total", "_wei", "_block", "_blocks")
    plain = {  # states and counts of things, which have no unit
        *("poc_chain_up", "poc_content_up", "poc_ready", "poc_rpc_healthy", "poc_round_phase", "poc_round_attempt"),
        *("poc_round_attestations", "poc_tick_failures_in_a_row", "poc_transactions_unsettled"),
        *("poc_deadlines_missed_now", "poc_rounds_unscorable", "process_open_fds", "process_max_fds"),
    }
    for name in names(exposed) - plain:
        assert name.endswith(units), name
    labels = set(re.findall(r'[{,](\w+)="', exposed))
    assert labels <= {"dao", "duty", "endpoint", "round"}


def test_alerts__all_of_them__have_a_case_in_which_they_fire_and_one_in_which_they_do_not() -> None:
    checks = [check for test in TESTS["tests"] for check in test["alert_rule_test"]]
    for rule in ALERTS:
        mine = [bool(check.get("exp_alerts")) for check in checks if check["alertname"] == rule["alert"]]
        assert set(mine) == {True, False}, rule["alert"]


@pytest.mark.parametrize("case", TESTS["tests"], ids=lambda case: case["input_series"][0]["series"].split("{")[0])
def test_alerts__on_prepared_series__fire_as_the_cases_say(case: dict[str, Any]) -> None:
    known = [series(each["series"], each["values"], seconds(case["interval"])) for each in case["input_series"]]
    step = seconds(TESTS["evaluation_interval"])
    for check in case["alert_rule_test"]:
        alert = next(Alert(rule) for rule in ALERTS if rule["alert"] == check["alertname"])
        end, time, firing = seconds(check["eval_time"]), 0.0, set()
        while time <= end:
            firing = alert.firing(known, time)
            time += step
        expected = {frozenset(each["exp_labels"].items()) for each in check.get("exp_alerts", [])}
        assert firing == expected, (check["alertname"], check["eval_time"])


def test_promtool__where_it_is_installed__agrees_with_our_own_evaluation(tmp_path: Path) -> None:
    """Our evaluation stands by itself; this holds it against the real one where there is one."""
    program = shutil.which("promtool")
    if program is None:
        assert ALERTS, "promtool is not installed; the tests above have evaluated every rule"
        return
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]  # promtool would want each of them spelt out in every case
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    shutil.copy(CASES, tmp_path)
    for words in (["check", "rules", str(RULES)], ["test", "rules", str(tmp_path / CASES.name)]):
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("text", ["rate(x[5m]) > 0", "x >", "x{a=1", "quantile(0.5, x)", "x ~ 1", "sum(x) > 1"])
def test_expression__outside_of_what_is_evaluated__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Expression(text)
