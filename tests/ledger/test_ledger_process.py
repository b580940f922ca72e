"""The ledger writer's process: nothing waits for it, and it loses nothing."""

import contextlib
import os
import signal
import threading
from functools import partial

import msgspec
import pytest

from exchange import identity
from exchange.config import Config, PostgresSettings
from exchange.follower.event_files import EventWriter
from exchange.ledger import main
from exchange.supervisor.postgres import PostgresServer
from tests.ledger.story import MARKET, batches, dump, empty, entries, fold, stored, tell
from tests.waiting import until


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may stop and kill."""
    server = PostgresServer(tmp_path / "server")
    server.start()
    yield server
    server.remove()


@pytest.fixture
def served(tmp_path):
    """A data folder as `curb serve` prepares it, whose market is the story's."""
    config = Config(data=tmp_path / "data")
    own = msgspec.structs.replace(identity.prepare(config), market=MARKET)
    identity.write_private(config.keys_folder / identity.IDENTITY_NAME, msgspec.json.encode(own))
    return config


@contextlib.contextmanager
def running(config):
    stop = threading.Event()
    errors = []

    def body():
        try:
            main.run(config, stop)
        except Exception as error:  # noqa: BLE001 -- handed to the test's own thread
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield errors
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def state(config):
    status = main.read_status(config.run_folder)
    return status.state if status else ""


def reached(config, position):
    status = main.read_status(config.run_folder)
    return status is not None and status.position == position and status.state == "following"


def test_the_server_goes_away_and_comes_back_and_nothing_is_missing(served, own_server):
    """Promise L1: stopped in order, killed, and stopped in its tracks, with events coming on."""
    config = msgspec.structs.replace(served, postgres=PostgresSettings(dsn=own_server.dsn))
    history = tell(41, steps=120)
    made = batches(history, [4])
    quarter = len(made) // 4
    events = EventWriter(config.events_folder, MARKET)
    with running(config) as errors:
        for batch in made[:quarter]:
            events.append(batch)
        until(partial(reached, config, made[quarter - 1].end))
        own_server.stop()
        for batch in made[quarter : 2 * quarter]:
            events.append(batch)
        until(lambda: state(config) == "waiting")
        own_server.start()
        until(partial(reached, config, made[2 * quarter - 1].end), 30)
        os.kill(own_server.pid, signal.SIGSTOP)
        for batch in made[2 * quarter : 3 * quarter]:
            events.append(batch)
        os.kill(own_server.pid, signal.SIGKILL)
        until(lambda: own_server.pid is None)
        for batch in made[3 * quarter :]:
            events.append(batch)
        own_server.start()
        until(partial(reached, config, made[-1].end), 30)
        assert not errors
    assert state(config) == "stopped"
    assert stored(own_server.dsn) == fold(entries(history))


def test_an_empty_database_is_given_the_same_rows_again(served, dsn):
    """Promise L3: rebuilt from the events it is what it was, row for row."""
    config = msgspec.structs.replace(served, postgres=PostgresSettings(dsn=dsn))
    made = batches(tell(42), [6])
    events = EventWriter(config.events_folder, MARKET, segment_bytes=20_000)
    for batch in made:
        events.append(batch)
    with running(config):
        until(partial(reached, config, made[-1].end))
    before = dump(dsn)
    empty(dsn)
    (config.run_folder / main.STATUS_NAME).unlink()
    with running(config):
        until(partial(reached, config, made[-1].end))
    assert dump(dsn) == before


def test_events_that_are_not_kept_are_said_and_not_guessed(served, dsn):
    config = msgspec.structs.replace(served, postgres=PostgresSettings(dsn=dsn))
    events = EventWriter(config.events_folder, MARKET, segment_bytes=2_000)
    for batch in batches(tell(43), [6]):
        events.append(batch)
    next(path for path in sorted(config.events_folder.iterdir())).unlink()
    with running(config) as errors:
        until(lambda: errors)
    assert isinstance(errors[0], main.EventsGone)


def test_before_postgres_was_ever_started_it_waits(served, dsn):
    """The supervisor may start it first; where the server is it learns from a file."""
    made = batches(tell(44, steps=10), [50])
    events = EventWriter(served.events_folder, MARKET)
    for batch in made:
        events.append(batch)
    with running(served):
        until(lambda: state(served) == "waiting")
        place = served.run_folder / main.POSTGRES_NAME
        identity.write_private(place, msgspec.json.encode({"dsn": dsn}))
        until(partial(reached, served, made[-1].end))
