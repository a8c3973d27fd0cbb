"""`validator backup` and `validator restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from validator.cli.common import Home, Json, emit, settings_for


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    target: Annotated[Path, typer.Argument(metavar="DEST", help="A folder that does not exist yet.")],
    home: Home = None,
    keys: Annotated[
        bool, typer.Option("--with-keys", help="Also the encrypted keystores; never the password.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy journals, signing history and configuration into a new folder; the node may run. Needs no password."""
    from validator.actions.backup import backup as make

    made = make(settings_for(home), target, keys=keys)
    answer = {
        "folder": str(made.folder),
        "made": made.index.made,
        "files": sorted(made.index.names()),
        "size": made.size,
        "keys": made.keys,
        "store": str(made.store) if made.store is not None else None,
    }
    apart = "the password" if made.keys else "the folder keys and the password"
    words = [
        f"{made.folder}: {', '.join(sorted(made.index.names()))} ({made.size / 2**20:.1f} MiB)",
        f"NOT in it: {apart}. Without them it is of no use: keep them elsewhere, once for all",
    ]
    if made.store is not None:
        words.append(f"NOT in it: content in {made.store}; it is fetched again from whoever else holds it")
    emit(answer, as_json, words)


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", exists=True, file_okay=False, help="Folder of a backup.")],
    sure: Annotated[
        bool, typer.Option("--no-other-machine", help="Nothing else signs with these keys: I have made sure of it.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Put a backup into a home that lacks what it holds.

    The signing history is completed from the chain, for what was signed since; nothing is signed for attempts that are
    open now and of which that is not known.
    """
    from validator.actions.restore import restore as put_back

    done = put_back(settings_for(home), source, alone=sure)
    answer = {
        "files": list(done.files),
        "made": done.made,
        "history": None if done.history is None else {"proven": done.history.proven, "blocked": done.history.blocked},
    }
    words = [f"restored from the backup of {done.made}: {', '.join(done.files)}"]
    if done.history is not None:
        words += [
            f"signing history: that of the backup, and {done.history.proven} attestations found on the chain",
            f"{done.history.blocked} attempts are open or not settled: nothing will be signed for them",
        ]
    emit(answer, as_json, [*words, "next: validator check, then validator run"])
