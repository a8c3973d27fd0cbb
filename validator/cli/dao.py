"""`validator dao`: what the steward does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from validator.cli.common import MOST_UNITS, Content, Contract, Home, Json, Rpc, checked_address, emit, settings_for
from validator.cli.keys import Light

app = typer.Typer(help="Found and run a data DAO.", no_args_is_help=True)
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Operator address.")]


@app.command("init")
def init(
    home: Home = None,
    rpc: Rpc = None,
    content: Content = None,
    parameters: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="TOML file that changes default parameters.")
    ] = None,
    stake_token: Annotated[str | None, typer.Option(help="ERC-20 that validators stake.")] = None,
    reward_token: Annotated[str | None, typer.Option(help="ERC-20 that contributors are paid in.")] = None,
    dev_tokens: Annotated[bool, typer.Option(help="Deploy tokens that anyone can mint: demonstrations only.")] = False,
    light: Light = False,
    as_json: Json = False,
) -> None:
    """Deploy the contracts from this home's account, publish the first key epoch, and print the addresses."""
    from dataclasses import asdict

    from validator.actions.connect import finality_of
    from validator.actions.found import found, read_parameters
    from validator.actions.steward import StewardError, rotate_key
    from validator.errors import ValidatorError

    tokens = _tokens(stake_token, reward_token, dev_tokens)
    settings = settings_for(home, rpc=rpc, content=content)
    wallet = found(settings, read_parameters(parameters), tokens, finality_of(settings))
    try:
        rotate_key(wallet, settings, light=light)
    except ValidatorError as error:
        rounds = wallet.deployment.rounds
        raise StewardError(
            f"the contracts are deployed, the key epoch is not published ({error}): go on with "
            f"`validator dao rotate-key --contract {rounds}`"
        ) from None
    emit(asdict(wallet.deployment), as_json)


@app.command("publish")
def publish(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="manifest.toml and three safetensors.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    light: Light = False,
    as_json: Json = False,
) -> None:
    """Publish the next manifest: weights, sealed queries and anchor, and the rules. Holds from the next round on."""
    from validator.actions.connect import open_wallet
    from validator.actions.found import read_substance, record_key
    from validator.actions.steward import publish as publish_manifest

    settings = settings_for(home, rpc=rpc, contract=contract, content=content)
    manifest = publish_manifest(open_wallet(settings), read_substance(folder), record_key(settings, light=light))
    emit({"name": manifest.name, "manifest": manifest.digest().hex()}, as_json)


@app.command("rotate-key")
def rotate(
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    light: Light = False,
    no_grants: Annotated[bool, typer.Option("--no-grants", help="Publish the key, grant it to nobody yet.")] = False,
    as_json: Json = False,
) -> None:
    """Publish a new key epoch and grant it to every validator that is not leaving; exits 1 if one did not get it."""
    from validator.actions.connect import open_wallet
    from validator.actions.steward import StewardError, grant_all, rotate_key

    settings = settings_for(home, rpc=rpc, contract=contract)
    wallet = open_wallet(settings)
    epoch = rotate_key(wallet, settings, light=light)
    granted, refused = ([], {}) if no_grants else grant_all(wallet, settings, epoch)
    words = [f"key epoch {epoch} is published", *(f"granted to {operator}" for operator in granted)]
    emit({"epoch": epoch, "granted": granted, "refused": refused}, as_json, words)
    if refused:
        who = "; ".join(f"{operator}: {reason}" for operator, reason in refused.items())
        raise StewardError(
            f"not granted to all ({who}): grant again with `validator dao grant ADDRESS --epoch {epoch}`"
        )


@app.command("admit")
def admit(
    operator: Address,
    revoke: Annotated[bool, typer.Option("--revoke", help="No longer let it join; one that has joined stays.")] = False,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
) -> None:
    """Let an operator join the validator set."""
    from validator.actions.connect import open_wallet
    from validator.actions.steward import admit as admit_operator

    operator = checked_address(operator)
    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract))
    admit_operator(wallet, operator, allowed=not revoke)
    typer.echo(f"{operator} may {'no longer join' if revoke else 'join'}")


@app.command("grant")
def grant(
    operator: Address,
    hpke_key: Annotated[
        str | None,
        typer.Option(help="HPKE key, 0x and 64 hex digits; by default the one that the validator joined with."),
    ] = None,
    epoch: Annotated[int | None, typer.Option(min=1, help="Key epoch; by default all.")] = None,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
) -> None:
    """Hand key epochs to a validator or an auditor, who can then open what was sealed for them."""
    from validator.actions.connect import open_wallet
    from validator.actions.steward import grant as grant_key
    from validator.actions.steward import joined_key

    operator, given = checked_address(operator), None if hpke_key is None else _hex32(hpke_key)
    settings = settings_for(home, rpc=rpc, contract=contract)
    wallet = open_wallet(settings)
    key = given or joined_key(wallet, operator)
    epochs = [epoch] if epoch else list(range(1, wallet.contracts.dao.key_epoch() + 1))
    grant_key(wallet, settings, operator, key, epochs)
    typer.echo(f"{operator} was granted key epoch {', '.join(map(str, epochs))}")


@app.command("fund")
def fund(
    amount: Annotated[int, typer.Argument(min=1, max=MOST_UNITS, help="Base units of the reward token.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
) -> None:
    """Put reward tokens of this account into the pool."""
    from validator.actions.connect import open_wallet
    from validator.actions.steward import fund as fund_pool

    fund_pool(open_wallet(settings_for(home, rpc=rpc, contract=contract)), amount)
    typer.echo(f"{amount} units are in the pool")


def _tokens(stake: str | None, reward: str | None, dev_tokens: bool) -> tuple[str, str] | None:
    """Addresses of stake and reward token, or None for tokens of our own."""
    if dev_tokens and stake is None and reward is None:
        return None
    if dev_tokens or stake is None or reward is None:
        raise typer.BadParameter("give --stake-token and --reward-token, or --dev-tokens")
    return checked_address(stake), checked_address(reward)


def _hex32(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise typer.BadParameter("an HPKE key is 0x and 64 hex digits")
    return value
