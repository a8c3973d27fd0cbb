"""`validator join` and `validator run`."""

from __future__ import annotations

from typing import Annotated

import typer

from validator.cli.common import MOST_UNITS, Content, Contract, Home, Json, Rpc, emit, settings_for


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("join")(join)
    app.command("run")(run)


def join(
    stake: Annotated[int, typer.Argument(min=1, max=MOST_UNITS, help="Stake, in base units of the stake token.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    as_json: Json = False,
) -> None:
    """Stake and become a validator of the DAO, with this home's keys."""
    from validator.actions.connect import open_wallet
    from validator.actions.home import identifiers
    from validator.actions.operator import join as join_set

    settings = settings_for(home, rpc=rpc, contract=contract)
    keys = identifiers(settings)
    join_set(open_wallet(settings), keys.hpke_key, stake)
    emit({"operator": keys.address, "stake": stake}, as_json, [f"{keys.address} joined with a stake of {stake}"])


def run(
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Score, but sign and send nothing.")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Serve the explorer here.")] = None,
) -> None:
    """Run a validator until SIGTERM or Ctrl-C. Without keys it is a dry run."""
    import torch

    from validator.actions.connect import open_node
    from validator.daemon import Daemon

    settings = settings_for(home, rpc=rpc, contract=contract, content=content, port=port)
    torch.set_num_threads(settings.threads)
    daemon = Daemon(open_node(settings, dry_run=dry_run), settings.poll_seconds)
    if settings.port:
        from validator.web.serve import serve_beside

        serve_beside(daemon, settings)
    daemon.run()
