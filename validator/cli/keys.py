"""`validator keys`: create keys, show their public halves, carry the signing history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from validator.cli.common import Home, Json, emit, settings_for

app = typer.Typer(help="Keys and signing history of this home.", no_args_is_help=True)
Light = Annotated[bool, typer.Option("--light", help="Weak key derivation: demonstration networks only.")]


@app.command("create")
def create(home: Home = None, light: Light = False, as_json: Json = False) -> None:
    """Create account and HPKE keys (encrypted, mode 0600) and an empty signing history."""
    from validator.actions.home import create_keys

    settings = settings_for(home)
    keys = create_keys(settings, light=light)
    emit({"address": keys.address, "hpke_key": "0x" + keys.hpke_key.hex(), "home": str(settings.home)}, as_json)


@app.command("show")
def show(home: Home = None, as_json: Json = False) -> None:
    """The public halves: account address and HPKE key. Needs the password."""
    from validator.actions.home import identifiers

    keys = identifiers(settings_for(home))
    emit({"address": keys.address, "hpke_key": "0x" + keys.hpke_key.hex()}, as_json)


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
