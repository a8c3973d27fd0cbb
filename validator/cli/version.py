"""`validator version`: what this installation is."""

from __future__ import annotations

import typer

from validator.cli.common import Json, emit


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("version")(version)


def version(as_json: Json = False) -> None:
    """This release, and the numbers that others must agree with: scorer, journal, documents. Needs no home."""
    from validator.actions.versions import release

    found = release()
    words = [
        f"poc-validator {found.program}",
        f"scores manifests that ask for exact {found.exact}, influence {found.influence}, rounds {found.rounds}",
        f"journal schema {found.schema}; reads and writes {', '.join(sorted(found.protocol.values()))}",
        f"Python {found.python}, torch {found.torch}",
    ]
    emit(found.to_dict(), as_json, words)
