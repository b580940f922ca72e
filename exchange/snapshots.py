"""Snapshots: the state at one position of the journal, so that a start need not read all of it.

The follower writes them, the exchange and the follower start from the newest whole one. Only
processes of the same build need to agree on the inside (`build` is compared); a snapshot that does
not fit is passed over, for the journal can always make it again.

    file = MAGIC 8 · BLAKE2b-256 of the rest 32 · msgpack {head …, registry, tables}
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from exchange.identity import FILE_MODE
from exchange.registry import Registry
from matching_core.market import Market

MAGIC: Final = b"CURBSNP1"
SUFFIX: Final = ".snap"
KEPT: Final = 2
ANYWHERE: Final = 2**63  # behind every position
_HASH_BYTES: Final = 32


class Snapshot(NamedTuple):
    """The state behind every record before `position`; `prior` is the crc of the last of them."""

    market: Market
    registry: Registry
    position: int
    prior: int
    path: Path | None


def save(
    folder: Path, number: int, market: Market, registry: Registry, position: int, prior: int
) -> Path:
    """Write the snapshot of market `number`, synced, whole or not at all, and drop the oldest."""
    body = msgspec.msgpack.encode(
        {
            "build": build(),
            "number": number,
            "position": position,
            "prior": prior,
            "registry": registry.snapshot(),
            "tables": {name: _pack(value) for name, value in market.snapshot().items()},
        }
    )
    path = folder / f"{position:020d}{SUFFIX}"
    part = path.with_name(path.name + ".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(MAGIC + hashlib.blake2b(body, digest_size=_HASH_BYTES).digest())
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync_folder(folder)
    for old in newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path, number: int, upto: int = ANYWHERE) -> Snapshot:
    """Return the newest whole snapshot of market `number` not behind `upto`; else an empty state."""
    for path in newest_first(folder):
        found = _load(path, number, upto)
        if found is not None:
            return found
    return Snapshot(Market(), Registry(), 0, 0, None)


def newest_first(folder: Path) -> list[Path]:
    """List the snapshots of a folder."""
    return sorted(folder.glob(f"*{SUFFIX}"), reverse=True)


def build() -> str:
    """Return what must be equal for one process to read another's tables.

    That is the sources of the core, of the registry, and of the closed lists whose places they hold.
    """
    home = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for package in (home.parent / "matching_core", home.parent / "schemas"):
        for source in sorted(package.rglob("*.py")):
            digest.update(source.read_bytes())
    digest.update((home / "registry.py").read_bytes())
    return digest.hexdigest()


def _load(path: Path, number: int, upto: int) -> Snapshot | None:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None  # dropped by the follower meanwhile, which has made a newer one
    start = len(MAGIC) + _HASH_BYTES
    body = memoryview(raw)[start:]
    whole = hashlib.blake2b(body, digest_size=_HASH_BYTES).digest()
    if raw[: len(MAGIC)] != MAGIC or raw[len(MAGIC) : start] != whole:
        return None
    plain: dict[str, Any] = msgspec.msgpack.decode(body)
    if plain["build"] != build() or plain["number"] != number or plain["position"] > upto:
        return None
    tables = {name: _unpack(value) for name, value in plain["tables"].items()}
    return Snapshot(
        Market.restore(tables),
        Registry.restore(plain["registry"]),
        plain["position"],
        plain["prior"],
        path,
    )


def _pack(value: np.ndarray | bytes) -> Any:
    if isinstance(value, bytes):
        return value
    return [value.dtype.str, list(value.shape), np.ascontiguousarray(value).tobytes()]


def _unpack(value: Any) -> np.ndarray | bytes:
    if isinstance(value, bytes):
        return value
    dtype, shape, raw = value
    # A copy: what msgpack gave is read-only, and the market writes into its tables.
    return np.frombuffer(raw, np.dtype(dtype)).reshape(shape).copy()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
