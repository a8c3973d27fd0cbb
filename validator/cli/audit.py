"""`validator audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, emit, settings_for, table


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
    as_json: Json = False,
) -> None:
    """Check a finalised round again as a stranger; exits 1 if anything differs. Levels 3 and 4 need a key grant."""
    from validator.actions.auditor import audit_round
    from validator.actions.connect import open_view
    from validator.cli.reading import Reading

    settings = settings_for(home, rpc=rpc, contract=contract, content=content)
    verdict = audit_round(open_view(settings, Reading()), settings, number, level)
    if as_json:
        emit(verdict.to_dict(), True)
    else:
        rows = [("ok" if check.ok else "FAIL", check.name, check.detail) for check in verdict.checks]
        table(f"Round {number}, audit level {level}", ("", "check", "found"), rows)
        typer.echo("match" if verdict.match else f"NO MATCH: {verdict.difference or 'see the failed checks'}")
    if not verdict.match:
        raise typer.Exit(1)
