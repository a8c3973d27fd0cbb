"""`validator join`, `top-up`, `exit`, `withdraw` and `run`: an operator and its stake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from validator.cli.common import MOST_UNITS, Content, Contract, Home, Json, Rpc, emit, settings_for


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("join")(join)
    app.command("top-up")(top_up)
    app.command("exit")(leave)
    app.command("withdraw")(withdraw)
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
    from validator.actions.home import attester, identifiers
    from validator.actions.operator import join as join_set

    settings = settings_for(home, rpc=rpc, contract=contract)
    keys = identifiers(settings)
    join_set(open_wallet(settings), keys.hpke_key, stake, attester(settings))
    emit({"operator": keys.address, "stake": stake}, as_json, [f"{keys.address} joined with a stake of {stake}"])


def top_up(
    amount: Annotated[int, typer.Argument(min=1, max=MOST_UNITS, help="Base units of the stake token.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    as_json: Json = False,
) -> None:
    """Add to this validator's stake."""
    from validator.actions.connect import open_wallet
    from validator.actions.operator import top_up as add

    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract))
    stake, operator = add(wallet, amount), wallet.signer.address
    emit({"operator": operator, "added": amount, "stake": stake}, as_json, [f"{operator} has a stake of {stake}"])


def leave(home: Home = None, rpc: Rpc = None, contract: Contract = None, as_json: Json = False) -> None:
    """Leave the validator set: no weight from the open round on, the stake back after the exit delay."""
    from validator.actions.connect import open_wallet
    from validator.actions.operator import request_exit

    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract))
    leaving, operator = request_exit(wallet), wallet.signer.address
    answer = {"operator": operator, "stake": leaving.stake, "withdrawable_at": leaving.withdrawable_at}
    moment = f"{datetime.fromtimestamp(leaving.withdrawable_at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    words = [
        f"{operator} {'was leaving already' if leaving.asked_before else 'leaves the set'}",
        f"its stake of {leaving.stake} can be withdrawn from {moment} on: validator withdraw",
        "keep `validator run` going until the rounds that count it have ended",
    ]
    emit(answer, as_json, words)


def withdraw(home: Home = None, rpc: Rpc = None, contract: Contract = None, as_json: Json = False) -> None:
    """Take the stake back, after `validator exit` and its delay."""
    from validator.actions.connect import open_wallet
    from validator.actions.operator import withdraw as take_back

    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract))
    stake, operator = take_back(wallet), wallet.signer.address
    emit({"operator": operator, "withdrawn": stake}, as_json, [f"{stake} units of stake paid to {operator}"])


def run(
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Score with this home's keys, but sign and send nothing.")
    ] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Serve the explorer here.")] = None,
) -> int:
    """Run a validator until SIGTERM or Ctrl-C. Without keys it only follows the chain."""
    import torch

    from validator.actions.several import openers
    from validator.daemon import Daemon, tickers_of
    from validator.memory import memory_of

    settings = settings_for(home, rpc=rpc, contract=contract, content=content, port=port)
    torch.set_num_threads(settings.threads)
    tickers = tickers_of(openers(settings, dry_run=dry_run), settings.poll_seconds)
    daemon = Daemon(tickers, settings.poll_seconds, memory=memory_of(settings.memory_mib))
    if settings.port:
        from validator.web.serve import serve_beside

        serve_beside(daemon, settings)
    return daemon.run()
