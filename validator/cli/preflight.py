"""`validator check`: what to ask before `validator run`, and whenever something seems wrong."""

from __future__ import annotations

import json
from typing import Any

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, settings_for, setup_logs
from validator.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    home: Home = None, rpc: Rpc = None, contract: Contract = None, content: Content = None, as_json: Json = False
) -> None:
    """Ask whether this home is ready: keys, stake, endpoints, content, disk, clock, arithmetic, signing history.

    Exits 1 if anything fails. May be run beside a running node.
    """
    answer = ask(settings_for(home, rpc=rpc, contract=contract, content=content), quiet=as_json)
    if as_json:
        typer.echo(json.dumps(answer, sort_keys=True))
    if not answer["ok"]:
        raise typer.Exit(1)


def ask(settings: Settings, *, quiet: bool) -> dict[str, Any]:
    """Ask everything, with a line for each answer as it comes unless `quiet`; all of it as plain data."""
    from validator.actions.preflight import State, preflight

    setup_logs(settings.log_format, "error", settings.secrets())  # the lines say it all
    lines = []
    for line in preflight(settings):
        lines.append(line)
        if not quiet:
            typer.echo(f"{line.state}  {line.check}: {line.found}")
            if line.cure:
                typer.echo(f"      -> {line.cure}")
    counts = {str(state): sum(line.state is state for line in lines) for state in State}
    if not quiet:
        typer.echo(f"{counts['pass']} passed, {counts['warn']} to look at, {counts['fail']} failed")
    return {"ok": counts["fail"] == 0, **counts, "lines": [line.to_dict() for line in lines]}
