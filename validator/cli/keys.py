"""`validator keys`: create keys, show their public halves, carry the signing history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from validator.cli.common import Contract, Home, Json, Rpc, emit, settings_for

app = typer.Typer(help="Keys and signing history of this home.", no_args_is_help=True)
Light = Annotated[bool, typer.Option("--light", help="Weak key derivation: demonstration networks only.")]


@app.command("create")
def create(
    home: Home = None,
    light: Light = False,
    ask: Annotated[
        bool, typer.Option("--ask-password", help="Ask for a password and keep it nowhere; `run` asks for it too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create account and HPKE keys (encrypted, mode 0600) and an empty signing history."""
    from validator.actions.home import create_keys

    settings = settings_for(home)
    keys = create_keys(settings, light=light, ask=ask)
    emit({"address": keys.address, "hpke_key": "0x" + keys.hpke_key.hex(), "home": str(settings.home)}, as_json)


@app.command("show")
def show(home: Home = None, as_json: Json = False) -> None:
    """The public halves: account address and HPKE key. Needs the password."""
    from validator.actions.home import identifiers

    keys = identifiers(settings_for(home))
    answer = {"address": keys.address, "hpke_key": "0x" + keys.hpke_key.hex()}
    if keys.signing_address != keys.address:
        answer["signing_address"] = keys.signing_address
    emit(answer, as_json)


@app.command("signing-create")
def signing_create(home: Home = None, light: Light = False, as_json: Json = False) -> None:
    """Create a key of its own for attestations: an operator that left needs a new one to join again."""
    from validator.actions.home import create_signing_key

    address = create_signing_key(settings_for(home), light=light)
    emit({"signing_address": address}, as_json, [f"{address} signs attestations from the next `validator join` on"])


@app.command("protection-create")
def protection_create(home: Home = None) -> None:
    """An empty signing history, for a key that has never signed."""
    from validator.actions.home import PROTECTION
    from validator.journal import SigningProtection

    SigningProtection(settings_for(home).path(PROTECTION), create=True).close()


@app.command("protection-export")
def protection_export(home: Home = None) -> None:
    """Print the signing history as JSON, to be imported where the key goes next. Stop the validator first."""
    from validator.actions.home import PROTECTION
    from validator.journal import SigningProtection

    typer.echo(SigningProtection(settings_for(home).path(PROTECTION)).export())


@app.command("protection-import")
def protection_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)], home: Home = None
) -> None:
    """Add an exported signing history to this home's."""
    from validator.actions.home import import_history

    typer.echo(f"{import_history(settings_for(home), file)} signatures imported")


@app.command("protection-rebuild")
def protection_rebuild(
    sure: Annotated[
        bool, typer.Option("--no-other-machine", help="Nothing else signs with this key: I have made sure of it.")
    ] = False,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    as_json: Json = False,
) -> None:
    """Rebuild a lost signing history from the chain. Nothing is signed for attempts that are open now."""
    from validator.actions.protection import rebuild_history

    if not sure:
        raise typer.BadParameter(
            "a second machine with this key and another history costs the stake: stop it for ever, then add "
            "--no-other-machine; a backup or an export is better than this, if there is one"
        )
    made = rebuild_history(settings_for(home, rpc=rpc, contract=contract))
    words = [
        f"{made.proven} attestations found on the chain",
        f"{made.blocked} attempts are open or not settled: nothing will be signed for them",
    ]
    emit({"proven": made.proven, "blocked": made.blocked}, as_json, words)
