"""SQLite in memory with a covering index, DuckDB in memory on one thread, PostgreSQL with its best btree."""

import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers import sql
from bench.peers.book import Answer, Book, Candidate, Question, conclude

_COVERED = ", ".join(name for name in sql.OFFERS if name not in {"model", "site"})


class _Database(ABC):
    """Answer questions by one prepared text per campaign."""

    divide = "/"

    def __init__(self, book: Book) -> None:
        self._book = book
        self._texts: dict[tuple[int, bool], str] = {}

    def answers(self, questions: list[Question]) -> list[Answer]:
        """Answer them one by one."""
        return [self._answer(question) for question in questions]

    def parameter(self, name: str) -> str:
        """Return a parameter as the engine's dialect writes it."""
        return f":{name}"

    @abstractmethod
    def fetch(self, query: str, given: dict[str, int]) -> list[Any]:
        """Run a query and return all its rows."""

    def explain(self, question: Question) -> str:
        """Return the engine's plan for a question, for whoever wants to see which index it took."""
        query, given = self._query(question, 0, deals=False)
        return "\n".join(str(row[-1]) for row in self.fetch(f"{self.plan} {query}", given))

    plan = "EXPLAIN"

    def _query(self, question: Question, place: int, *, deals: bool) -> tuple[str, dict[str, int]]:
        rules = question.rules
        key = rules.campaign, deals
        query = self._texts.get(key)
        if query is None:
            wanted = rules.deals if deals else (0,)
            query = sql.text(self._book, rules, wanted, self.parameter, self.divide)
            self._texts[key] = query
        return query, sql.parameters(question, place)

    def _two(self, question: Question, place: int, *, deals: bool) -> list[Candidate]:
        rows = self.fetch(*self._query(question, place, deals=deals))
        return sql.candidates(rows, question.rules.models[place][0])

    def _answer(self, question: Question) -> Answer:
        opened: list[Candidate] = []
        deals: list[Candidate] = []
        for place in range(len(question.rules.models)):
            opened += self._two(question, place, deals=False)
            if question.rules.deals:
                deals += self._two(question, place, deals=True)
        return conclude(self._book, question, opened, deals)


class SqlitePeer(_Database):
    """SQLite: all in memory, an index that covers everything the query reads of an offer."""

    plan = "EXPLAIN QUERY PLAN"

    def __init__(self, book: Book) -> None:
        super().__init__(book)
        self._connection = sqlite3.connect(":memory:", cached_statements=1024)
        run = self._connection.execute
        for table in sql.TABLES:
            run(table)
        for name, rows in (("offers", sql.offer_rows(book)), ("reach", sql.reach_rows(book))):
            width = 1 + len(sql.OFFERS) if name == "offers" else 3 + len(sql.SITES)
            marks = ", ".join("?" * width)
            self._connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)  # noqa: S608
        run(f"CREATE INDEX by_model ON offers (model, site, id, {_COVERED})")
        run(f"CREATE UNIQUE INDEX by_metro ON reach (metro, site, path_us, {', '.join(sql.SITES)})")
        run("ANALYZE")

    def fetch(self, query: str, given: dict[str, int]) -> list[Any]:
        """Run a query and return all its rows."""
        return self._connection.execute(query, given).fetchall()

    def close(self) -> None:
        """Free the memory."""
        self._connection.close()


class DuckdbPeer(_Database):
    """DuckDB: columns in memory, one thread; its zone maps follow the order by (model, site)."""

    divide = "//"

    def __init__(self, book: Book) -> None:
        super().__init__(book)
        import duckdb

        self._prepared: dict[str, str] = {}
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        run = self._connection.execute
        for table in sql.TABLES:
            run(table)
        reach = np.array(list(sql.reach_rows(book)), np.int64)
        names = ("metro", "site", "path_us", *sql.SITES)
        whole = {
            "offers": {"id": np.arange(len(book.offers["model"]))}
            | {name: book.offers[name] for name in sql.OFFERS},
            "reach": {name: reach[:, at].copy() for at, name in enumerate(names)},
        }
        for name, columns in whole.items():
            self._connection.register("rows", columns)
            run(f"INSERT INTO {name} SELECT * FROM rows")  # noqa: S608
            self._connection.unregister("rows")

    def parameter(self, name: str) -> str:
        """Return a parameter as the engine's dialect writes it."""
        return f"${name}"

    def fetch(self, query: str, given: dict[str, int]) -> list[Any]:
        """Run a query and return all its rows; the engine keeps the plan of a text that it saw."""
        name = self._prepared.get(query)
        if name is None:
            name = self._prepared[query] = f"q{len(self._prepared)}"
            self._connection.execute(f"PREPARE {name} AS {query}")
        values = ", ".join(f"{key} := {value}" for key, value in given.items())
        return self._connection.execute(f"EXECUTE {name}({values})").fetchall()

    def close(self) -> None:
        """Free the memory."""
        self._connection.close()


class PostgresPeer(_Database):
    """PostgreSQL over loopback: prepared statements, an index-only scan on (model, site)."""

    def __init__(self, book: Book) -> None:
        super().__init__(book)
        import psycopg

        from exchange.supervisor.postgres import PostgresServer

        self._folder = Path(tempfile.mkdtemp(prefix="curb-bench-"))
        self._server = PostgresServer(self._folder)
        try:
            self._connection = psycopg.connect(self._server.start(), autocommit=True)
            run = self._connection.execute
            for setting in (
                "max_parallel_workers_per_gather = 0", "jit = off", "work_mem = '256MB'",
                "plan_cache_mode = force_custom_plan",
            ):  # fmt: skip
                run(f"SET {setting}")
            for table in sql.TABLES:
                run(table)
            self._copy("offers", sql.offer_rows(book))
            self._copy("reach", sql.reach_rows(book))
            run(f"CREATE INDEX by_model ON offers (model, site) INCLUDE (id, {_COVERED})")
            run(
                f"CREATE INDEX by_metro ON reach (metro, site) INCLUDE (path_us, {', '.join(sql.SITES)})"
            )
            run("VACUUM ANALYZE offers")
            run("VACUUM ANALYZE reach")
        except BaseException:
            self.close()
            raise

    def _copy(self, table: str, rows: Any) -> None:
        with self._connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def parameter(self, name: str) -> str:
        """Return a parameter as the engine's dialect writes it."""
        return f"%({name})s::bigint"

    def fetch(self, query: str, given: dict[str, int]) -> list[Any]:
        """Run a query and return all its rows."""
        return self._connection.execute(query, given, prepare=True).fetchall()

    def close(self) -> None:
        """Stop the server and remove its cluster."""
        if hasattr(self, "_connection"):
            self._connection.close()
        self._server.remove()
        shutil.rmtree(self._folder, ignore_errors=True)
