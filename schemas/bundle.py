"""A member's bundle: the one file an agent needs to reach the exchange and prove who it is.

JSON, readable by its owner alone (mode 600), for it holds a secret key. The exchange's host writes
it (`curb member add`, `curb site enrol`); SDK and adapters read it.
"""

import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.commands import AgentNumber, Name, NameOrNone

KIND: Final = "curb bundle 1"
MODE: Final = 0o600

Z85Key = Annotated[str, Meta(min_length=40, max_length=40)]
KeyHex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
KeyId = Annotated[str, Meta(pattern=r"\A(0|[1-9][0-9]{0,2})\Z")]


class BundleError(Exception):
    """Say which bundle cannot be read or written, and why; never what secret is in it."""


class Bundle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Who an agent is, where the exchange is, and the keys of both. Unknown fields are kept out.

    Addresses are ZeroMQ endpoints such as `tcp://192.0.2.1:7700`. For a site's proxy, `token_keys`
    maps the number of a token key to 64 hex digits, and `site_handle` is the site's u32. `origin`: the
    metro where a buyer's agent stands, from which its requests come unless it says otherwise.
    """

    kind: Literal["curb bundle 1"] = KIND
    member: Name
    role: Literal["admin", "verifier", "operator", "buyer"]
    agent: AgentNumber
    sites: tuple[Name, ...] = ()
    public_key: Z85Key
    secret_key: Z85Key
    server_key: Z85Key
    commands_address: Annotated[str, Meta(min_length=1)]
    events_address: str = ""
    tape_address: str = ""
    market: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    site: NameOrNone = ""
    site_handle: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    token_keys: dict[KeyId, KeyHex] = {}
    origin: NameOrNone = ""

    def __repr__(self) -> str:
        """Name the agent and leave the secrets out: this lands in logs."""
        return f"Bundle({self.role} {self.member}#{self.agent})"

    @property
    def token_key_bytes(self) -> dict[int, bytes]:
        """The token keys as `schemas.token.TokenChecker` takes them."""
        return {int(number): bytes.fromhex(key) for number, key in self.token_keys.items()}


def load_bundle(path: Path | str) -> Bundle:
    """Read a bundle.

    Raises:
        BundleError: absent, unreadable, not a bundle, or readable by others than its owner.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    if mode & 0o077:
        raise BundleError(f"{path}: holds a secret key but others may read it: chmod 600 {path}")
    try:
        return msgspec.json.decode(raw, type=Bundle)
    except msgspec.ValidationError as error:
        raise BundleError(f"{path}: {error}") from None
    except (msgspec.MsgspecError, ValueError):
        raise BundleError(f"{path}: is no JSON") from None


def save_bundle(bundle: Bundle, path: Path | str) -> Path:
    """Write a bundle with mode 600 under a name that appears whole or not at all.

    Raises:
        BundleError: the disk refused.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    text = msgspec.json.format(msgspec.json.encode(bundle), indent=2) + b"\n"
    try:
        part.unlink(missing_ok=True)
        # Made with its mode: a chmod afterwards would leave a moment in which others can read.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    return path
