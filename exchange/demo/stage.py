"""Processes of the demo: each with a log, some with JSON lines to be heard; all stopped at the end."""

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final, Self

import msgspec

STOP_S: Final = 20.0


class ActorFailed(RuntimeError):
    """A process of the demo ended badly; names it and its log."""


class Actor:
    """One process. Its standard error goes to its log, its standard output is heard as JSON lines."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        self.heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.last: dict[str, Any] = {}
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # a ^C in the terminal is for the demo, which stops in order
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._child.pid

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._child.poll()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; raises ActorFailed when that is not good or does not come."""
        try:
            code = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ActorFailed(f"{self.name} did not end in {timeout_s:.0f} s: {self.log}") from None
        self._reader.join(STOP_S)
        if code != 0:
            raise ActorFailed(f"{self.name} ended with {code}: see {self.log}")

    def hear(self, key: str, timeout_s: float) -> dict[str, Any]:
        """Wait for a line that has `key`; raises ActorFailed when the process ends before."""
        waited = 0.0
        while waited < timeout_s:
            try:
                line = self.heard.get(timeout=0.1)
            except queue.Empty:
                waited += 0.1
                if self.code is not None:
                    raise ActorFailed(f"{self.name} ended with {self.code}: {self.log}") from None
                continue
            if key in line:
                return line
        raise ActorFailed(f"{self.name}: nothing said of {key} in {timeout_s:.0f} s: {self.log}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to stop, wait, and kill its whole session when it does not."""
        if self.code is not None:
            return
        self._child.send_signal(number)
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout:
            for raw in self._child.stdout:
                try:
                    line = msgspec.json.decode(raw, type=dict[str, Any])
                except msgspec.MsgspecError:
                    continue
                self.last = line
                self.heard.put(line)


class Stage:
    """All processes that were started, to be stopped newest first."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._actors: list[Actor] = []

    def start(self, name: str, *arguments: str | Path) -> Actor:
        """Start `python ARGUMENTS` under a name of its own."""
        actor = Actor(name, [str(part) for part in arguments], self._logs / f"{name}.log")
        self._actors.append(actor)
        return actor

    def check(self) -> None:
        """Raise ActorFailed when one of them ended badly while nobody waited for it."""
        for actor in self._actors:
            if actor.code:
                raise ActorFailed(f"{actor.name} ended with {actor.code}: see {actor.log}")

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all that still runs."""
        for actor in reversed(self._actors):
            actor.stop()
