"""Writes tests/journal/schemas/N.sql for the schema N of today: the journal of a validator that has played a round.

Usage: python -m tests.journal.make_schema. Run once for each new migration, before a release; what an earlier one wrote
is never written anew, because it is what operators have on their disks.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

from tests.support import CLEAN, NOISE, World
from validator.journal.database import schema

FOLDER = Path(__file__).with_name("schemas")


def dump(db: sqlite3.Connection) -> str:
    """The database as SQL, its schema number included."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    return "\n".join([*db.iterdump(), f"PRAGMA user_version = {version};"]) + "\n"


def main() -> int:
    target = FOLDER / f"{schema()}.sql"
    if target.exists():
        sys.stderr.write(f"error: {target} exists; a schema that was released does not change\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), validators=1, capacity=2)
        try:
            world.contribute(CLEAN, NOISE)
            node = world.node(world.names[0])
            world.play([node], lambda: 2 in node.chronicle.rounds() and node.chronicle.rounds()[1].final is not None)
            node.journal.set_endpoint_range("http://127.0.0.1:8545", 512, 3)
            node.close()
        finally:
            world.close()
        db = sqlite3.connect(Path(folder) / world.names[0] / "journal.sqlite")
        target.write_text(dump(db))
        db.close()
    sys.stdout.write(f"{target} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
