"""Configuration: one TOML file, then the environment, read once at start.

    [exchange]                         CURB_EXCHANGE__COMMANDS_BIND=tcp://127.0.0.1:7401
    commands_bind = "tcp://…"          CURB_POSTGRES__DSN_FILE=/run/secrets/dsn   (the value is the file's)

A name that is not in the table below is an error: a misspelt setting must not be a silent default.
Addresses with the port `*` are given a free port when a data folder is first served, which is then
kept in DATA/run/ports.json, so that a restart finds its clients again.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

PREFIX: Final = "CURB_"
FILE_SUFFIX: Final = "_FILE"
Positive = Annotated[int, Meta(ge=1)]


class ConfigError(ValueError):
    """A setting is unknown, or its value is not one: names the place and the setting."""


def _check_link(name: str, address: str) -> None:
    """Raise ValueError unless a ZeroMQ door may be there: any address, for each door has CURVE."""
    host, colon, port = address.removeprefix("tcp://").rpartition(":")
    if not address.startswith("tcp://") or not colon or not host or not _is_port(port):
        raise ValueError(f"{name}: {address} is not tcp://ADDRESS:PORT")


def _check_http(name: str, address: str) -> None:
    """Raise ValueError unless plain HTTP may be there: on a loopback or Unix address alone (S1)."""
    if address.startswith("unix:"):
        return
    host, _, port = address.rpartition(":")
    if not _is_port(port):
        raise ValueError(f"{name}: {address} is not ADDRESS:PORT")
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(
            f"{name}: {address}: without TLS it listens on loopback or unix:PATH only; "
            "put a proxy with TLS before it"
        )


def _is_port(text: str) -> bool:
    return text == "*" or (text.isascii() and text.isdigit() and int(text) <= 65_535)


class ExchangeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The exchange process: all that decides."""

    commands_bind: str = "tcp://127.0.0.1:*"
    units_per_second: Positive = 20_000  # of an agent whose enrolment says nothing else
    drain_messages: Positive = 4_096  # taken from the socket at once

    def __post_init__(self) -> None:
        _check_link("commands_bind", self.commands_bind)


class JournalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The journal's files."""

    segment_bytes: Annotated[int, Meta(ge=1 << 21, le=1 << 32)] = 64 << 20


class FollowerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The follower process: all that is not needed to answer a bid."""

    events_bind: str = "tcp://127.0.0.1:*"
    tape_bind: str = "tcp://127.0.0.1:*"
    http_bind: str = "127.0.0.1:*"
    snapshot_every: Positive = 200_000  # commands
    book_every_us: Positive = 1_000_000
    # Flagged bids of one buyer that are explained per second of market time; of all, ten times as
    # many. Each takes the follower about a millisecond. 0: none.
    explain_per_second: Annotated[int, Meta(ge=0, le=1_000)] = 20

    def __post_init__(self) -> None:
        _check_link("events_bind", self.events_bind)
        _check_link("tape_bind", self.tape_bind)
        _check_http("http_bind", self.http_bind)


class PostgresSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the ledger lives: a server by DSN, or (empty) one of our own."""

    dsn: str = ""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of `curb serve`."""

    exchange: ExchangeSettings = ExchangeSettings()
    journal: JournalSettings = JournalSettings()
    follower: FollowerSettings = FollowerSettings()
    postgres: PostgresSettings = PostgresSettings()
    data: Path = Path("curb-data")

    @property
    def journal_folder(self) -> Path:
        """Where the journal's segments and the durable page are."""
        return self.data / "journal"

    @property
    def snapshots_folder(self) -> Path:
        """Where the follower leaves snapshots."""
        return self.data / "snapshots"

    @property
    def events_folder(self) -> Path:
        """Where the follower writes events."""
        return self.data / "events"

    @property
    def keys_folder(self) -> Path:
        """Secrets: mode 700."""
        return self.data / "keys"

    @property
    def run_folder(self) -> Path:
        """What only matters while it runs: ports, status, pids."""
        return self.data / "run"

    @property
    def logs_folder(self) -> Path:
        """One JSON-lines file per process."""
        return self.data / "logs"


def load(path: Path | None, environment: Mapping[str, str], data: Path | None = None) -> Config:
    """Read the file (None: none), lay the environment over it, then `data` (the command line's).

    Raises ConfigError naming the place and the setting, OSError for a file that cannot be read.
    """
    plain: dict[str, Any] = {}
    place = "defaults"
    if path is not None:
        place = str(path)
        try:
            plain = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX):
            continue
        if f"{name}{FILE_SUFFIX}" in environment:
            raise ConfigError(f"{name} and {name}{FILE_SUFFIX}: give one of them")
        _overlay(plain, name, value)
    if data is not None:
        plain["data"] = str(data)
    try:
        return msgspec.convert(plain, Config, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{place} and environment: {error}") from error


def _overlay(plain: dict[str, Any], name: str, value: str) -> None:
    section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
    if not separator:
        if section == "data":
            plain["data"] = value
        # Others without a section are not settings: CURB_LOG_LEVEL and the like.
        return
    if key.endswith(FILE_SUFFIX.lower()):
        key = key.removesuffix(FILE_SUFFIX.lower())
        value = Path(value).read_text("utf-8").rstrip("\n")
    table = plain.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name}: {section} is not a section")
    table[key] = value


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ConfigError(f"cannot read {value!r} as {kind.__name__}")


def environment() -> Mapping[str, str]:
    """Return the process's environment (the one place that reads it)."""
    return os.environ
