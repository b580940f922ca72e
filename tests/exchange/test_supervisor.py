"""One watched child: what it reports, what its death leads to, how it is stopped."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from exchange.supervisor import processes
from exchange.supervisor.processes import Watched, exchange_command
from tests.waiting import until

READY = 'import sys, time; print(\'{"process":"x","ready":true}\', flush=True); time.sleep(60)'
DIES = "import sys; print('no json', flush=True); sys.stderr.write('because'); sys.exit(3)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    'print(\'{"process":"x","ready":true}\', flush=True); time.sleep(60)'
)


@pytest.fixture
def watched(tmp_path):
    made = []

    def make(code, heard=lambda _: None):
        command = [sys.executable, "-c", code]
        made.append(Watched("x", command, tmp_path / "x.log", dict(os.environ), heard))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_a_child_is_ready_when_it_says_so_and_its_lines_are_heard(watched):
    heard: list[dict[str, object]] = []
    child = watched(READY, heard.append)
    child.start()
    until(child.ready.is_set)
    assert isinstance(child.pid, int)
    assert heard == [{"process": "x", "ready": True}]


def test_a_dead_child_is_started_again_and_is_not_ready_meanwhile(watched):
    child = watched(READY)
    child.start()
    until(child.ready.is_set)
    os.kill(child.pid, signal.SIGKILL)
    assert until(lambda: child.watch() or 0) == -signal.SIGKILL
    assert child.pid is None
    assert not child.ready.is_set()
    until(lambda: child.watch() or child.starts == 2)
    until(child.ready.is_set)


def test_the_waits_between_starts_grow_to_a_limit_and_shrink_after_a_steady_life(
    watched, monkeypatch
):
    """Goal: a process that cannot start does not keep the machine busy, and one that lived long is
    back at once.
    """
    clock = [0.0]
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    child = watched("")
    waits = []
    for _ in range(9):
        child.start()
        child._child.wait()
        assert child.watch() == 0
        waits.append(round(child._next_start_at - clock[0], 6))
    assert waits[:3] == [0.1, 0.2, 0.4]
    assert waits[-1] == processes.RESTART_S_MAX
    child.start()
    child._child.wait()
    clock[0] += processes.STEADY_S + 1
    child.watch()
    assert round(child._next_start_at - clock[0], 6) == processes.RESTART_S_MIN


def test_what_a_child_says_on_standard_error_is_in_its_log(watched):
    child = watched(DIES)
    child.start()
    assert until(lambda: child.watch() or 0) == 3
    assert child.log.read_text() == "because"


def test_a_child_that_does_not_listen_is_killed(watched, monkeypatch):
    monkeypatch.setattr(processes, "STOP_S", 0.3)
    child = watched(DEAF)
    child.start()
    until(child.ready.is_set)
    pid = child.pid
    child.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_has_a_group_of_its_own(watched):
    """Goal: a ^C in the terminal reaches the supervisor alone, which stops them in order."""
    child = watched(READY)
    child.start()
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)


def test_the_command_line_names_process_folder_and_file():
    command = exchange_command("ledger", Path("d"), Path("c.toml"))
    assert command[1:] == ["-m", "exchange.process", "ledger", "--data", "d", "--config", "c.toml"]
    assert exchange_command("exchange", Path("d"), None)[-1] == "d"
