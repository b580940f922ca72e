"""Admission of hot records: ranges of all fields, then (bids) whose campaign it is."""

from typing import Final

import numpy as np

from matching_core.jit import Array, inner, kernel
from schemas import records
from schemas.reasons import REFUSED

# Words of a field's row: exchange.admission.fields makes them.
OFFSET, BYTES, LOWEST, HIGHEST, NONE_ALLOWED, CODE = range(6)
FIELD_WORDS: Final = 6
# Columns of a frame of bids as it was taken.
COUNT, FIRST, MEMBER, NUMBER, INDEX, EPOCH, VERSION = range(7)
FRAME_WORDS: Final = 7
# Columns of a run of accepted records, as exchange.kernels.pack reads them.
RUN_AT, RUN_COUNT, RUN_INDEX, RUN_EPOCH, RUN_MESSAGE = range(5)
RUN_WORDS: Final = 5

_FIELD: Final = REFUSED["field"]
_HANDLE: Final = REFUSED["handle"]
_LOW: Final = 0xFFFFFFFF
_BID = records.BID_RECORD.fields
assert _BID is not None
# In words: campaign is the low half of word 2, tokens_in the high half of 3, tokens_out the low of 4.
assert [_BID[name][1] for name in ("campaign", "tokens_in", "tokens_out")] == [16, 28, 32]


@inner
def _wrong(octets: Array, place: int, table: Array) -> int:
    """Return the code of the first field of record `place` that is out of its range, or 0."""
    for row in range(table.shape[0]):
        offset = table[row, OFFSET]
        width = table[row, BYTES]
        value = np.int64(0)
        ones = np.int64(0)
        for octet in range(width):
            value |= np.int64(octets[place, offset + octet]) << (8 * octet)
            ones |= np.int64(255) << (8 * octet)
        # Eight octets with the top bit set come out negative: below every lowest bound.
        if table[row, NONE_ALLOWED] == 1 and value == ones:
            continue
        if value < table[row, LOWEST] or value > table[row, HIGHEST]:
            return int(table[row, CODE])
    return 0


@kernel
def check_fields(octets: Array, table: Array, codes: Array) -> None:
    """Write the refusal code of each record, uint8[n, bytes], into `codes` int64[n]."""
    for place in range(octets.shape[0]):
        code = _wrong(octets, place, table)
        if code != 0:
            codes[place] = code


@kernel
def admit_bids(
    frames: Array, octets: Array, table: Array, buyers: Array, codes: Array, batch: Array,
    senders: Array, origin: Array, runs: Array,
) -> int:  # fmt: skip
    """Judge all bids of a round's frames; what is accepted is put together. Returns how many runs.

    Args:
        frames: int64[frames, 7], columns as above.
        octets: uint8[n, 64], the records of all frames behind one another.
        table: the ranges of a bid's fields.
        buyers: buyer's handle by campaign handle.
        codes: int64[n], filled: 0 or why a record is refused.
        batch: int64[n, 8], filled: the accepted records.
        senders: int64[n, 2], filled: (member, agent number) of each.
        origin: int64[n], filled: each accepted record's place in `octets`.
        runs: int64[n, 5], filled: accepted records of one frame that follow one another.
    """
    words = octets.view(np.int64)
    place = accepted = made = 0
    for number in range(frames.shape[0]):
        frame = frames[number]
        member = frame[MEMBER]
        open_run = False
        for record in range(frame[COUNT]):
            code = _wrong(octets, place, table)
            if code == 0:
                # Another's campaign and an ended one look alike from outside: it is not yours.
                if buyers[words[place, 2] & _LOW] != member:
                    code = _HANDLE
                elif words[place, 3] >> 32 == 0 and words[place, 4] & _LOW == 0:
                    code = _FIELD
            codes[place] = code
            if code == 0:
                for word in range(words.shape[1]):
                    batch[accepted, word] = words[place, word]
                senders[accepted, 0] = member
                senders[accepted, 1] = frame[NUMBER]
                origin[accepted] = place
                if not open_run:
                    run = runs[made]
                    run[RUN_AT] = accepted
                    run[RUN_COUNT] = 0
                    run[RUN_INDEX] = frame[INDEX]
                    run[RUN_EPOCH] = frame[EPOCH]
                    run[RUN_MESSAGE] = frame[FIRST] + record
                    made += 1
                    open_run = True
                runs[made - 1, RUN_COUNT] += 1
                accepted += 1
            else:
                open_run = False
            place += 1
    return made
