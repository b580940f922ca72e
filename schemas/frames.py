"""Frames to records and messages and back: the only place where a peer's bytes are judged.

    buffer ──decode──▶ Frame(type, version, first, records | message)
                 └───▶ ProtocolError, whatever the bytes are; nothing else comes out

Records are decoded in place: the arrays view the buffer they came in (read-only, and alive as long
as they are). WIRE.md, "Frames" and "Versions".
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np

from schemas import limits, records
from schemas.commands import AnyCommand
from schemas.reasons import REFUSED
from schemas.session.messages import (
    NUMBERED,
    ClientMessage,
    Message,
    Order,
    ServerMessage,
)

Buffer: TypeAlias = bytes | bytearray | memoryview

# The length of each record in version 1. A record only grows, so nothing shorter was ever sent.
FIRST_LENGTH: Final[dict[int, int]] = {
    records.OFFER: 88, records.REFRESH: 32, records.RENEW: 8, records.OFFER_CANCEL: 8,
    records.OFFERS_CANCEL: 8, records.BID: 64, records.BID_CANCEL: 8, records.BIDS_CANCEL: 8,
    records.START: 8, records.COMPLETE: 24, records.RELEASE: 8, records.DECLINE: 16,
    records.RTT: 16, records.STATUS: 24, records.FILL: 184, records.EVENT: 240, records.TAPE: 48,
    records.BOOK: 32,
    records.BOOK: 32,
}  # fmt: skip
ANSWER_RECORDS: Final[dict[int, np.dtype]] = {
    records.STATUS: records.STATUS_RECORD,
    records.FILL: records.FILL_RECORD,
    records.EVENT: records.EVENT_RECORD,
    records.TAPE: records.TAPE_RECORD,
    records.BOOK: records.BOOK_RECORD,
    records.BOOK: records.BOOK_RECORD,
}
NUMBER_MAX: Final = limits.NUMBER_MAX

_HEADER = records.FRAME_HEADER
_HEADER_BYTES: Final = records.HEADER_BYTES
_EMPTY: Final = np.zeros(0, records.FILL_RECORD)
_EMPTY.flags.writeable = False


class ProtocolError(Exception):
    """Say what is wrong with bytes that a peer sent; `code` is a number of `reasons.REFUSED`."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.code: int = REFUSED[reason]
        self.why = why


class CommandError(Exception):
    """Say which field of an order's command is wrong: refused as `field`, the session goes on."""


class Frame(NamedTuple):
    """One message as it came: `records` of a hot type, or else `message`.

    `first` is the number of its first record or of the message, 0 for what is not numbered; it
    takes `numbers` of them (0 when not numbered). `units` is what the rate counts: the sum of a bid frame's quantities, else one per record.
    """

    type: int
    version: int
    first: int
    numbers: int
    units: int
    records: np.ndarray
    message: Message | None
    fills: np.ndarray  # of a STATUS frame; empty for the others


# ----------------------------------------------------------------------------- decoding
def _array_of_header(buffer: Buffer, offset: int) -> tuple[int, int, int, int, int]:
    if len(buffer) - offset < _HEADER_BYTES:
        raise ProtocolError("malformed", f"{len(buffer) - offset} bytes are no header of 16")
    kind, version, length, count, first = np.frombuffer(buffer, _HEADER, 1, offset)[0].tolist()
    return kind, version, length, count, first


def view_records(
    buffer: Buffer, dtype: np.dtype, shortest: int, length: int, count: int, offset: int
) -> np.ndarray:
    """View `count` records that lie `length` bytes apart from `offset` on; never reads beyond them.

    Longer records than `dtype` are a newer sender's: what follows is passed over. Shorter ones, but
    at least `shortest`, are an older sender's: they are copied and the rest is zero.

    Raises:
        ProtocolError: malformed, when a record ends inside a field or before `shortest`, or when
            the buffer is too short.
    """
    if len(buffer) - offset < length * count:
        raise ProtocolError("malformed", "the frame is shorter than its records")
    size = dtype.itemsize
    if length == size:
        return np.frombuffer(buffer, dtype, count, offset)
    if length > size:
        return np.ndarray((count,), dtype, buffer, offset, (length,))
    if length < shortest or length not in field_ends(dtype):
        raise ProtocolError("malformed", f"no version has records of {length} bytes")
    older = np.zeros((count, size), np.uint8)
    older[:, :length] = np.frombuffer(buffer, np.uint8, length * count, offset).reshape(-1, length)
    view: np.ndarray = older.view(dtype)[:, 0]
    view.flags.writeable = False
    return view


