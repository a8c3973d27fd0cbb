"""`validator demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from validator.cli.common import Json, setup_logs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    as_json: Json = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides the split of the data and the crowd.")] = 0,
) -> None:
    """A whole data DAO on this machine: two rounds, an audit, and an explorer to look around."""
    import torch

    from validator.demo.run import run

    setup_logs(level="warning")
    torch.set_num_threads(1)
    run(seed, as_json)
