"""The journal's record: one header of 80 bytes, its payload, zeros to a multiple of 8.

All fields little-endian; a *position* is a byte offset in the whole journal, always a multiple of 8.

    byte
      0  crc u32     length u32  kind u16 version u16  market u32
     16  position u64            synced u64
     32  seq u64                 count u32             agent u32
     48  at_ns i64               message u64
     64  epoch u32   reserved u32  prior u32           check u32
     80  payload (length bytes), zeros up to a multiple of 8

    crc       CRC-32 of bytes 4 to 75 of the header and of the payload with its zeros (of a PAD: of
              the header alone)
    length    bytes of payload
    kind      1 FRAME  hot records of one type, payload = the wire frame
              2 RARE   one core command, msgpack
              3 NOTE   beside the core: member, key, session, registration …, msgpack
              4 PAD    the rest of the segment is unused; its payload is neither written nor watched
    version   of this layout
    market    of the data folder: a record of another folder is never taken for one of ours
    position  of the record itself: what a recycled segment still holds from its earlier life
              carries its old position, so it is never taken for new
    synced    end of what was durable when this was written, at most `position`: a later record thus
              proves that damage before `synced` is no torn tail (recovery.py)
    seq       number of its first core command; the next one's when it holds none
    count     core commands in it
    agent     who sent it, `message` the number of its first record in that agent's session of
              `epoch` (0: none)
    at_ns     the sequencer's time, nanoseconds since the Unix epoch
    prior     crc of the record before, 0 at position 0: the chain
    check     CRC-32 of bytes 4 to 75, which is where `crc` stood before the payload: a header can be
              believed (its `synced` is evidence) even where its payload was torn off

`crc` must not cover `check`: a CRC run over a message and its own CRC always ends at one constant,
so nothing of the header would be left in `crc`, and the chain would not bind it. Checked are both,
so no byte of a journal is unwatched.
CRC-32 finds every error of one burst up to 32 bits, hence every flipped bit; position, market and
prior settle what a CRC cannot: good records in the wrong place.
"""

import struct
from enum import IntEnum
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np

VERSION: Final = 1

HEADER: Final = np.dtype(
    [
        ("crc", "<u4"),
        ("length", "<u4"),
        ("kind", "<u2"),
        ("version", "<u2"),
        ("market", "<u4"),
        ("position", "<u8"),
        ("synced", "<u8"),
        ("seq", "<u8"),
        ("count", "<u4"),
        ("agent", "<u4"),
        ("at_ns", "<i8"),
        ("message", "<u8"),
        ("epoch", "<u4"),
        ("reserved", "<u4"),
        ("prior", "<u4"),
        ("check", "<u4"),
    ]
)
HEADER_BYTES: Final = 80
PAYLOAD_BYTES_MAX: Final = 1 << 20  # A frame of 1,024 records of 256 bytes is a quarter of it.
FIRST_SEQ: Final = 1  # MARKET_FILE.md: the first line has number 1.

# The same layout for one record at a time: a structured scalar costs ten times a struct.
FIELDS: Final = struct.Struct("<IIHHIQQQIIqQIIII")
_BODY: Final = struct.Struct("<IHHIQQQIIqQIII")
_WORD: Final = struct.Struct("<I")
_SEALED: Final = struct.Struct("<I72sI")  # crc, the 72 bytes of _BODY, check
CHECK_AT: Final = 76
_ZEROS: Final = tuple(bytes(n) for n in range(8))

assert HEADER.itemsize == FIELDS.size == HEADER_BYTES
assert _BODY.size == CHECK_AT - 4
assert _SEALED.size == HEADER_BYTES
assert HEADER.fields is not None
assert HEADER.fields["check"][1] == CHECK_AT
assert HEADER.fields["position"][1] == 16  # walk.py looks for this word.


class Kind(IntEnum):
    """What a record's payload is."""

    FRAME = 1
    RARE = 2
    NOTE = 3
    PAD = 4


class Record(NamedTuple):
    """One record as read: the header's fields, the payload, and the position that follows it.

    `payload` is a read-only view of a buffer that is never written again: keep it as long as needed.
    """

    kind: int
    version: int
    market: int
    position: int
    synced: int
    seq: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on a record
    agent: int
    at_ns: int
    message: int
    epoch: int
    prior: int
    crc: int
    payload: memoryview
    end: int


def padded(length: int) -> int:
    """Give the bytes that a record with `length` bytes of payload takes up."""
    return HEADER_BYTES + ((length + 7) & -8)


def encode(
    into: memoryview,
    start: int,
    payload: bytes | bytearray | memoryview,
    kind: int,
    market: int,
    position: int,
    synced: int,
    seq: int,
    count: int,
    agent: int,
    at_ns: int,
    message: int,
    epoch: int,
    prior: int,
) -> int:
    """Write a record at `into[start:]` and return its crc, the next record's `prior`.

    `payload` is bytes or a view of format "B"; `into` must have room for `padded(len(payload))`.
    Raises struct.error for a value outside its field; `into` is then overwritten in part.
    """
    length = len(payload)
    body = start + HEADER_BYTES
    end = body + length
    head = _BODY.pack(
        length,
        kind,
        VERSION,
        market,
        position,
        synced,
        seq,
        count,
        agent,
        at_ns,
        message,
        epoch,
        0,
        prior,
    )
    check = crc32(head)
    crc = crc32(payload, check)
    into[body:end] = payload
    if length & 7:  # The buffer is used again and again: what stood here before must not show.
        zeros = _ZEROS[-length & 7]
        crc = crc32(zeros, crc)
        into[end : end + len(zeros)] = zeros
    _SEALED.pack_into(into, start, crc, head, check)
    return crc


def encode_pad(
    into: memoryview, start: int, room: int, market: int, position: int, seq: int, prior: int
) -> int:
    """Write the header that declares the segment's last `room` bytes (80 or more) unused.

    Returns its crc. Nothing is durable behind its own position, so `synced` stays 0: no evidence.
    """
    length = room - HEADER_BYTES
    head = _BODY.pack(length, Kind.PAD, VERSION, market, position, 0, seq, 0, 0, 0, 0, 0, 0, prior)
    crc = crc32(head)
    _SEALED.pack_into(into, start, crc, head, crc)
    return crc


def header_is_sound(head: bytes | memoryview) -> bool:
    """Tell whether 80 bytes are a header that was written as it stands."""
    check: int = _WORD.unpack_from(head, CHECK_AT)[0]
    return crc32(head[4:CHECK_AT]) == check