def field_ends(dtype: np.dtype) -> frozenset[int]:
    """Return the offsets at which a field of a record ends: the lengths that a version may have."""
    assert dtype.fields is not None
    return frozenset(entry[1] + entry[0].itemsize for entry in dtype.fields.values())


_Decoded = TypeVar("_Decoded")


def _guarded(decode: Callable[[Buffer], _Decoded], body: Buffer) -> _Decoded:
    try:
        return decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError("malformed", f"no message: {error}") from None


_client_decoder: Final = msgspec.msgpack.Decoder(ClientMessage)
_server_decoder: Final = msgspec.msgpack.Decoder(ServerMessage)
_command_decoder: Final = msgspec.msgpack.Decoder(AnyCommand)
_encoder: Final = msgspec.msgpack.Encoder()


def _decode_message(
    buffer: Buffer,
    decode: Callable[[Buffer], Message],
    length: int,
    count: int,
) -> Message:
    if length != 0 or count != 1:
        raise ProtocolError("malformed", "a message has length 0 and count 1")
    return _guarded(decode, memoryview(buffer)[_HEADER_BYTES:])


def _check_size(buffer: Buffer) -> None:
    if len(buffer) > limits.MESSAGE_BYTES_MAX:
        raise ProtocolError("size", f"a message has at most {limits.MESSAGE_BYTES_MAX} bytes")


def decode_client(buffer: Buffer) -> Frame:
    """Decode what a client sends: hot commands or one message (exchange and follower use this).

    Whether the version was agreed, the numbers follow, and the role may send it is judged by the
    session and by admission; values within the records by admission.

    Raises:
        ProtocolError: malformed, or size for more records or units than a frame may carry.
    """
    _check_size(buffer)
    kind, version, length, count, first = _array_of_header(buffer, 0)
    if kind == records.MESSAGE:
        message = _decode_message(buffer, _client_decoder.decode, length, count)
        numbered = isinstance(message, NUMBERED)
        _check_first(first, 1, numbered=numbered)
        return Frame(kind, version, first, int(numbered), 1, _EMPTY, message, _EMPTY)
    dtype = records.COMMAND_RECORDS.get(kind)
    if dtype is None:
        raise ProtocolError("malformed", f"no type of frame: {kind}")
    _check_count(count, limits.RECORDS_PER_FRAME_MAX)
    _check_first(first, count, numbered=True)
    if len(buffer) != _HEADER_BYTES + length * count:
        raise ProtocolError("malformed", "the frame is not as long as its records")
    array = view_records(buffer, dtype, FIRST_LENGTH[kind], length, count, _HEADER_BYTES)
    units = count
    if kind == records.BID:
        units = int(array["quantity"].sum(dtype=np.int64))
        if units > limits.UNITS_PER_FRAME_MAX:
            raise ProtocolError(
                "size", f"a frame carries at most {limits.UNITS_PER_FRAME_MAX} units"
            )
    return Frame(kind, version, first, count, units, array, None, _EMPTY)


def _check_count(count: int, most: int) -> None:
    if count == 0:
        raise ProtocolError("malformed", "a frame carries at least one record")
    if count > most:
        raise ProtocolError("size", f"a frame carries at most {most} records")


def _check_first(first: int, count: int, *, numbered: bool) -> None:
    if not numbered and first != 0:
        raise ProtocolError("malformed", "this message is not numbered")
    if numbered and not 1 <= first <= NUMBER_MAX - count:
        raise ProtocolError("malformed", "message numbers go from 1 to 2**63 - 1")


