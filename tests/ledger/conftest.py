"""One PostgreSQL server for the tests of the ledger, one database each."""

import itertools
import os
import signal

import psycopg
import pytest

from exchange.supervisor.postgres import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = PostgresServer(tmp_path_factory.mktemp("ledger") / "data")
    server.start()
    yield server
    # At once: a shutdown in order would write a checkpoint of thirty databases nobody wants.
    assert server.pid is not None
    os.kill(server.pid, signal.SIGQUIT)
    server.remove()


@pytest.fixture
def dsn(server):
    """A database of its own; the server goes on, so that a test costs a tenth of a second."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.dsn.rpartition("/")[0] + f"/{name}"
