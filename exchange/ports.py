"""Addresses: `*` in a setting becomes a port once, and stays that port for the data folder.

A restarted exchange must be found where its clients look for it, so what was chosen is written to
DATA/run/ports.json before anything is bound.
"""

import contextlib
import socket
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from exchange.config import Config, ConfigError
from exchange.identity import write_private

PORTS_NAME: Final = "ports.json"


class Addresses(Struct, frozen=True, kw_only=True):
    """Where each door of this data folder is bound."""

    commands: str
    events: str
    tape: str
    http: str  # host:port


def resolve(config: Config) -> Addresses:
    """Return the addresses, choosing free ports for those that say `*` and were never chosen."""
    path = config.run_folder / PORTS_NAME
    chosen = _chosen(path)
    wanted = {
        "commands": config.exchange.commands_bind,
        "events": config.follower.events_bind,
        "tape": config.follower.tape_bind,
        "http": config.follower.http_bind,
    }
    addresses = {}
    with contextlib.ExitStack() as held:
        for name, address in wanted.items():
            if not address.endswith(":*"):
                addresses[name] = address
            elif chosen.get(name, "").startswith(address[:-1]):
                addresses[name] = chosen[name]
            else:
                # Held until all are chosen, so that no two doors get one port.
                listener = held.enter_context(_listener(name, address[:-2].removeprefix("tcp://")))
                addresses[name] = f"{address[:-1]}{listener.getsockname()[1]}"
    result = Addresses(**addresses)
    if addresses != chosen:
        # Whole or not at all: half a file would mean new ports, where no client looks.
        write_private(path, msgspec.json.encode(result))
    return result


def _listener(name: str, host: str) -> socket.socket:
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(("" if host == "*" else host, 0), family=family)
    except OSError as error:
        raise ConfigError(f"{name}: cannot listen on {host}: {error.strerror}") from None


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def load(config: Config) -> Addresses:
    """Read the addresses that `resolve` chose; raises FileNotFoundError before the first serve."""
    raw = (config.run_folder / PORTS_NAME).read_bytes()
    return msgspec.json.decode(raw, type=Addresses)


def _chosen(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
