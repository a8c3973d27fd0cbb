"""`validator dao check`: what a manifest costs and whether it can be scored with, before it is published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from validator.cli.bars import bars
from validator.cli.common import Devices, EngineName, Json, emit, settings_for, table

if TYPE_CHECKING:
    from validator.actions.check import Check, Cost, Scored

MOST_CONTRIBUTIONS, MOST_RECORDS = 10**6, 2**20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="What `dao publish` takes.")],
    contributions: Annotated[
        int, typer.Option(min=1, max=MOST_CONTRIBUTIONS, help="Contributions of the round to project to.")
    ] = 100,
    records: Annotated[
        int | None, typer.Option(min=1, max=MOST_RECORDS, help="Records of a contribution; by default 32.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="As a validator's setting of that name.")] = 1,
    engine: EngineName = None,
    devices: Devices = None,
    as_json: Json = False,
) -> None:
    """Run a manifest end to end without a chain: what it costs, and what exact arithmetic refuses; exits 1 if anything
    is refused.
    """
    import torch

    from validator.actions.check import check as run
    from validator.actions.engine import engine_of
    from validator.actions.found import read_substance

    settings = settings_for(None, threads=threads, engine=engine, devices=devices)
    torch.set_num_threads(threads)
    with engine_of(settings) as where, bars() as progress:
        found = run(read_substance(folder), contributions, records, progress, where)
    if as_json:
        emit(found.to_dict(), True)
    else:
        _tell(found)
    if not found.ok:
        raise typer.Exit(1)


def _tell(found: Check) -> None:
    rows: list[tuple[str, str]] = [
        ("model", f"{found.family}, {found.parameters:,} parameters"),
        ("anchor, queries", f"{found.anchor:,} and {found.queries:,} records"),
        ("estimator", found.estimator),
        *(("REFUSED", f"{refusal.op} in {refusal.where}, {refusal.during}") for refusal in found.refused),
    ]
    if found.cost and found.scored and found.present is not None and found.anchor_present is not None:
        present = f"{found.present:.6f} on the queries, {found.anchor_present:.6f} on the anchor"
        rows += [("objective at present", present), *_costs(found, found.cost), *_scores(found.scored)]
    table(f"{found.name}, {found.objective}", ("what", "found"), rows)
    lines = [*(refusal.message for refusal in found.refused), *(f"warning: {line}" for line in found.warnings)]
    verdict = "a validator can score with this" if found.ok else "no validator can score with this"
    emit({}, False, [*lines, verdict])


def _costs(found: Check, cost: Cost) -> list[tuple[str, str]]:
    return [
        ("forward, a record", f"{cost.forward * 1e3:.3f} ms"),
        ("gradient, a record", f"{cost.gradient * 1e3:.3f} ms"),
        ("fit", f"{cost.fit:.2f} s"),
        ("score, a record", f"{cost.score * 1e3:.3f} ms, {cost.passes:.1f} forward passes"),
        ("open, a contribution", f"{cost.opening * 1e3:.0f} ms"),
        (f"round of {found.contributions:,} x {found.records} records", f"{cost.round:.0f} s"),
        ("peak memory", f"{cost.memory / 2**20:.0f} MiB"),
    ]


def _scores(scored: Scored) -> list[tuple[str, str]]:
    trained = "" if scored.trained is None else f"{scored.trained:.6f} on the queries"
    return [
        *([("trained on the anchor", trained)] if trained else []),
        ("made-up contributions", f"{len(scored.raw)} of the anchor's records, in 1e-9 of the objective:"),
        ("  raw score", f"{min(scored.raw):,} to {max(scored.raw):,}"),
        ("  standard error", f"{min(scored.stderr):,} to {max(scored.stderr):,}"),
        ("  payable", f"{sum(payable > 0 for payable in scored.payable)} of them, {sum(scored.payable):,} together"),
    ]
