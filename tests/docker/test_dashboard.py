"""Grafana's dashboard and its provisioning: every metric exists, every expression parses, everything has its place."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.files import DOCKER, services
from tests.docker.promql import Expression
from tests.docker.test_alerts import exposed, names
from validator.rounds.lifecycle import Phase

__all__ = ["exposed"]  # the fixture

GRAFANA = DOCKER / "grafana"
BOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/validator.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS: list[dict[str, Any]] = [target for panel in PANELS for target in panel["targets"]]
PROMETHEUS: dict[str, Any] = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())
LOCAL = services("compose.local.yml")
OF_THE_SCRAPE = {"instance", "job"}


def shown() -> set[str]:
    return {metric for target in TARGETS for metric in Expression(target["expr"]).metrics}


def test_dashboard__every_metric_it_names__is_exposed(exposed: str):
    assert shown() <= names(exposed)


def test_dashboard__every_metric_of_ours__is_shown(exposed: str):
    assert {name for name in names(exposed) if name.startswith("poc_")} - shown() == {
        "poc_chain_up",  # `up` and the age of the newest block say more
        "poc_finalised_timestamp_seconds",
        "poc_tick_failures_in_a_row",
    }


def test_dashboard__labels_in_its_legends__are_labels_of_their_series(exposed: str):
    for target in TARGETS:
        used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert used, target
        for metric in Expression(target["expr"]).metrics:
            line = next(line for line in exposed.splitlines() if re.match(rf"{metric}[{{ ]", line))
            assert used <= set(re.findall(r'(\w+)="', line)) | OF_THE_SCRAPE | {"round"}, (target, metric)


def test_dashboard__panels__have_names_places_and_our_data_source():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len({panel["title"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert {target["datasource"]["uid"] for target in (*TARGETS, *PANELS)} == {source["uid"]}
    assert source["url"] == "http://127.0.0.1:9090"


def test_dashboard__phases__have_their_names():
    (panel,) = (panel for panel in PANELS if panel["title"] == "Phase of each round")
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    said = {int(value): words["text"] for value, words in mapping["options"].items()}
    assert said == {phase.value: phase.name.lower() for phase in Phase if phase}


def test_grafana__provisioning__finds_the_dashboard_where_it_is_mounted():
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/files.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in LOCAL["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    home = LOCAL["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/validator.json"


def test_prometheus__targets__are_the_nodes_and_the_explorer_of_the_network():
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in PROMETHEUS["scrape_configs"]}
    ports = {name: service.get("environment", {}).get("VALIDATOR_PORT") for name, service in LOCAL.items()}
    assert targets["validator"] == [f"127.0.0.1:{ports[f'validator-{number}']}" for number in (1, 2, 3)]
    assert targets["explorer"] == [f"127.0.0.1:{ports['explorer']}"]
    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
    assert (DOCKER / "prometheus/alerts.yml").is_file()


def test_promtool__where_it_is_installed__takes_the_configuration_and_every_expression(tmp_path: Path):
    program = shutil.which("promtool")
    if program is None:
        assert TARGETS, "promtool is not installed; the tests above have parsed every expression"
        return
    rules = [{"record": f"panel:{number}", "expr": target["expr"]} for number, target in enumerate(TARGETS)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    for words in (
        ["check", "rules", str(tmp_path / "rules.yml")],
        ["check", "config", str(DOCKER / "prometheus/prometheus.yml")],
    ):
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", ["s", "bytes", "short", "none"])
def test_dashboard__units__fit_the_names_of_the_metrics(unit: str):
    for panel in PANELS:
        if panel["fieldConfig"]["defaults"]["unit"] != unit:
            continue
        for target in panel["targets"]:
            for metric in Expression(target["expr"]).metrics:
                ends = {"s": ("_seconds", "_seconds_total"), "bytes": ("_bytes",)}.get(unit)
                assert metric.endswith(ends) if ends else not metric.endswith(("_seconds", "_bytes")), metric
