"""`validator restore`: a home from a backup, without ever permitting a second signature.

A backup is old: its node may have signed since. So its signing history is not simply put back. It is completed from the
chain, and what is still open there and not known to be signed is blocked (see `validator.stages.history`). That needs
the keys, an endpoint and the operator's word that no other machine signs; until it is done there is no signing history,
and no node starts without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from validator.actions.backup_folder import HISTORY, Backup, BackupError, copy, read_backup, sync
from validator.actions.home import HPKE, PROTECTION
from validator.actions.protection import Rebuilt, rebuild_history
from validator.errors import ValidatorError
from validator.journal.database import schema
from validator.settings import Settings, load_settings

MARKER = "restoring"
"""Stands in a home while it is being restored, and names the backup: whoever was interrupted may go on with it."""
_PART = ".restoring"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, and what the signing history became: None where the backup has none."""

    files: tuple[str, ...]
    made: str
    history: Rebuilt | None


def restore(settings: Settings, source: Path, *, alone: bool) -> Restored:
    """Put the backup in `source` into this home. `alone`: no other machine signs with its keys.

    All of the backup is verified before anything is written, and nothing that is there is overwritten. Killed or failed
    in between, the same call goes on. Raises BackupError.
    """
    home = settings.home.expanduser()
    backup = read_backup(source.expanduser())
    _may(home, backup, alone)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / MARKER).write_text(backup.digest)
    files = [file for file in backup.index.files if file.name != HISTORY]
    for file in files:
        target = home / file.name
        target.parent.mkdir(exist_ok=True, mode=0o700)
        part = target.with_name(target.name + _PART)
        part.unlink(missing_ok=True)
        copy(backup, file, part)
        for log in ("-wal", "-shm"):  # of an attempt before this one
            target.with_name(target.name + log).unlink(missing_ok=True)
        part.replace(target)
        sync(target.parent)
    history = _history(home, backup) if HISTORY in backup.index.names() else None
    (home / MARKER).unlink()
    return Restored(tuple(file.name for file in files), backup.index.made, history)


def _may(home: Path, backup: Backup, alone: bool) -> None:
    """Everything that can be refused before anything is written."""
    names = backup.index.names()
    if backup.index.schema > schema():
        raise BackupError(
            f"the backup was made by a newer release ({backup.index.program}, schema {backup.index.schema}, here "
            f"{schema()}): install that one"
        )
    if HISTORY in names and not alone:
        raise BackupError(
            "the backup is of keys that sign: a second machine that signs with them costs the stake. Make sure that "
            "the node it is of is stopped for ever, then add --no-other-machine"
        )
    if HISTORY in names and HPKE not in names and not (home / HPKE).exists():
        raise BackupError(
            f"the keys are not in this backup: put the folder keys and the password back into {home} first, from where "
            "you saved them"
        )
    marker = home / MARKER
    if marker.exists() and marker.read_text() == backup.digest:
        if (home / PROTECTION).exists():
            raise BackupError(f"{home} was restored already; remove {marker} if a node has run there since")
        return
    taken = [name for name in sorted(names) if (home / _place(name)).exists()]
    taken += sorted(path.name for path in home.glob("*.sqlite-wal")) if not taken else []
    if taken:
        raise BackupError(f"{home / _place(taken[0])} exists already and is not overwritten; move it away first")


def _place(name: str) -> str:
    return PROTECTION if name == HISTORY else name


def _history(home: Path, backup: Backup) -> Rebuilt:
    """The signing history, completed from the chain; at its place only when it is whole."""
    document = next(file for file in backup.index.files if file.name == HISTORY)
    part = home / (HISTORY + _PART)
    part.unlink(missing_ok=True)
    try:
        copy(backup, document, part)
        return rebuild_history(load_settings(home), part.read_bytes())
    except ValidatorError as error:
        raise BackupError(
            f"all but the signing history is in place, and no node starts without it; mend this and give the same "
            f"command again: {error}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
