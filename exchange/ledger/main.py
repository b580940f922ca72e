"""The ledger writer's process: follow the event files, write PostgreSQL, bear its absence.

Nothing waits for it. When the server is down the events stay in their files; when it is back they
are written at the speed of COPY. Nothing is kept here that is not in the files or the database.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import stamina
from msgspec import Struct

from exchange import identity, logs
from exchange.config import Config
from exchange.follower.event_files import Batch, EventReader
from exchange.ledger.writer import LedgerWriter, Progress, ProgressMoved, connector
from exchange.report import Report

STATUS_NAME: Final = "ledger.json"
POSTGRES_NAME: Final = "postgres.json"
EVENTS_PER_TRANSACTION: Final = 65_536  # 16 MiB of rows, and a tenth of a second of COPY
POLL_S: Final = 0.02
STATUS_S: Final = 0.25
PAUSE_S: Final = 0.2  # after a failed write: a server that takes connections and refuses rows
WAIT_S_MAX: Final = 2.0  # between attempts to connect

# What passes: the server is down, restarting, full, or somebody else wrote.
PASSING: Final = (psycopg.OperationalError, psycopg.InterfaceError, ProgressMoved)


class Status(Struct, frozen=True, kw_only=True):
    """What DATA/run/ledger.json says, for metrics and for people."""

    pid: int
    state: str  # starting, following, waiting (for PostgreSQL), stopped
    position: int
    next_seq: int
    at_ns: int
    error: str = ""


class EventsGone(Exception):
    """The events that come next are not kept any more: rebuild them from the journal."""


class StatusFile:
    """Says in a file how it goes, not more than four times a second unless the state changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = ""
        self._written_s = 0.0
        self._progress = Progress(0, 1)

    def say(self, state: str, progress: Progress | None = None, error: str = "") -> None:
        """Write the file, whole or not at all."""
        self._progress = progress or self._progress
        now = time.monotonic()
        if state == self._state and now - self._written_s < STATUS_S:
            return
        self._state, self._written_s = state, now
        status = Status(
            pid=os.getpid(),
            state=state,
            position=self._progress.position,
            next_seq=self._progress.next_seq,
            at_ns=time.time_ns(),
            error=error,
        )
        part = self._path.with_name(self._path.name + ".part")
        part.write_bytes(msgspec.json.encode(status))
        part.replace(self._path)


def read_status(run_folder: Path) -> Status | None:
    """Return what the ledger writer last said of itself; None when it never ran."""
    try:
        return msgspec.json.decode((run_folder / STATUS_NAME).read_bytes(), type=Status)
    except (OSError, msgspec.MsgspecError):
        return None


def dsn_of(config: Config) -> str:
    """Return where the ledger lives: the configured server, or the data folder's own.

    Raises FileNotFoundError when it has none yet.
    """
    if config.postgres.dsn:
        return config.postgres.dsn
    raw = (config.run_folder / POSTGRES_NAME).read_bytes()
    return str(msgspec.json.decode(raw, type=dict[str, Any])["dsn"])


def run(config: Config, stop: threading.Event, report: Report | None = None) -> None:
    """Write the ledger until `stop` is set. Returns in order; what it was doing is not lost."""
    market = identity.load(config).market
    status = StatusFile(config.run_folder / STATUS_NAME)
    status.say("starting")
    logger = logs.logger("ledger")
    ready = False
    while not stop.is_set():
        writer = _open(config, market, stop, status)
        if writer is None:
            break
        if report is not None and not ready:
            report.ready()
            ready = True
        logger.info("following", position=writer.progress.position)
        reader = EventReader(config.events_folder, market, writer.progress.position)
        try:
            follow(reader, writer, stop, status)
        except PASSING as error:
            logger.warning("write failed", error=_say(error))
            status.say("waiting", error=_say(error))
            stop.wait(PAUSE_S)
        finally:
            reader.close()
            writer.close()
    status.say("stopped")


def follow(
    reader: EventReader, writer: LedgerWriter, stop: threading.Event, status: StatusFile
) -> None:
    """Write what the files bring until `stop` is set; raises what the database raises."""
    while not stop.is_set():
        batches = gather(reader)
        if batches:
            writer.write(batches)
        elif (kept_from := reader.kept_from) is not None and kept_from > reader.position:
            raise EventsGone(f"events from {reader.position} on: kept are those from {kept_from}")
        status.say("following", writer.progress)
        if not batches:
            stop.wait(POLL_S)


def gather(reader: EventReader) -> list[Batch]:
    """Return the batches that are there, as many as one transaction takes."""
    batches: list[Batch] = []
    events = 0
    while events < EVENTS_PER_TRANSACTION and (batch := reader.read()) is not None:
        batches.append(batch)
        events += len(batch.events)
    return batches


def _open(
    config: Config, market: int, stop: threading.Event, status: StatusFile
) -> LedgerWriter | None:
    """Connect, as often as it takes; None when told to stop meanwhile."""
    passing = (*PASSING, FileNotFoundError)
    for attempt in stamina.retry_context(
        on=passing, attempts=None, timeout=None, wait_initial=0.05, wait_max=WAIT_S_MAX
    ):
        with attempt:
            if stop.is_set():
                return None
            try:
                return LedgerWriter(connector(dsn_of(config)), market)
            except passing as error:
                status.say("waiting", error=_say(error))
                raise
    return None


def _say(error: Exception) -> str:
    """Return an error in one line; a DSN's password is in none of psycopg's messages."""
    return f"{type(error).__name__}: {error}".strip().replace("\n", " ")
