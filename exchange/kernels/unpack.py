"""Frames of bids of the journal, many at once: what `exchange.kernels.pack` wrote, checked and laid out.

Every check that `journal.walk.judge` makes of a record is made here too, the same checksums and the
chain included. The first record that is anything but a sound frame of plain bids of the same moment ends
the call, and `judge` says what it is.
"""

from typing import Final

import numpy as np

from exchange.journal.record import HEADER_BYTES, VERSION, Kind
from exchange.kernels import pack
from matching_core.jit import Array, kernel
from schemas import records

# Words of `state`: where the reader stands, taken forward; then what the bids have in common.
POSITION, PRIOR, MARKET, SEQ, AT_NS, BIDS = range(6)
STATE_WORDS: Final = 6

_LOW: Final = 0xFFFFFFFF
_WORDS: Final = HEADER_BYTES // 8
_FRAME_WORDS: Final = records.HEADER_BYTES // 8
_BID_WORDS: Final = records.BID_RECORD.itemsize // 8
_KIND: Final = int(Kind.FRAME) | VERSION << 16
_TYPE: Final = records.BID | records.RECORD_VERSION << 16 | 8 * _BID_WORDS << 32
_FLAGS_WORD, _FLAGS_SHIFT = 6, 48
assert records.BID_RECORD.fields is not None
assert records.BID_RECORD.fields["flags"][1] == 8 * _FLAGS_WORD + _FLAGS_SHIFT // 8


@kernel
def take_frames(words: Array, place: int, state: Array, batch: Array, runs: Array) -> int:
    """Take the frames of bids that stand behind one another; returns how many.

    Args:
        words: int64[m], bytes of the journal, not one behind what is durable.
        place: the word at which the record of `state[POSITION]` begins.
        state: int64[6] as above; SEQ and AT_NS are those of the first frame, BIDS is 0 before.
        batch: int64[n, 8], filled with the bids.
        runs: int64[k, 5], filled: columns as in pack.py, AGENT the index of the agent.
    """
    made = 0
    while made < runs.shape[0] and place + _WORDS + _FRAME_WORDS <= words.shape[0]:
        length = (words[place] >> 32) & _LOW
        count = words[place + 5] & _LOW
        body = place + _WORDS
        end = body + _FRAME_WORDS + _BID_WORDS * count
        if (
            words[place + 1] & _LOW != _KIND
            or (words[place + 1] >> 32) & _LOW != state[MARKET]
            or words[place + 2] != state[POSITION]
            or words[place + 9] & _LOW != state[PRIOR]
            or count == 0
            or length != 8 * (end - body)
            or end > words.shape[0]
            or state[BIDS] + count > batch.shape[0]
            or words[body] != _TYPE | count << 48
            or (made > 0 and words[place + 6] != state[AT_NS])
        ):
            break
        crc = pack.crc_of_words(words, place + 1, place + 9, pack.crc_of_half(_LOW, length))
        check = pack.crc_of_half(crc, words[place + 9] & _LOW) ^ _LOW
        crc = pack.crc_of_words(words, body, end, check ^ _LOW) ^ _LOW
        if check != (words[place + 9] >> 32) & _LOW or crc != words[place] & _LOW:
            break
        flags = np.int64(0)
        into = state[BIDS]
        for bid in range(body + _FRAME_WORDS, end, _BID_WORDS):
            flags |= (words[bid + _FLAGS_WORD] >> _FLAGS_SHIFT) & records.FLAG_EXPLAIN
            for word in range(_BID_WORDS):
                batch[into, word] = words[bid + word]
            into += 1
        if flags != 0:
            break
        if made == 0:
            state[SEQ] = words[place + 4]
            state[AT_NS] = words[place + 6]
        elif words[place + 4] != state[SEQ] + state[BIDS]:
            break
        run = runs[made]
        run[pack.AT] = state[BIDS]
        run[pack.COUNT] = count
        run[pack.AGENT] = (words[place + 5] >> 32) & _LOW
        run[pack.EPOCH] = words[place + 8] & _LOW
        run[pack.MESSAGE] = words[place + 7]
        state[BIDS] = into
        state[PRIOR] = crc
        state[POSITION] += 8 * (end - place)
        place = end
        made += 1
    return made