def decode_server(buffer: Buffer) -> Frame:
    """Decode what the exchange or the follower sends: answers, events, tape, or one message.

    A STATUS frame's fills are in `fills`, in the order of its records. Message numbers of messages
    are not judged here: only the session knows what it asked.

    Raises:
        ProtocolError: malformed, or size for a frame over the limits.
    """
    _check_size(buffer)
    kind, version, length, count, first = _array_of_header(buffer, 0)
    if first > NUMBER_MAX:
        raise ProtocolError("malformed", "numbers end at 2**63 - 1")
    if kind == records.MESSAGE:
        message = _decode_message(buffer, _server_decoder.decode, length, count)
        return Frame(kind, version, first, 1, 1, _EMPTY, message, _EMPTY)
    dtype = ANSWER_RECORDS.get(kind)
    if dtype is None or kind == records.FILL:
        raise ProtocolError("malformed", f"no type of frame: {kind}")
    most = limits.RECORDS_PER_FRAME_MAX
    _check_count(count, most if kind == records.STATUS else limits.UNITS_PER_FRAME_MAX)
    array = view_records(buffer, dtype, FIRST_LENGTH[kind], length, count, _HEADER_BYTES)
    end = _HEADER_BYTES + length * count
    fills = _EMPTY
    if kind == records.STATUS:
        fills, end = _decode_fills(buffer, array, first, end)
    if end != len(buffer):
        raise ProtocolError("malformed", "the frame is not as long as its records")
    return Frame(kind, version, first, count, count, array, None, fills)


def _decode_fills(
    buffer: Buffer, statuses: np.ndarray, first: int, offset: int
) -> tuple[np.ndarray, int]:
    told = int(statuses["fills"].sum(dtype=np.int64))
    if told == 0:
        return _EMPTY, offset
    kind, _, length, count, fill_first = _array_of_header(buffer, offset)
    if kind != records.FILL or count != told or fill_first != first:
        raise ProtocolError("malformed", "the fills are not those that the statuses tell of")
    _check_count(count, limits.UNITS_PER_FRAME_MAX)
    offset += _HEADER_BYTES
    shortest = FIRST_LENGTH[records.FILL]
    fills = view_records(buffer, records.FILL_RECORD, shortest, length, count, offset)
    return fills, offset + length * count


def decode_command(order: Order) -> AnyCommand:
    """Decode the command of an order, complete but for `at`, which the sequencer gives.

    Raises:
        CommandError: it is no command or a field is out of its range; the message says which.
    """
    try:
        command: AnyCommand = _command_decoder.decode(order.command)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CommandError(str(error)) from None
    return command


# ----------------------------------------------------------------------------- encoding
def encode_records(
    kind: int, array: np.ndarray, first: int, version: int = records.RECORD_VERSION
) -> bytes:
    """Encode records of one type as a frame. The array has the dtype of its kind.

    Raises:
        ValueError: no records, too many, or another dtype: a fault of the caller, not of a peer.
    """
    dtype = records.COMMAND_RECORDS.get(kind) or ANSWER_RECORDS[kind]
    if array.dtype != dtype:
        raise ValueError(f"records of type {kind} have another layout")
    most = limits.RECORDS_PER_FRAME_MAX if kind < records.FILL else limits.UNITS_PER_FRAME_MAX
    if not 1 <= len(array) <= most:
        raise ValueError(f"a frame of type {kind} carries 1 to {most} records")
    return header(kind, dtype.itemsize, len(array), first, version) + array.tobytes()


def header(
    kind: int, length: int, count: int, first: int, version: int = records.RECORD_VERSION
) -> bytes:
    """Return the 16 bytes that stand before every body."""
    return np.array((kind, version, length, count, first), _HEADER).tobytes()


def encode_message(
    message: Message, first: int = 0, version: int = records.RECORD_VERSION
) -> bytes:
    """Encode one message of `schemas.session.messages`; `first` is its number or the one it names."""
    return header(records.MESSAGE, 0, 1, first, version) + _encoder.encode(message)


def encode_order(command: AnyCommand) -> Order:
    """Wrap a command for the wire; its `at` travels as 0."""
    body = _encoder.encode(msgspec.structs.replace(command, at=0))
    return Order(command=msgspec.Raw(body))


def encode_answer(
    first: int,
    statuses: np.ndarray,
    fills: np.ndarray | None = None,
    version: int = records.RECORD_VERSION,
) -> bytes:
    """Encode the answer to a hot frame: one STATUS per record, then their fills if there are any."""
    answer = encode_records(records.STATUS, statuses, first, version)
    if fills is None or len(fills) == 0:
        return answer
    return answer + encode_records(records.FILL, fills, first, version)
