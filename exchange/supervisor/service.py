"""The whole exchange of one data folder: PostgreSQL, exchange, follower, ledger writer.

prepare ─► exchange ─► follower ─► ledger      each restarted alone when it dies
   └────► PostgreSQL ─────────────────┘        the exchange waits for none of the others
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec
import psycopg

from exchange import identity, ports
from exchange.config import Config
from exchange.identity import FILE_MODE, FOLDER_MODE, Identity, KeyPair
from exchange.ports import Addresses
from exchange.supervisor.postgres import PostgresFailed, server_for
from exchange.supervisor.processes import ProcessFailed, Watched, exchange_command
from schemas.bundle import Bundle, save_bundle

READY_S: Final = 300.0  # a cold compile of all kernels on a slow machine
STATUS_NAME: Final = "status.json"
POSTGRES_NAME: Final = "postgres.json"
_TICK_S: Final = 0.1
_ORDER: Final = ("exchange", "follower", "ledger")
_OTHERS: Final = ("follower", "ledger")
REVIVE_S: Final = 5.0  # between two attempts to start PostgreSQL
LATE_S: Final = 10.0  # a patient start speaks of what is not ready by then, and goes on


class StartStopped(RuntimeError):
    """The service was told to stop before it served."""


class Service:
    """Runs the processes of a data folder; use as a context manager or start/stop.

    `heard` is told every progress line of every process, `{"process": …, "progress": …}`.
    `patient`: only the exchange must come up. The others, and PostgreSQL, are tried again for as long
    as it takes: trading waits for none of them (RELIABILITY.md, L1). Otherwise all of them must.
    `stop`, once set, ends a start as well. Raises ProcessFailed naming the process and its log,
    PostgresFailed naming its own, StartStopped.
    """

    def __init__(
        self,
        config: Config,
        config_path: Path | None = None,
        heard: Callable[[dict[str, Any]], None] = lambda _: None,
        *,
        patient: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        self.config = config
        self._config_path = config_path
        self._heard = heard
        self._patient = patient
        self._stop = threading.Event() if stop is None else stop
        self._lock: int | None = None
        self._reviving: threading.Thread | None = None
        self._postgres_failed: PostgresFailed | None = None
        self._revive_at = 0.0
        self._status = b""  # as the file has it
        # The lock comes first: two that make the same folder's keys would each keep its own.
        self._take_lock()
        try:
            self.identity: Identity = identity.prepare(config)
            self.addresses: Addresses = ports.resolve(config)
            self.postgres = server_for(config.data, config.postgres.dsn or None)
        except BaseException:
            self._leave_lock()
            raise
        environment = dict(os.environ)
        self.processes = {
            name: Watched(
                name,
                exchange_command(name, config.data, config_path),
                config.logs_folder / f"{name}.log",
                environment,
                heard,
            )
            for name in _ORDER
        }

    def start(self) -> None:
        """Start everything and return when it serves."""
        self.write_bundles()
        self.processes["exchange"].start()
        self._revive()
        self._await("exchange")
        if not self._patient:
            self._await_postgres()
        for name in _OTHERS:
            self.processes[name].start()
        for name in _OTHERS:
            if self._patient:
                self._await_a_while(name)
            else:
                self._await(name)
        self._write_status()

    def watch(self, stop: threading.Event, tick: Callable[[], None] = lambda: None) -> None:
        """Keep everything running until `stop`; calls `tick` ten times a second."""
        while not stop.wait(_TICK_S):
            self.tend()
            tick()

    def tend(self) -> None:
        """Start again what died since the last call."""
        for process in self.processes.values():
            code = process.watch()
            if code is not None:
                self._heard({"process": process.name, "died": code, "log": str(process.log)})
        ours = self.postgres.log_path is not None
        if (ours and self.postgres.pid is None) or self._postgres_failed is not None:
            self._revive()
        self._write_status()

    def _revive(self) -> None:
        """Start PostgreSQL, on a thread: replaying its log may take minutes, and nobody is to wait."""
        running = self._reviving is not None and self._reviving.is_alive()
        if running or time.monotonic() < self._revive_at:
            return
        self._revive_at = time.monotonic() + REVIVE_S
        self._reviving = threading.Thread(target=self._start_postgres, daemon=True)
        self._reviving.start()

    def _start_postgres(self) -> None:
        self._heard({"process": "postgres", "progress": "starting", "done": 0, "total": 1})
        try:
            dsn = self.postgres.start()
            # Said at each start: the port may be another than before.
            identity.write_private(
                self.config.run_folder / POSTGRES_NAME, msgspec.json.encode({"dsn": dsn})
            )
        except (PostgresFailed, OSError, psycopg.Error) as error:
            failed = error if isinstance(error, PostgresFailed) else PostgresFailed(str(error))
            self._postgres_failed = failed
            self._heard({"process": "postgres", "died": str(failed)})
            return
        self._postgres_failed = None
        self._heard({"process": "postgres", "progress": "starting", "done": 1, "total": 1})

    def stop_processes(self) -> None:
        """Stop in the order in which each one's input ends: exchange, follower, ledger writer."""
        for name in _ORDER:
            self.processes[name].stop()

    def stop(self) -> None:
        """Stop the processes, then PostgreSQL."""
        self.stop_processes()
        if self._reviving is not None:
            self._reviving.join(REVIVE_S)
        self.postgres.stop()
        (self.config.run_folder / STATUS_NAME).unlink(missing_ok=True)
        self._leave_lock()

    def __enter__(self) -> Self:
        """Start; whatever was started is stopped when the start fails."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.stop()

    def write_bundles(self) -> None:
        """Write the admin's and the verifier's bundles where the host's commands look for them."""
        pairs: tuple[tuple[Literal["admin", "verifier"], KeyPair], ...] = (
            ("admin", self.identity.admin),
            ("verifier", self.identity.verifier),
        )
        for role, pair in pairs:
            bundle = Bundle(
                member=role,
                role=role,
                agent=0,
                public_key=pair.public,
                secret_key=pair.secret,
                server_key=self.identity.server.public,
                commands_address=self.addresses.commands,
                events_address=self.addresses.events,
                tape_address=self.addresses.tape,
                market=self.identity.market,
            )
            save_bundle(bundle, bundle_path(self.config, role))

    def _await(self, name: str) -> None:
        process = self.processes[name]
        deadline = time.monotonic() + READY_S
        while not process.ready.wait(_TICK_S):
            self._check_stop()
            if process.pid is None:
                raise ProcessFailed(f"{name} ended before it was ready: see {process.log}")
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{name} is not ready after {READY_S:.0f} s: {process.log}")

    def _await_a_while(self, name: str) -> None:
        process = self.processes[name]
        deadline = time.monotonic() + LATE_S
        while not process.ready.wait(_TICK_S):
            self._check_stop()
            self.tend()
            if time.monotonic() > deadline:
                self._heard({"process": name, "late": True, "log": str(process.log)})
                return

    def _await_postgres(self) -> None:
        assert self._reviving is not None
        while self._reviving.is_alive():
            self._check_stop()
            self._reviving.join(_TICK_S)
        if self._postgres_failed is not None:
            raise self._postgres_failed

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StartStopped(f"{self.config.data}: stopped while it started")

    def _take_lock(self) -> None:
        for folder in (self.config.data, self.config.run_folder):
            folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        path = self.config.run_folder / "lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._leave_lock()
            raise ProcessFailed(f"{self.config.data}: already served by another process") from None

    def _leave_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_status(self) -> None:
        status = {
            "market": self.identity.market,
            "addresses": msgspec.to_builtins(self.addresses),
            "processes": {
                name: {
                    "pid": process.pid,
                    "starts": process.starts,
                    "ready": process.ready.is_set(),
                }
                for name, process in self.processes.items()
            },
            "postgres": {"pid": self.postgres.pid},
        }
        raw = msgspec.json.encode(status)
        if raw == self._status:
            return
        path = self.config.run_folder / STATUS_NAME
        part = path.with_name(path.name + ".part")
        # On a full disk the file is old until there is room again; what it speaks of goes on.
        with contextlib.suppress(OSError):
            part.write_bytes(raw)
            part.replace(path)
            self._status = raw


def bundle_path(config: Config, role: str) -> Path:
    """Return where the bundle of the host's own admin or verifier is."""
    return config.keys_folder / f"{role}.bundle.json"
