"""`validator keys import`: an account key that exists already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from validator.cli.common import Home, Json, emit, settings_for
from validator.cli.keys import Light


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_key)


def import_key(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Private key in hex, mode 0600.")
    ],
    home: Home = None,
    light: Light = False,
    as_json: Json = False,
) -> None:
    """Take an existing private key for this home's account (encrypted), with a new HPKE key beside it."""
    from validator.actions.keys_import import import_account

    settings = settings_for(home)
    keys = import_account(settings, file, light=light)
    answer = {"address": keys.address, "hpke_key": "0x" + keys.hpke_key.hex(), "home": str(settings.home)}
    words = [
        *(f"{name}: {value}" for name, value in answer.items()),
        f"delete {file} now, or keep it as safe as the key it holds",
        "before `validator run`: keys protection-import its signing history; protection-create if it has never signed",
    ]
    emit(answer, as_json, words)
