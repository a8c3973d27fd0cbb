"""`validator web`."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from validator.cli.common import Content, Contract, Home, Rpc, settings_for


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("web")(web)


def web(
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    relay: Annotated[
        bool | None, typer.Option("--relay/--no-relay", help="Take sealed envelopes from the page, and pin them.")
    ] = None,
) -> None:
    """Serve the explorer and its JSON API. It holds no key, and takes nothing but sealed envelopes, if told to."""
    from validator.actions.connect import open_view
    from validator.web.serve import serve

    settings = settings_for(home, rpc=rpc, contract=contract, content=content, host=host, port=port, relay=relay)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # handed on by the server once it has stopped as asked
    serve(open_view(settings), settings)
