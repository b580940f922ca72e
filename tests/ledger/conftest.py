"""One PostgreSQL server and database for the tests of the ledger, emptied for each."""

import os
import signal

import pytest

from exchange.supervisor.postgres import PostgresServer
from tests.ledger.story import empty


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = PostgresServer(tmp_path_factory.mktemp("ledger") / "data")
    server.start()
    yield server
    # At once: a shutdown in order would write a checkpoint that nobody wants.
    assert server.pid is not None
    os.kill(server.pid, signal.SIGQUIT)
    server.remove()


@pytest.fixture
def dsn(server):
    """An empty database; the server goes on, so that a test costs milliseconds."""
    empty(server.dsn)
    return server.dsn
