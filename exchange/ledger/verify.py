"""Compare what is in the database with what the journal says must be there.

    journal ──▶ the core again ──▶ Fold (plain definition) ──┐
                                                             ├─▶ what differs, in words
    PostgreSQL, one read-only view of it ────────────────────┘
Fills, settlements, disputes and transfers are compared as the journal is read, postings when their
span is complete, accounts, names and the core's own money at the end: memory does not grow with the
journal. The fold shares no line with what wrote the rows.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import Connection, sql

from exchange.follower.collect import Collector
from exchange.ledger.accounts import SPAN_BITS, STEP, kind_of
from exchange.ledger.fold import (
    DISPUTE_COLUMNS,
    FILL_COLUMNS,
    SETTLEMENT_COLUMNS,
    TRANSFER_COLUMNS,
    Fact,
    Fold,
    core_accounts,
)
from exchange.ledger.writer import Progress
from matching_core.market import Market
from matching_core.rows import rows as digest_rows

COLUMNS: Final = {
    "fills": FILL_COLUMNS,
    "settlements": SETTLEMENT_COLUMNS,
    "disputes": DISPUTE_COLUMNS,
    "transfers": TRANSFER_COLUMNS,
}
EVENTS_PER_COMPARISON: Final = 32_768
DIFFERENCES_MAX: Final = 20  # said; one wrong row is enough to know


class Difference(NamedTuple):
    """One thing that is not as it must be."""

    table: str
    what: str

    def __str__(self) -> str:
        return f"{self.table}: {self.what}"


class LedgerCheck:
    """Compares a ledger, as it stood when this was made, with a journal that is read past it.

    Call `seen` after every record up to `progress.position`, then `finish`.
    """

    def __init__(self, connection: Connection, market: int) -> None:
        self._connection = connection
        self._market = market
        self._fold = Fold()
        self._compared_seq = 1
        self._compared_span = 0
        self.differences: list[Difference] = []
        # One view of the database for all that follows, whatever is written meanwhile.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self.progress = read_progress(connection, market)

    def seen(self, collector: Collector) -> None:
        """Compare what the last records made happen, when it is enough to be worth a look."""
        if collector.event_count >= EVENTS_PER_COMPARISON:
            self._compare(collector)

    def finish(self, collector: Collector) -> list[Difference]:
        """Compare the rest and return all that differs (at most a screenful)."""
        self._compare(collector)
        self._spans(self._compared_seq >> SPAN_BITS)
        self._beyond()
        self._keyed(
            "accounts",
            ("account",),
            ("balance",),
            {(account,): (balance,) for account, balance in self._fold.accounts.items()},
        )
        self._keyed(
            "participants",
            ("role", "handle"),
            ("name", "owner_group", "seq"),
            dict(self._fold.participants),
        )
        self._keyed(
            "names",
            ("kind", "handle"),
            ("name", "owner", "country", "tier", "seq"),
            dict(self._fold.names),
        )
        if collector.next_seq != self.progress.next_seq:
            wanted = f"next_seq {collector.next_seq}, there is {self.progress.next_seq}"
            self._differs("progress", wanted)
        self._core(collector.market)
        self._sums()
        return self.differences

    def _compare(self, collector: Collector) -> None:
        batch = collector.take()
        self._fold.add(batch)
        for table, facts in self._fold.facts.items():
            self._facts(table, facts, batch.next_seq)
        self._fold.drop_facts()
        self._compared_seq = batch.next_seq
        self._spans((batch.next_seq >> SPAN_BITS) - 1)

    def _facts(self, table: str, facts: list[Fact], upto: int) -> None:
        columns = COLUMNS[table]
        query = sql.SQL(
            "SELECT {} FROM {} WHERE market = %s AND seq >= %s AND seq < %s ORDER BY seq{}"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier("curb", table),
            sql.SQL(", index" if "index" in columns else ""),
        )
        found = self._connection.execute(query, (self._market, self._compared_seq, upto)).fetchall()
        if found == facts:
            return
        wanted, there = set(facts), set(found)
        for row in sorted(wanted - there)[:DIFFERENCES_MAX]:
            self._differs(table, f"missing or other: {_say(columns, row)}")
        for row in sorted(there - wanted)[:DIFFERENCES_MAX]:
            self._differs(table, f"there, but not of the journal: {_say(columns, row)}")
        if wanted == there:
            self._differs(table, f"a row stands twice before command {upto}")

    def _spans(self, upto: int) -> None:
        """Compare the postings of all spans up to one that are not compared yet."""
        for span in range(self._compared_span, upto + 1):
            found = self._connection.execute(
                "SELECT account, counter, amount FROM curb.postings "
                "WHERE market = %s AND span = %s",
                (self._market, span),
            ).fetchall()
            there = {(account, counter): int(amount) for account, counter, amount in found}
            wanted = self._fold.postings.pop(span, {})
            for pair in sorted(wanted.keys() | there.keys()):
                if wanted.get(pair) != there.get(pair):
                    self._differs(
                        "postings",
                        f"span {span}, {_account(pair[0])} from {_account(pair[1])}: "
                        f"{there.get(pair)} n$, not {wanted.get(pair)}",
                    )
        self._compared_span = max(self._compared_span, upto + 1)

    def _beyond(self) -> None:
        """Find rows of commands that the ledger's position is before."""
        for table, column, first in (
            *((table, "seq", self.progress.next_seq) for table in COLUMNS),
            ("postings", "span", self._compared_span),
        ):
            query = sql.SQL("SELECT count(*) FROM {} WHERE market = %s AND {} >= %s").format(
                sql.Identifier("curb", table), sql.Identifier(column)
            )
            row = self._connection.execute(query, (self._market, first)).fetchone()
            if row is not None and row[0]:
                self._differs(table, f"{row[0]} rows beyond position {self.progress.position}")

    def _keyed(
        self, table: str, keys: tuple[str, ...], values: tuple[str, ...], wanted: dict[Any, Fact]
    ) -> None:
        query = sql.SQL("SELECT {} FROM {} WHERE market = %s").format(
            sql.SQL(", ").join(map(sql.Identifier, (*keys, *values))), sql.Identifier("curb", table)
        )
        found = self._connection.execute(query, (self._market,)).fetchall()
        there = {row[: len(keys)]: row[len(keys) :] for row in found}
        for key in sorted(wanted.keys() | there.keys()):
            if wanted.get(key) != there.get(key):
                self._differs(table, f"{key}: {there.get(key)}, not {wanted.get(key)}")

    def _core(self, market: Market) -> None:
        """Compare the accounts with the money that the core itself counts."""
        said = core_accounts(digest_rows(market.columns, market.names))
        found = self._connection.execute(
            "SELECT kind, member, balance_nusd FROM curb.balances WHERE market = %s",
            (self._market,),
        ).fetchall()
        there = {(kind, member): int(balance) for kind, member, balance in found}
        wanted = {
            (kind, member) if kind else (member, ""): amount
            for kind, amounts in said.items()
            for member, amount in amounts.items()
        }
        for key in sorted(wanted.keys() | there.keys()):
            if wanted.get(key) != there.get(key):
                self._differs(
                    "accounts", f"{key}: {there.get(key)}, the core has {wanted.get(key)}"
                )

    def _sums(self) -> None:
        for table, column in (("accounts", "balance"), ("postings", "amount")):
            query = sql.SQL("SELECT coalesce(sum({}), 0) FROM {} WHERE market = %s").format(
                sql.Identifier(column), sql.Identifier("curb", table)
            )
            row = self._connection.execute(query, (self._market,)).fetchone()
            if row is not None and row[0] != 0:
                self._differs(table, f"sum to {row[0]} n$ and not to zero")

    def _differs(self, table: str, what: str) -> None:
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(table, what))


def read_progress(connection: Connection, market: int) -> Progress:
    """Return how far a market's ledger is written; position 0 when it was never begun."""
    exists = connection.execute("SELECT to_regclass('curb.progress') IS NOT NULL").fetchone()
    if exists is None or not exists[0]:
        return Progress(0, 1)
    row = connection.execute(
        "SELECT position, next_seq FROM curb.progress WHERE market = %s", (market,)
    ).fetchone()
    return Progress(0, 1) if row is None else Progress(*row)


def wait_for(dsn: str, market: int, position: int, wait: Callable[[], bool]) -> Progress:
    """Ask for the progress until it has reached a position or `wait` returns False.

    Raises psycopg.Error when the server cannot be reached.
    """
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        while True:
            progress = read_progress(connection, market)
            if progress.position >= position or not wait():
                return progress


def _account(account: int) -> str:
    kind = kind_of(account)
    return kind if account < STEP else f"{kind} of {account // STEP}"


def _say(columns: Iterable[str], row: Fact) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(columns, row, strict=True))
