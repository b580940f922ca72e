"""The ledger's rows are the fold of the journal: exactly once, whatever is cut off and wherever."""

import contextlib
import itertools
import random

import psycopg
import pytest

from exchange.ledger.migrate import Migration, MigrationRefused, migrate, migrations
from exchange.ledger.writer import LedgerWriter, ProgressMoved, connector
from tests.ledger.story import MARKET, batches, dump, empty, entries, fold, stored, tell


def write(dsn, made, group=1):
    writer = LedgerWriter(connector(dsn), MARKET)
    for start in range(0, len(made), group):
        writer.write(made[start : start + group])
    writer.close()
    return writer.progress


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_is_the_fold_of_what_happened(dsn, seed):
    """Promise L2, by the definition in plain Python (story.fold)."""
    history = tell(seed)
    write(dsn, batches(history, [7]))
    assert stored(dsn) == fold(entries(history))
    assert sum(stored(dsn).accounts.values()) == 0
    assert sum(stored(dsn).postings.values()) == 0


def test_however_it_was_cut_the_rows_are_the_same(dsn):
    """The rows are a function of the position: batches, groups and restarts leave no trace."""
    history = tell(11)
    write(dsn, batches(history, [len(history)]))
    expected = dump(dsn)
    rng = random.Random(11)
    print("seed 11")
    for number, group in ((1, 1), (2, 3), (3, 1_000)):
        empty(dsn)
        cuts = [rng.randint(1, 9) for _ in history] if number > 1 else [1]
        made = batches(history, cuts)
        write(dsn, made[: len(made) // 2], group)
        write(dsn, made, group)  # a new writer is shown everything from the start again
        assert dump(dsn) == expected


def test_at_every_position_the_ledger_is_the_fold_up_to_there(dsn):
    """Also in the middle of a span: its netted rows are replaced until it is complete."""
    history = tell(5, steps=40)
    writer = LedgerWriter(connector(dsn), MARKET)
    for n, batch in enumerate(batches(history, [1]), start=1):
        writer.write([batch])
        if n % 4 == 0:
            assert stored(dsn) == fold(entries(history[:n]))
    writer.close()


class Broken:
    """A connection of the real server that is cut before, or after, its n-th statement."""

    def __init__(self, dsn, at, before):
        self.left, self.before = at, before
        broken = self

        class Cursor(psycopg.Cursor):
            def execute(self, *arguments, **options):
                return broken.do(
                    self.connection, lambda: super(Cursor, self).execute(*arguments, **options)
                )

            def executemany(self, *arguments, **options):
                return broken.do(
                    self.connection, lambda: super(Cursor, self).executemany(*arguments, **options)
                )

            def copy(self, *arguments, **options):
                broken.do(self.connection, lambda: None)
                return super().copy(*arguments, **options)

        class Connection(psycopg.Connection):
            def transaction(self, *arguments, **options):
                outer = super().transaction(*arguments, **options)
                connection = self

                class Counted:
                    def __enter__(self):
                        broken.do(connection, outer.__enter__)

                    def __exit__(self, kind, error, trace):
                        if kind is not None:
                            return outer.__exit__(kind, error, trace)
                        return broken.do(connection, lambda: outer.__exit__(None, None, None))

                return Counted()

        self.connection = Connection.connect(dsn, autocommit=True, cursor_factory=Cursor)

    def connect(self):
        return self.connection

    def do(self, connection, act):
        self.left -= 1
        if self.left == 0 and self.before:
            connection.close()
            raise psycopg.OperationalError("cut before the statement")
        result = act()
        if self.left == 0:
            connection.close()
            raise psycopg.OperationalError("cut after the statement")
        return result


@pytest.mark.parametrize("before", [True, False])
def test_cut_at_every_statement_nothing_is_lost_and_nothing_doubled(dsn, before):
    """Promise L2, "kill both sides at every statement": begin, every statement, commit.

    Method: for each transaction a fresh writer is cut at its n-th statement, for every n, and the
    next one goes on from what the database says, until one needs fewer statements than n.
    """
    history = tell(21, steps=120)
    made = batches(history, [5])
    cut = 0
    for start in range(0, len(made), 8):
        for at in itertools.count(1):
            broken = Broken(dsn, at, before)
            try:
                writer = LedgerWriter(broken.connect, MARKET)
                writer.write(made[start : start + 8])
            except psycopg.OperationalError:
                cut += 1
            else:
                break
            finally:
                broken.connection.close()
    assert cut > 15 * len(made) / 8
    assert stored(dsn) == fold(entries(history))
    expected = dump(dsn)
    write(dsn, made)
    assert dump(dsn) == expected


def test_two_writers_never_write_a_row_twice(dsn):
    history = tell(31)
    made = batches(history, [20])
    first, second = (LedgerWriter(connector(dsn), MARKET) for _ in range(2))
    first.write(made[:2])
    with pytest.raises(ProgressMoved):
        second.write(made[:1])
    second.close()
    first.write(made[2:])
    first.close()
    assert stored(dsn) == fold(entries(history))


def commit(dsn, statement):
    with contextlib.closing(psycopg.connect(dsn)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    "statement, constraint",
    [
        ("UPDATE curb.postings SET amount = amount + 1 WHERE account < counter", "every_posting_has_its_mirror"),
        ("DELETE FROM curb.postings WHERE account < counter", "every_posting_has_its_mirror"),
        ("INSERT INTO curb.postings VALUES ({market}, 9999, 1, 2, 5)", "every_posting_has_its_mirror"),
        ("UPDATE curb.accounts SET balance = balance + 1 WHERE kind = 'fees'", "books_balance"),
        ("DELETE FROM curb.accounts WHERE kind = 'outside'", "books_balance"),
        (("UPDATE curb.accounts SET balance = CASE kind WHEN 'fees' THEN -1 ELSE balance + 1 END "
         "WHERE kind IN ('fees', 'withheld')"), "nobody_overdraws"),
        ("UPDATE curb.settlements SET paid = paid + 1", "settlements"),
    ],
)  # fmt: skip
def test_the_database_itself_refuses_books_that_do_not_sum_to_zero(dsn, statement, constraint):
    write(dsn, batches(tell(2), [50]))
    expected = dump(dsn)
    with pytest.raises(psycopg.IntegrityError) as refused:
        commit(dsn, statement.format(market=MARKET))
    assert constraint in str(refused.value.diag.constraint_name)
    assert dump(dsn) == expected


def test_markets_share_a_database_and_never_meet(dsn):
    history = tell(3)
    write(dsn, batches(history, [9]))
    alone = stored(dsn)
    other = LedgerWriter(connector(dsn), MARKET + 1)
    other.write(batches(tell(4), [9]))
    other.close()
    assert stored(dsn) == alone == fold(entries(history))
    assert stored(dsn, MARKET + 1) == fold(entries(tell(4)))


def test_migrations_are_applied_once_and_never_change(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        wanted = migrations()
        assert migrate(connection) == len(wanted)
        assert migrate(connection) == 0
        bad = Migration(2, "half", "CREATE TABLE curb.half (x int); SELECT 1/0;")
        with pytest.raises(psycopg.errors.DivisionByZero):
            migrate(connection, [*wanted, bad])
        assert connection.execute("SELECT to_regclass('curb.half')").fetchone() == (None,)
        with pytest.raises(MigrationRefused, match="another text"):
            migrate(connection, [wanted[0]._replace(sql=wanted[0].sql + " ")])
        connection.execute("INSERT INTO curb.migrations VALUES (99, 'later', '')")
        with pytest.raises(MigrationRefused, match="newer build"):
            migrate(connection)


def test_the_views_for_people_name_what_the_rows_number(dsn):
    history = tell(6)
    write(dsn, batches(history, [30]))
    books = fold(entries(history))
    with psycopg.connect(dsn) as connection:
        named = connection.execute(
            "SELECT fill, buyer, operator, site, model, hardware, rival_score FROM curb.fills_named"
        ).fetchall()
        balances = connection.execute("SELECT kind, member, balance_nusd FROM curb.balances")
        assert {(k, m): int(b) for k, m, b in balances} == books.accounts
    assert sorted(named) == sorted(
        (f.fill, f.buyer, f.operator, f.site, f.model, f.hardware, f.rival_score)
        for f in books.fills.values()
    )
