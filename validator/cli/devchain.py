"""`validator devchain`: the embedded chain."""

from __future__ import annotations

from typing import Annotated

import typer

from validator.settings import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("devchain")(devchain)


def devchain(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8545,
    block_seconds: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds between empty blocks.")] = 0.5,
) -> None:
    """Run an Ethereum chain in memory, on loopback, with well-known funded keys. For trying things out only."""
    from validator.chain.devchain import DevChain, serve

    def announce(chain: DevChain) -> None:
        typer.echo(f"chain {chain.chain_id} at {chain.url}; its keys are public, never send real value to them:")
        for key in chain.keys:
            typer.echo(f"  {key.address}  0x{key.secret.hex()}")

    try:
        serve(port, block_seconds=block_seconds, ready=announce)
    except OSError as error:
        raise SettingsError(f"port {port} of 127.0.0.1: {error.strerror}; choose another with --port") from None
