"""A round's frames as records of the journal, byte for byte as `record.encode` writes them.

One compiled loop over all frames of a round: a struct, two checksums and three copies per record in
Python cost more than an auction. CRC-32 is the usual one (zlib's), eight bytes a step ("slicing by 8",
Kounavis and Berry, 2005).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.journal.record import FIELDS, HEADER_BYTES, VERSION, Kind
from matching_core.jit import Array, i64, inner, kernel
from schemas import records

# Columns of a run: accepted records of one frame that follow one another.
# AT: place of its first record among all; MESSAGE: number of that one in its session, 0 for none.
AT, COUNT, AGENT, EPOCH, MESSAGE = range(5)
RUN_WORDS: Final = 5
# Words of `state`: where the writer stands. PRIOR is the crc of the record before.
POSITION, DURABLE, SEQ, FILL, PRIOR, LIMIT, MARKET, AT_NS = range(8)
STATE_WORDS: Final = 8

_FRAME: Final = int(Kind.FRAME)
_VERSION: Final = VERSION
_HEADER: Final = HEADER_BYTES
_FRAME_HEADER: Final = records.HEADER_BYTES
_RECORD_VERSION: Final = records.RECORD_VERSION
assert FIELDS.size == HEADER_BYTES


def _tables() -> NDArray[np.int64]:
    """Make the eight tables: the effect of a byte that stands 0 … 7 places before the end of a step."""
    tables = np.zeros((8, 256), np.int64)
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
        tables[0, value] = crc
    for step in range(1, 8):
        tables[step] = (tables[step - 1] >> 8) ^ tables[0][tables[step - 1] & 255]
    return tables


_TABLES: Final = _tables()


@inner
def crc_of_half(crc: int, four: int) -> int:
    """Take four bytes (an int below 2**32) into the inverted crc."""
    low = crc ^ four
    return i64(
        _TABLES[3, low & 255]
        ^ _TABLES[2, (low >> 8) & 255]
        ^ _TABLES[1, (low >> 16) & 255]
        ^ _TABLES[0, (low >> 24) & 255]
    )


@inner
def crc_of_words(words: Array, start: int, end: int, crc: int) -> int:
    """Take the int64 words start … end − 1, little-endian, into the inverted crc."""
    for place in range(start, end):
        word = words[place]
        low = crc ^ (word & 0xFFFFFFFF)
        high = word >> 32
        crc = i64(
            _TABLES[7, low & 255]
            ^ _TABLES[6, (low >> 8) & 255]
            ^ _TABLES[5, (low >> 16) & 255]
            ^ _TABLES[4, (low >> 24) & 255]
            ^ _TABLES[3, high & 255]
            ^ _TABLES[2, (high >> 8) & 255]
            ^ _TABLES[1, (high >> 16) & 255]
            ^ _TABLES[0, (high >> 24) & 255]
        )
    return i64(crc)


@kernel
def pack_frames(runs: Array, begin: int, kind: int, batch: Array, into: Array, state: Array) -> int:
    """Write runs `begin` … as FRAME records behind one another; returns the first not written.

    Args:
        runs: int64[n, 5], columns as above.
        kind: type of the records.
        batch: int64[records, words], whole records of that type.
        into: int64[m], the writer's buffer; `state[FILL]` bytes of it are in use, and there is room.
        state: int64[8] as above, taken forward. A record that does not fit its segment ends the call.
    """
    width = batch.shape[1]
    for number in range(begin, runs.shape[0]):
        run = runs[number]
        count = run[COUNT]
        length = _FRAME_HEADER + 8 * width * count
        size = _HEADER + length
        room = state[LIMIT] - state[POSITION]
        if room != size and room < size + _HEADER:
            return int(number)
        start = state[FILL] >> 3
        body = start + (_HEADER >> 3)
        into[body] = kind | _RECORD_VERSION << 16 | 8 * width << 32 | count << 48
        into[body + 1] = run[MESSAGE]
        place = body + 2
        for record in range(run[AT], run[AT] + count):
            for word in range(width):
                into[place + word] = batch[record, word]
            place += width
        # record.FIELDS from `length` on; crc and check follow.
        into[start + 1] = _FRAME | _VERSION << 16 | state[MARKET] << 32
        into[start + 2] = state[POSITION]
        into[start + 3] = state[DURABLE]
        into[start + 4] = state[SEQ]
        into[start + 5] = count | run[AGENT] << 32
        into[start + 6] = state[AT_NS]
        into[start + 7] = run[MESSAGE]
        into[start + 8] = run[EPOCH]
        crc = crc_of_half(0xFFFFFFFF, length)
        crc = crc_of_words(into, start + 1, start + 9, crc)
        check = crc_of_half(crc, state[PRIOR]) ^ 0xFFFFFFFF
        crc = crc_of_words(into, body, place, check ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        into[start] = crc | length << 32
        into[start + 9] = state[PRIOR] | check << 32
        state[PRIOR] = crc
        state[POSITION] += size
        state[FILL] += size
        state[SEQ] += count
    return int(runs.shape[0])
