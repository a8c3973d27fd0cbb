"""Which journal of a home its sender writes to. Nonces belong to the key, so there must only ever be one.

It is `journal.sqlite` while the home follows one DAO, and `transactions.sqlite` from the first time on that it follows
several; what is under way then goes along.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import structlog

from validator.errors import ValidatorError
from validator.journal import Journal
from validator.journal.intents import Intents
from validator.settings import Settings

log = structlog.get_logger("connect")

MAIN, SHARED = "journal.sqlite", "transactions.sqlite"
_UNSETTLED = "SELECT count(*) FROM intents WHERE outcome IS NULL"


class JournalUnusable(ValidatorError):
    """A journal of this home cannot be opened or read."""


def open_file(path: Path) -> Journal:
    """The journal at `path`, made if there is none."""
    try:
        return Journal(path)
    except sqlite3.Error as error:
        raise JournalUnusable(f"the journal {path} cannot be used ({error}): restore it from a backup") from None


def shared_transactions(settings: Settings, *, create: bool = False) -> Journal | None:
    """The journal of the sender that several DAOs share; None if this home has always followed one."""
    path = settings.path(SHARED)
    if not path.exists() and not create:
        return None
    shared = open_file(path)
    main = settings.path(MAIN)
    waiting = peek(main, _UNSETTLED)
    if waiting and waiting[0][0]:
        source = open_file(main)
        try:
            count = Intents(shared).adopt(Intents(source), about(main) or "before")
        finally:
            source.close()
        log.info("transactions under way go along to the shared journal", count=count)
    return shared


def about(path: Path) -> str:
    """The contract that a journal is about, in lower case; "" if there is none."""
    rows = peek(path, "SELECT contract FROM about")
    return str(rows[0][0]) if rows else ""


def peek(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a journal that another process may have open; none if there is no such file. Disturbs nobody.

    Raises JournalUnusable for a file that is no journal.
    """
    if not path.exists():
        return []
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise JournalUnusable(f"the journal {path} cannot be read ({error}): restore it from a backup") from None
