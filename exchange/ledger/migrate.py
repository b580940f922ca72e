"""Bring a database to the schema that this build writes: plain SQL files, each applied once.

A file `NNNN_words.sql` is applied in one transaction together with its row in `curb.migrations`, in
order of number, under an advisory lock, so that any number of processes may start at once. A file
is never changed after it was released: its checksum is in the row, and a difference is refused.
"""

import hashlib
from importlib.resources import files
from typing import Final, NamedTuple

from psycopg import Connection

# Any number, the same in every build: "curb" in ASCII.
_LOCK: Final = 0x63757262

_HOME: Final = """
CREATE SCHEMA IF NOT EXISTS curb;
CREATE TABLE IF NOT EXISTS curb.migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


class Migration(NamedTuple):
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The checksum that is kept of it."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class MigrationRefused(Exception):
    """The database was made by files that are not this build's."""


def migrations() -> list[Migration]:
    """Return this build's files in order."""
    found = []
    for file in files("exchange.ledger").joinpath("migrations").iterdir():
        number, _, words = file.name.removesuffix(".sql").partition("_")
        if file.name.endswith(".sql") and number.isdecimal():
            found.append(Migration(int(number), words, file.read_text("utf-8")))
    return sorted(found)


def migrate(connection: Connection, wanted: list[Migration] | None = None) -> int:
    """Apply what is missing and return how many files that were.

    Raises MigrationRefused for a database of a newer build, or made by another text of a file;
    psycopg.Error as the server does. What one file does is done whole or not at all.
    """
    applied = 0
    for migration in migrations() if wanted is None else wanted:
        with connection.transaction():
            applied += _apply(connection, migration)
    newest = max((each.number for each in (wanted or migrations())), default=0)
    with connection.transaction():
        row = connection.execute("SELECT max(number) FROM curb.migrations").fetchone()
    if row is not None and row[0] is not None and row[0] > newest:
        raise MigrationRefused(
            f"the database is at migration {row[0]}, this build knows {newest}: use the newer build"
        )
    return applied


def _apply(connection: Connection, migration: Migration) -> int:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    connection.execute(_HOME)
    row = connection.execute(
        "SELECT sha256 FROM curb.migrations WHERE number = %s", (migration.number,)
    ).fetchone()
    if row is not None:
        if row[0] != migration.sha256:
            raise MigrationRefused(
                f"migration {migration.number} ({migration.name}) was applied with another text: "
                "the file must never change, add a new one"
            )
        return 0
    # The text is this package's own file, never anything that came from outside.
    connection.execute(migration.sql)
    connection.execute(
        "INSERT INTO curb.migrations (number, name, sha256) VALUES (%s, %s, %s)",
        (migration.number, migration.name, migration.sha256),
    )
    return 1
