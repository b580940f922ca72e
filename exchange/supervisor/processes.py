"""Start the processes of `curb serve`, watch them, and start again what died.

Each child is its own process group's leader no longer than this process lives: on Linux it is
killed with it (PR_SET_PDEATHSIG), so that no orphan keeps a port or a journal.
"""

import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(
    None
)  # opened here: between fork and exec another thread's lock may be held
RESTART_S_MIN: Final = 0.1
RESTART_S_MAX: Final = 5.0
STEADY_S: Final = 30.0  # lived that long: the next failure starts from the shortest wait again
STOP_S: Final = 15.0


class ProcessFailed(RuntimeError):
    """A process ended before it was ready; names it and its log."""


class Watched:
    """One child process and the thread that reads what it reports."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        environment: dict[str, str],
        heard: Callable[[dict[str, Any]], None],
    ) -> None:
        self.name = name
        self.log = log
        self.starts = 0
        self.ready = threading.Event()
        self._command = command
        self._environment = environment
        self._heard = heard
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._wait_s = RESTART_S_MIN
        self._next_start_at = 0.0

    @property
    def pid(self) -> int | None:
        """The child's process number while it runs."""
        return None if self._child is None or self._child.poll() is not None else self._child.pid

    def start(self) -> None:
        """Start the child; its standard error goes to its log."""
        self.ready.clear()
        with self.log.open("ab") as errors:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment,
                process_group=0,  # a ^C in the terminal is for the supervisor, which stops in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 -- one system call, nothing is imported
            )
        self.starts += 1
        self._started_at = time.monotonic()
        threading.Thread(target=self._listen, args=(self._child,), daemon=True).start()

    def watch(self) -> int | None:
        """Start again after a death, with growing waits; return the exit code of a new death."""
        if self._child is None:
            if time.monotonic() >= self._next_start_at:
                try:
                    self.start()
                except OSError:
                    # No memory, no descriptor, no room for its log: whoever watches goes on.
                    self._back_off()
            return None
        code = self._child.poll()
        if code is None:
            return None
        if time.monotonic() - self._started_at > STEADY_S:
            self._wait_s = RESTART_S_MIN
        self._back_off()
        self._child = None
        self.ready.clear()
        return code

    def _back_off(self) -> None:
        self._next_start_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, RESTART_S_MAX)

    def stop(self) -> None:
        """Ask the child to stop, wait, and kill it when it does not."""
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _listen(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        with child.stdout:
            for line in child.stdout:
                try:
                    fields = msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.MsgspecError:
                    continue  # a library printed something; it is no report
                if fields.get("ready") and child is self._child:
                    self.ready.set()
                self._heard(fields)


def exchange_command(name: str, data: Path, config: Path | None) -> list[str]:
    """Return the command line of one of our processes."""
    command = [sys.executable, "-m", "exchange.process", name, "--data", str(data)]
    return command if config is None else [*command, "--config", str(config)]


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
