"""`curb serve`: one folder, its processes, and what happens to each when another is gone."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exchange import identity, ports
from exchange.config import Config
from exchange.host_client import HostClient
from exchange.supervisor.service import bundle_path
from schemas import records
from tests.doors.served import START_S, Driver, bid_row
from tests.doors.served import Served as Folder
from tests.waiting import until

NOWHERE = "postgresql://nobody@127.0.0.1:1/none?connect_timeout=1"
pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]


class Serving:
    """`curb serve` as a person starts it, its JSON lines in `said`."""

    def __init__(self, data, **environment):
        self.data = data
        self.child = subprocess.Popen(
            [sys.executable, "-c", "from schemas.command import main; main()",
             "serve", str(data), "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"CURB_POSTGRES__DSN": NOWHERE} | environment,
        )  # fmt: skip
        self.said: list[str] = []
        self.errors: list[str] = []
        self.threads = [
            threading.Thread(target=self._read, args=(self.child.stdout, self.said)),
            threading.Thread(target=self._read, args=(self.child.stderr, self.errors)),
        ]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def _read(stream, into):
        with stream:
            into.extend(stream)

    def heard(self, **fields):
        """Return the first line that says all of this, once it was said."""
        for line in list(self.said):
            told = json.loads(line)
            if fields.items() <= told.items():
                return told
        return None

    def ready(self):
        until(lambda: self.heard(ready=True, process="exchange") or self.child.poll(), START_S)
        assert self.child.poll() is None, "".join(self.errors)

    def status(self):
        try:
            return json.loads((self.data / "run" / "status.json").read_bytes())
        except FileNotFoundError:
            return {"processes": {"exchange": {"pid": None, "starts": 0, "ready": False}}}

    def pids(self):
        return [process["pid"] for process in self.status()["processes"].values()]

    def end(self, number=signal.SIGTERM):
        self.child.send_signal(number)
        code = self.child.wait(30)
        for thread in self.threads:
            thread.join()
        return code


@pytest.fixture
def serving(tmp_path):
    started = []

    def serve(**environment):
        started.append(Serving(tmp_path / "data", **environment))
        return started[-1]

    yield serve
    for each in started:
        if each.child.poll() is None:
            each.end(signal.SIGKILL)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_a_killed_exchange_is_started_again_where_its_clients_look(serving, tmp_path):
    """Goal: same port, sessions resumed, and none of it needs the database (promise L1): here there
    is none at all. A second `curb serve` of the folder is refused; the end leaves nobody behind.
    """
    one = serving()
    one.ready()
    config = Config(data=tmp_path / "data")
    bundles = Folder.found_town(_Known(config))  # type: ignore[arg-type]
    with Driver(bundles["acme"], cancel_after_us=60_000_000) as buyer:
        first = buyer.send(records.BID, bid_row(1, 1))
        buyer.quiet()
        os.kill(until(lambda: one.pids()[0]), signal.SIGKILL)
        until(lambda: one.status()["processes"]["exchange"]["starts"] == 2, START_S)
        buyer.redial()
        buyer.quiet(sessions=2)
        assert buyer.opened[-1].resumed
        again = buyer.send(records.BID, bid_row(1, 2))
        buyer.quiet()
        numbers = [int(buyer.answers[buyer.epoch, n].statuses["number"][0]) for n in (first, again)]
        assert numbers[1] == numbers[0] + 1
    assert one.heard(process="exchange", died=-signal.SIGKILL)

    two = Serving(tmp_path / "data")
    assert two.child.wait(60) == 1
    for thread in two.threads:
        thread.join()
    assert "already served" in "".join(two.errors)

    for file in (config.keys_folder / "admin.bundle.json", config.run_folder / "postgres.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.data.stat().st_mode) == 0o700
    pids = one.pids()
    assert one.end() == 0, "".join(one.errors)
    assert not any(alive(pid) for pid in pids if pid)
    assert not (config.run_folder / "status.json").exists()


class _Known:
    """A folder that somebody else serves, as `Served.found_town` asks for it."""

    def __init__(self, config):
        self.config = config

    def host(self, role="admin"):
        return HostClient(bundle_path(self.config, role))


def test_a_start_can_be_stopped_and_a_killed_supervisor_leaves_nobody(serving):
    """Goal: SIGTERM is heard while it still waits for others; with `kill -9` its children go too."""
    one = serving()
    one.ready()
    assert one.end() == 0
    two = serving()
    two.ready()
    until(lambda: two.heard(process="follower", ready=True), START_S)
    children = Path(f"/proc/{two.child.pid}/task/{two.child.pid}/children").read_text().split()
    pids = [int(pid) for pid in children]
    assert len(pids) == 3
    two.end(signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids), 5)


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("CURB_FOLLOWER__HTTP_BIND", "0.0.0.0:9000", "without TLS"),
        ("CURB_EXCHANGE__COMMANDS_BINT", "x", "commands_bint"),
        ("CURB_POSTGRES__DSN_FILE", "/none", "give one of them"),
    ],
)
def test_a_wrong_setting_ends_serve_before_anything_is_made(serving, tmp_path, name, value, said):
    one = serving(**{name: value})
    assert one.child.wait(60) == 2
    for thread in one.threads:
        thread.join()
    assert said in "".join(one.errors)
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_names_the_log_and_tells_no_key(serving, tmp_path):
    """Promise S6: what a failed start writes down holds no secret, not even in its traceback."""
    config = Config(data=tmp_path / "data")
    keys = identity.prepare(config)
    addresses = ports.resolve(config)
    host, _, port = addresses.commands.removeprefix("tcp://").rpartition(":")
    with socket.create_server((host, int(port))):
        one = serving()
        assert one.child.wait(START_S) == 1
    for thread in one.threads:
        thread.join()
    errors = "".join(one.errors)
    log = config.logs_folder / "exchange.log"
    assert str(log) in errors
    written = log.read_text()
    assert "cannot listen" in written
    for secret in (keys.server.secret, keys.admin.secret, keys.token_secret):
        assert secret not in written + errors
