"""`validator init`: from nothing to a home that `validator run` accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, settings_for
from validator.cli.keys import Light
from validator.cli.preflight import ask as ask_everything
from validator.settings import Settings

Option = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other option, as it is in the file. May be repeated."),
]
Password = Annotated[
    Path | None, typer.Option(help="File with the password of the keys, instead of a random one in the home.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    password_file: Password = None,
    option: Option = None,
    ask: Annotated[
        bool, typer.Option("--ask-password", help="Ask for a password and keep it nowhere; `run` asks for it too.")
    ] = False,
    light: Light = False,
    as_json: Json = False,
) -> None:
    """Make a home: a commented configuration with every option, and keys; then check it as `validator check` does.

    What is there already is left as it is, and never overwritten. Exits 0 once the home is made, whatever the check
    finds: that is for you to mend.
    """
    from validator.actions.init import init as make

    given = {"rpc": rpc, "contract": contract, "content": content, "password_file": password_file, **_options(option)}
    given = {name: value for name, value in given.items() if value is not None}
    made = make(settings_for(home, **given), bool(given), light=light, ask=ask)
    if not as_json:
        keys, left = made.keys, "was there already, and is left as it was"
        typer.echo(f"configuration: {made.config}{'' if made.new_config else f' {left}'}")
        typer.echo(f"account: {keys.address}{'' if made.new_keys else f' {left}'}")
        typer.echo(f"HPKE key: 0x{keys.hpke_key.hex()}")
        typer.echo("save the folder keys and the password where this machine's fire does not reach; now the check:")
    found = ask_everything(settings_for(home), quiet=as_json)  # as every later command will read it
    if as_json:
        answer = {
            "config": str(made.config),
            "new_config": made.new_config,
            "new_keys": made.new_keys,
            "address": made.keys.address,
            "hpke_key": "0x" + made.keys.hpke_key.hex(),
            "check": found,
        }
        typer.echo(json.dumps(answer, sort_keys=True))
    elif not found["ok"]:
        typer.echo("the home is made; mend what failed, then `validator check` again, then `validator run`")


def _options(words: list[str] | None) -> dict[str, str]:
    """`--set` options by name."""
    found: dict[str, str] = {}
    for word in words or []:
        name, sign, value = word.partition("=")
        if not sign or name not in Settings.model_fields or name == "home":
            raise typer.BadParameter(f"--set {word}: an option of the configuration file is wanted, as NAME=VALUE")
        found[name] = value
    return found
