"""Notes: the journal's records that the core passes over (WIRE.md, "Order and identity").

Members, keys, sessions and sets of adapters stand in the journal beside the commands, so that
whoever reads it knows as much as the exchange did. One Struct each, msgpack, in records of kind
NOTE. `exchange.registry` folds them.
"""

from typing import Final

import msgspec
from msgspec import Struct


class Note(Struct, frozen=True, kw_only=True, tag_field="n"):
    """What stands in the journal beside the commands."""


class AgentNote(Note, frozen=True, kw_only=True, tag="agent"):
    """A key was enrolled. The same (member, number) again: the key, the sites or the rate change."""

    agent_index: int  # dense from 1, in order of enrolment; 0 is the exchange itself
    member: str
    role: str  # operator, buyer, verifier, admin
    number: int
    public_key: str  # CURVE, Z85
    sites: tuple[str, ...] = ()
    units_per_second: int = 0  # 0: the exchange's default


class RevokeNote(Note, frozen=True, kw_only=True, tag="revoke"):
    """A key was revoked: it admits nobody from here on."""

    public_key: str


class SessionNote(Note, frozen=True, kw_only=True, tag="session"):
    """A session of an agent was opened, or ended (`opened` false)."""

    agent_index: int
    epoch: int
    opened: bool
    cancel_after_us: int = 0
    streams: tuple[str, ...] = ()


class AdapterSetNote(Note, frozen=True, kw_only=True, tag="adapter_set"):
    """A member registered a set of adapters for its offers and got the core's handle of it."""

    member: str
    handle: int
    adapters: tuple[str, ...]


AnyNote = AgentNote | RevokeNote | SessionNote | AdapterSetNote

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[AnyNote]] = msgspec.msgpack.Decoder(AnyNote)


def encode(note: AnyNote) -> bytes:
    """Return the note as it stands in the journal."""
    return _ENCODER.encode(note)


def decode(payload: bytes | memoryview) -> AnyNote:
    """Read a note; raises msgspec.DecodeError, which in a checked journal means another build."""
    return _DECODER.decode(payload)
