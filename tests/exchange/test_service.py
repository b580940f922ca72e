"""The supervisor of a data folder bears what its surroundings refuse: a disk, a database."""

import errno
from pathlib import Path

import msgspec
import pytest

from exchange.config import Config
from exchange.supervisor.service import POSTGRES_NAME, STATUS_NAME, Service
from tests.waiting import until


@pytest.fixture
def heard():
    return []


@pytest.fixture
def service(tmp_path, heard):
    """A service with nothing started; what it says is in `heard`."""
    made = Service(Config(data=tmp_path), heard=heard.append)
    made.processes = {}
    yield made
    if made._reviving is not None:
        made._reviving.join()
    made._leave_lock()


def test_a_full_disk_does_not_stop_the_watch_and_is_made_up_for(service, monkeypatch):
    path = service.config.run_folder / STATUS_NAME
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(errno.ENOSPC, "no space left on device")

        patch.setattr(Path, "write_bytes", full)
        service._write_status()
        assert not path.exists()
    service._write_status()
    assert msgspec.json.decode(path.read_bytes())["market"] == service.identity.market


def test_a_status_that_did_not_change_is_not_written_again(service):
    service._write_status()
    path = service.config.run_folder / STATUS_NAME
    first = path.stat().st_ino
    service._write_status()
    assert path.stat().st_ino == first


def test_a_database_that_cannot_be_started_is_tried_again_whatever_the_reason(
    service, heard, monkeypatch
):
    """Goal: not its own error alone; a full disk under its files is no reason to give up either."""
    faults = [OSError(errno.ENOSPC, "no space")]

    def start():
        if faults:
            raise faults.pop()
        return "postgresql://somewhere"

    monkeypatch.setattr(service.postgres, "start", start)
    monkeypatch.setattr("exchange.supervisor.service.REVIVE_S", 0.0)
    service._revive()
    until(lambda: any("died" in said for said in heard))
    written = service.config.run_folder / POSTGRES_NAME
    until(lambda: service.tend() or written.exists())
    assert msgspec.json.decode(written.read_bytes()) == {"dsn": "postgresql://somewhere"}
