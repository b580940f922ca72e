"""What a data folder is: its market number, its keys, and the first two bundles.

Made once, when a folder is first served; afterwards only read. The market number goes into every
record of the journal, every token and every ledger key, so that two folders never mix.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated, Final

import msgspec
import zmq
from msgspec import Meta, Struct

from exchange.config import Config

IDENTITY_NAME: Final = "identity.json"
SECRET_BYTES: Final = 32
# (member, agent number) of the keys below: enrolled by the folder itself, never over the wire.
HOST_AGENTS: Final = (("admin", 0), ("verifier", 0))
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


class KeyPair(Struct, frozen=True, kw_only=True):
    """A CURVE key pair, Z85."""

    public: Annotated[str, Meta(min_length=40, max_length=40)]
    secret: Annotated[str, Meta(min_length=40, max_length=40)]

    def __repr__(self) -> str:
        """Leave the secret out: this lands in logs."""
        return f"KeyPair({self.public})"


class Identity(Struct, frozen=True, kw_only=True):
    """The secrets of one data folder."""

    market: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    server: KeyPair
    admin: KeyPair
    verifier: KeyPair
    token_secret: str  # hex: fill tokens' site keys are derived from it
    postgres_password: str

    def __repr__(self) -> str:
        """Leave the secrets out: this lands in logs."""
        return f"Identity(market={self.market})"

    @property
    def token_secret_bytes(self) -> bytes:
        """The secret as `schemas.token` takes it."""
        return bytes.fromhex(self.token_secret)


class IdentityError(RuntimeError):
    """A data folder's keys are missing, damaged or readable by others; names the file."""


def _key_pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public=public.decode(), secret=secret.decode())


def prepare(config: Config) -> Identity:
    """Make the data folder's parts that are missing and return its identity."""
    for folder in (
        config.data, config.journal_folder, config.snapshots_folder, config.events_folder,
        config.keys_folder, config.run_folder, config.logs_folder,
    ):  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    config.keys_folder.chmod(FOLDER_MODE)
    path = config.keys_folder / IDENTITY_NAME
    if not path.exists():
        if any(config.journal_folder.glob("*.seg")):
            raise IdentityError(f"{path}: missing, though the folder has a journal: restore it")
        write_private(
            path,
            msgspec.json.encode(
                Identity(
                    market=1 + secrets.randbelow(2**32 - 1),
                    server=_key_pair(),
                    admin=_key_pair(),
                    verifier=_key_pair(),
                    token_secret=secrets.token_hex(SECRET_BYTES),
                    postgres_password=secrets.token_urlsafe(24),
                )
            ),
        )
    return load(config)


def load(config: Config) -> Identity:
    """Read the identity of a data folder; raises IdentityError naming the file."""
    path = config.keys_folder / IDENTITY_NAME
    try:
        raw = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}: not a served data folder?") from None
    if mode & 0o077:
        raise IdentityError(f"{path}: others may read it: chmod 600 {path}")
    try:
        return msgspec.json.decode(raw, type=Identity)
    except msgspec.MsgspecError as error:
        raise IdentityError(f"{path}: {error}") from None


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 600 that appears whole or not at all, synced."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    # Without its name the file is not there after a loss of power; with it a journal is unreadable.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
