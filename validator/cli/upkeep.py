"""`validator dao`, continued: what the steward does while the DAO runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from validator.cli.common import (
    MOST_UNITS,
    Content,
    Contract,
    Home,
    Json,
    Rpc,
    checked_address,
    emit,
    settings_for,
    table,
)


class Coin(StrEnum):
    """The DAO's two tokens."""

    STAKE = "stake"
    REWARD = "reward"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("show")(show)
    app.command("collect")(collect)
    app.command("set-parameters")(set_parameters)
    app.command("pause")(pause)
    app.command("unpause")(unpause)
    app.command("mint")(mint)


def show(home: Home = None, rpc: Rpc = None, contract: Contract = None, as_json: Json = False) -> None:
    """The DAO as it stands: owner, manifest, key epoch, parameters, validators, pool. Needs no keys."""
    from validator.actions.connect import open_view
    from validator.actions.overview import overview

    found = overview(open_view(settings_for(home, rpc=rpc, contract=contract)))
    if as_json:
        emit(found, True)
        return
    columns = ("operator", "stake", "weight", "leaving")
    rows = [[*list(member.values())[:3], "yes" if member["exit_at"] else ""] for member in found["validators"]]
    emit({}, False, _summary(found))
    table("Parameters, for rounds that open from now on", ("name", "value"), found["parameters"].items(), ("value",))
    table("Validators", columns, rows, ("stake", "weight"))


def collect(
    number: Annotated[int, typer.Argument(metavar="ROUND", min=1, help="A finalised round.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """Record every score of a round that forfeits its deposit, and pay out the owner's credit."""
    from validator.actions.connect import open_wallet
    from validator.actions.settle import collect as collect_forfeited

    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract, content=content))
    done = collect_forfeited(wallet, number)
    answer = {
        "round": done.round,
        "recorded": list(done.recorded),
        "passed_over": done.passed_over,
        "amount": done.amount,
        "owner": done.owner,
        "withdrawn": done.withdrawn,
    }
    words = [
        f"round {done.round}: {len(done.recorded)} deposits forfeited, {done.amount} wei",
        *(f"contribution {id_} passed over: {reason}" for id_, reason in done.passed_over.items()),
        f"{done.withdrawn} wei paid to {done.owner}",
    ]
    emit(answer, as_json, words)


def set_parameters(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="TOML file of what is to change.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    as_json: Json = False,
) -> None:
    """Change parameters, for rounds that open from now on; those that the file does not name stay as they are."""
    from validator.actions.connect import open_wallet
    from validator.actions.found import read_parameters
    from validator.actions.steward import set_parameters as set_all

    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract))
    changes = set_all(wallet, read_parameters(file, wallet.contracts.dao.parameters()))
    answer = {name: {"old": old, "new": new} for name, (old, new) in changes.items()}
    emit(answer, as_json, [f"{name}: {old} -> {new}" for name, (old, new) in changes.items()])


def pause(home: Home = None, rpc: Rpc = None, contract: Contract = None) -> None:
    """Stop new submissions, and nothing else: rounds, claims and deposits go on."""
    _pause(home, rpc, contract, paused=True)
    typer.echo("submissions are stopped")


def unpause(home: Home = None, rpc: Rpc = None, contract: Contract = None) -> None:
    """Take submissions again."""
    _pause(home, rpc, contract, paused=False)
    typer.echo("submissions are taken")


def mint(
    account: Annotated[str, typer.Argument(metavar="ADDRESS", help="Who gets the tokens.")],
    amount: Annotated[int, typer.Argument(min=1, max=MOST_UNITS, help="Base units.")],
    token: Annotated[Coin, typer.Option(help="Which of the DAO's tokens.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
) -> None:
    """Make tokens out of nothing: for development tokens (`dao init --dev-tokens`) only."""
    from validator.actions.connect import open_wallet
    from validator.actions.steward import mint as mint_tokens

    account = checked_address(account)
    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract))
    place = wallet.deployment.stake_token if token is Coin.STAKE else wallet.deployment.reward_token
    mint_tokens(wallet, place, account, amount)
    typer.echo(f"{amount} units of the {token} token made for {account}")


def _pause(home: Path | None, rpc: str | None, contract: str | None, *, paused: bool) -> None:
    from validator.actions.connect import open_wallet
    from validator.actions.steward import pause as set_paused

    set_paused(open_wallet(settings_for(home, rpc=rpc, contract=contract)), paused=paused)


def _summary(found: dict[str, Any]) -> list[str]:
    manifest, key, pool = found["manifest"], found["key"], found["pool"]
    return [
        f"owner: {found['owner']}",
        f"submissions: {'stopped' if found['paused'] else 'taken'}",
        f"manifest: version {manifest['version']}, {manifest['digest'] or 'none yet'}",
        f"key epoch: {key['epoch']}, {key['public_key'] or 'none yet'}",
        f"round: {found['round']['number']}, {found['round']['phase']}",
        "pool: " + ", ".join(f"{name.replace('_', ' ')} {amount}" for name, amount in pool.items()),
    ]
