"""Write the ledger: some batches of events, one transaction, exactly once.

The transaction that writes rows also moves `curb.progress` on, and only if it stands where this
writer believes it does. So whatever is cut off, on whichever side, either all of it is there or
nothing, and a second writer cannot add a row twice.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from numpy.typing import NDArray
from psycopg import Connection, sql

from exchange.follower.event_files import Batch, NameRow
from exchange.ledger import accounts as ac
from exchange.ledger.copying import stream
from exchange.ledger.migrate import migrate
from exchange.ledger.rows import (
    DISPUTES,
    FILLS,
    MEMBER_KINDS,
    SETTLEMENTS,
    LedgerRows,
    Posting,
    Transfer,
    ledger_rows,
)
from schemas import lists
from schemas.records import EVENT_TYPES

Connect = Callable[[], Connection]

# Closed lists as whoever reads with SQL needs them; a build that knows more adds the rest.
WORDS: Final = {
    "hardware": lists.HARDWARE,
    "precision": lists.PRECISIONS,
    "contract": lists.CONTRACTS,
    "tier": lists.TIERS,
    "settled_by": lists.SETTLED_BY,
    "decline": lists.DECLINE_REASONS,
    "event": EVENT_TYPES,
    "band_ms": tuple(map(str, lists.BANDS_MS)),
}
_DATE_ZERO: Final = dt.date(2000, 1, 1)  # from which PostgreSQL counts days


class Progress(NamedTuple):
    """Up to where the ledger is written: a journal position and the number of the next command."""

    position: int
    next_seq: int


class ProgressMoved(Exception):
    """Somebody else writes this ledger. Nothing was written; read the progress again."""


class LedgerWriter:
    """One connection that writes one market's ledger. Raises psycopg.Error as the server does.

    After any error the writer is of no more use: close it, and make another, which reads the
    progress from the database. `progress` is what is committed.
    """

    def __init__(self, connect: Connect, market: int) -> None:
        self._market = market
        self._connection = connect()
        try:
            migrate(self._connection)
            with self._connection.transaction():
                self._prepare()
                self.progress = self._read_progress()
        except BaseException:
            self._connection.close()
            raise
        self._days: set[int] = set()

    def write(self, batches: Sequence[Batch]) -> Progress:
        """Write batches that follow one another; return how far the ledger is then.

        What they hold of commands before `progress` is passed over, so a batch may begin earlier.
        """
        fresh = [batch.since(self.progress.next_seq) for batch in batches]
        rows = ledger_rows(self._market, fresh)
        reached = Progress(
            max(self.progress.position, batches[-1].end),
            max(self.progress.next_seq, batches[-1].next_seq),
        )
        with self._connection.transaction():
            self._move(reached)
            self._names(rows.names)
            self._make_days(rows.days)
            for table, copied in (
                (FILLS, rows.fills),
                (SETTLEMENTS, rows.settlements),
                (DISPUTES, rows.disputes),
            ):
                self._copy(table.statement, copied)
            self._transfers(rows.transfers)
            self._money(rows)
        self._days.update(rows.days)
        self.progress = reached
        return reached

    def close(self) -> None:
        """Close the connection; what was not committed is rolled back."""
        self._connection.close()

    def _prepare(self) -> None:
        """Write what a new market needs, and the words of the closed lists; nothing twice."""
        words = [
            (name, number, word)
            for name, entries in WORDS.items()
            for number, word in enumerate(entries)
        ]
        self._connection.execute(
            "INSERT INTO curb.words SELECT * FROM unnest(%s::text[], %s::smallint[], %s::text[]) "
            "ON CONFLICT DO NOTHING",
            [list(column) for column in zip(*words, strict=True)],
        )
        self._accounts([(account, 0) for account in ac.OF_THE_EXCHANGE])
        self._connection.execute(
            "INSERT INTO curb.progress VALUES (%s, 0, 1) ON CONFLICT DO NOTHING", (self._market,)
        )

    def _read_progress(self) -> Progress:
        row = self._connection.execute(
            "SELECT position, next_seq FROM curb.progress WHERE market = %s", (self._market,)
        ).fetchone()
        assert row is not None
        return Progress(*row)

    def _move(self, reached: Progress) -> None:
        moved = self._connection.execute(
            "UPDATE curb.progress SET position = %s, next_seq = %s "
            "WHERE market = %s AND position = %s AND next_seq = %s",
            (*reached, self._market, *self.progress),
        )
        if moved.rowcount != 1:
            raise ProgressMoved(f"the ledger is no longer at position {self.progress.position}")

    def _names(self, names: list[NameRow]) -> None:
        members = [row for row in names if row.kind in MEMBER_KINDS]
        if members:
            self._execute_many(
                "INSERT INTO curb.participants VALUES (%s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (market, role, handle) DO UPDATE SET name = excluded.name, "
                "owner_group = excluded.owner_group, seq = excluded.seq",
                [(self._market, r.kind, r.handle, r.name, r.group, r.seq) for r in members],
            )
            self._accounts([(account, row.handle) for row in members for account in _own(row)])
        others = [row for row in names if row.kind not in MEMBER_KINDS]
        if others:
            self._execute_many(
                "INSERT INTO curb.names VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (market, kind, handle) DO UPDATE SET name = excluded.name, "
                "owner = excluded.owner, country = excluded.country, tier = excluded.tier, "
                "seq = excluded.seq",
                [
                    (self._market, r.kind, r.handle, r.name, r.owner, r.country, r.tier, r.seq)
                    for r in others
                ],
            )

    def _accounts(self, wanted: list[tuple[int, int]]) -> None:
        """Open accounts, given with their members' handles, that are not open yet."""
        self._execute_many(
            "INSERT INTO curb.accounts VALUES (%s, %s, %s, %s, 0) ON CONFLICT DO NOTHING",
            [(self._market, account, ac.kind_of(account), handle) for account, handle in wanted],
        )

    def _make_days(self, days: list[int]) -> None:
        """Make the partitions of days that this connection has not seen."""
        for day in days:
            if day in self._days:
                continue
            for table in ("fills", "settlements"):
                self._connection.execute(_partition(table, day))

    def _copy(self, statement: str, rows: NDArray[Any]) -> None:
        if len(rows):
            with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(stream(rows))

    def _transfers(self, transfers: list[Transfer]) -> None:
        if transfers:
            self._execute_many(
                "INSERT INTO curb.transfers VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [(self._market, *transfer) for transfer in transfers],
            )

    def _money(self, rows: LedgerRows) -> None:
        if not rows.postings:
            return
        columns = [list(column) for column in zip(*rows.postings, strict=True)]
        assert len(columns) == len(Posting._fields)
        self._connection.execute(
            "INSERT INTO curb.postings (market, span, account, counter, amount) "
            "SELECT %s, * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::numeric[]) "
            "ON CONFLICT (market, span, account, counter) "
            "DO UPDATE SET amount = postings.amount + excluded.amount",
            (self._market, *columns),
        )
        accounts, gains = (list(column) for column in zip(*rows.balances, strict=True))
        changed = self._connection.execute(
            "UPDATE curb.accounts a SET balance = a.balance + g.gain "
            "FROM unnest(%s::bigint[], %s::numeric[]) AS g (account, gain) "
            "WHERE a.market = %s AND a.account = g.account",
            (accounts, gains, self._market),
        )
        assert changed.rowcount == len(accounts)  # every account is opened with its member

    def _execute_many(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(statement, rows)


def _own(row: NameRow) -> list[int]:
    kinds = (ac.AVAILABLE, ac.HELD) if row.kind == "buyer" else (ac.BALANCE,)
    return [row.handle * ac.STEP + kind for kind in kinds]


def _partition(table: str, day: int) -> sql.Composed:
    first = _DATE_ZERO + dt.timedelta(days=day)
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})"
    ).format(
        sql.Identifier("curb", f"{table}_{first:%Y%m%d}"),
        sql.Identifier("curb", table),
        sql.Literal(first),
        sql.Literal(first + dt.timedelta(days=1)),
    )


def connector(dsn: str) -> Connect:
    """Return what opens a connection for the ledger: its name is seen in the server's own views."""

    def connect() -> Connection:
        return psycopg.connect(
            dsn, connect_timeout=5, application_name="curb ledger", autocommit=True
        )

    return connect
