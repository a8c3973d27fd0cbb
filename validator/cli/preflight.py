"""`validator check`: what to ask before `validator run`, and whenever something seems wrong."""

from __future__ import annotations

import json

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, settings_for, setup_logs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    home: Home = None, rpc: Rpc = None, contract: Contract = None, content: Content = None, as_json: Json = False
) -> None:
    """Ask whether this home is ready: keys, stake, endpoints, content, disk, clock, arithmetic, signing history.

    Exits 1 if anything fails. May be run beside a running node.
    """
    from validator.actions.preflight import State, preflight

    settings = settings_for(home, rpc=rpc, contract=contract, content=content)
    setup_logs(settings.log_format, "error", settings.secrets())  # the lines say it all
    lines = []
    for line in preflight(settings):
        lines.append(line)
        if not as_json:
            typer.echo(f"{line.state}  {line.check}: {line.found}")
            if line.cure:
                typer.echo(f"      -> {line.cure}")
    counts = {str(state): sum(line.state is state for line in lines) for state in State}
    ok = counts["fail"] == 0
    if as_json:
        typer.echo(json.dumps({"ok": ok, **counts, "lines": [line.to_dict() for line in lines]}, sort_keys=True))
    else:
        typer.echo(f"{counts['pass']} passed, {counts['warn']} to look at, {counts['fail']} failed")
    if not ok:
        raise typer.Exit(1)
