"""`validator exact self-test`: whether this machine computes what the protocol fixes."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from validator.cli.common import Json, emit, table

app = typer.Typer(help="Exact arithmetic on this machine.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Exact arithmetic on this machine."""


@app.command("self-test")
def self_test(device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu", as_json: Json = False) -> None:
    """Certify a device: single operations, fused kernels, golden digests. Exits 1 if anything differs."""
    if re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", device) is None:
        raise typer.BadParameter(f"{device!r} is none of cpu, cuda, cuda:N", param_hint="--device")
    from validator.exact.conformance.check import self_test as certify

    report = certify(device)
    if as_json:
        emit(report.to_dict(), True)
    else:
        rows = [
            ("FAIL" if group.faults else "ok", group.name, group.checks, len(group.faults), f"{group.seconds:.2f}")
            for group in report.groups
        ]
        table(
            "Exact arithmetic, self-test",
            ("", "group", "checks", "failed", "seconds"),
            rows,
            ("checks", "failed", "seconds"),
        )
        told = [line for group in report.groups for line in (*group.notes, *map(str, group.faults))]
        emit({}, False, [*told, report.verdict])
    if not report.ok:
        raise typer.Exit(1)
