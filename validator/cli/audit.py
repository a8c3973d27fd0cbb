"""`validator audit`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from validator.cli.bars import bars
from validator.cli.common import Content, Contract, Devices, EngineName, Home, Json, Rpc, emit, settings_for, table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(audit)


def audit(
    number: Annotated[int, typer.Argument(metavar="ROUND", min=1, help="A finalised round.")],
    level: Annotated[
        int, typer.Option(min=1, max=4, help="1 statements, 2 inputs, 3 scores, 4 scores from scratch.")
    ] = 4,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    engine: EngineName = None,
    devices: Devices = None,
    as_json: Json = False,
) -> None:
    """Check a finalised round again as a stranger; exits 1 if anything differs. Levels 3 and 4 need a key grant."""
    from validator.actions.auditor import audit_round
    from validator.actions.connect import open_view
    from validator.actions.engine import engine_of
    from validator.cli.reading import Reading
    from validator.influence.engine import IN_PROCESS

    settings = settings_for(home, rpc=rpc, contract=contract, content=content, engine=engine, devices=devices)
    # Levels 1 and 2 compute nothing: no worker is hired for them.
    with engine_of(settings) if level > 2 else nullcontext(IN_PROCESS) as where, bars() as progress:
        verdict = audit_round(open_view(settings, Reading()), settings, number, level, progress, where)
    if as_json:
        emit(verdict.to_dict(), True)
    else:
        rows = [("ok" if check.ok else "FAIL", check.name, check.detail) for check in verdict.checks]
        table(f"Round {number}, audit level {level}", ("", "check", "found"), rows)
        typer.echo("match" if verdict.match else f"NO MATCH: {verdict.difference or 'see the failed checks'}")
    if not verdict.match:
        raise typer.Exit(1)
