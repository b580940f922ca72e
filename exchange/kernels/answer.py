"""Answers to a round's frames of bids: statuses, fills and their tokens, written in place.

    out   frame: header 16 · STATUS 24 × records · (header 16 · FILL 184 × fills) │ frame: …
          bounds[i] ─▲                                                            ▲─ bounds[i + 1]

Everything is 8 bytes wide and stands on a multiple of 8, so the buffer is int64 words; how each record
is made of them is checked against its dtype when this is imported. Events come in order of their
commands, so the fills of a frame follow one another as its records do. What the buyer may not see
(cost, score, an uncontested rival) is not copied (MARKET.md §8).
"""

from typing import Final

from exchange.kernels.admit import COUNT, FIRST, VERSION
from exchange.kernels.seal import BODY_TIME, MARGIN_NS, WHOLE, compress
from matching_core import event_rows as er
from matching_core.jit import Array, i64, inner, kernel
from schemas import records

_FILL: Final = records.EVENT_TYPES.index("fill")
_RESTING: Final = records.EVENT_TYPES.index("resting")
_UNFILLED: Final = records.EVENT_TYPES.index("unfilled")
_REJECTED: Final = records.EVENT_TYPES.index("rejected")
(
    _SEQ, _INDEX, _AT, _TYPE, _REASON, _, _BUYER, _AGENT, _BID, _UNIT, _QUANTITY, _OPERATOR, _SITE,
    _OFFER, _ORDINAL, _MODEL, _CAMPAIGN, _ORIGIN, _ADAPTER, _NUMBER, _TOKENS_IN, _TOKENS_OUT,
    _ATTRIBUTES, _PRICE, _, _, _RIVAL, _LATENCY, _LEASE,
) = range(29)  # fmt: skip
assert er.COLUMNS[_NUMBER] == "fill"
assert er.COLUMNS[_LEASE] == "lease_until"
_CONTESTED, _COLD, _RESTED = er.CONTESTED_BIT, er.COLD_BIT, er.RESTING_BIT
assert (er.HARDWARE_SHIFT, er.PRECISION_SHIFT, er.CONTRACT_SHIFT, er.TIER_SHIFT) == (0, 8, 16, 24)

HEADER_WORDS: Final = records.HEADER_BYTES // 8
STATUS_WORDS: Final = records.STATUS_RECORD.itemsize // 8
FILL_WORDS: Final = records.FILL_RECORD.itemsize // 8
_STATUS_TYPE: Final = records.STATUS | 8 * STATUS_WORDS << 32
_FILL_TYPE: Final = records.FILL | 8 * FILL_WORDS << 32
_LOW: Final = 0xFFFFFFFF
# The layouts that the words below are made for.
_STATUS_AT: Final = {"number": 0, "code": 8, "reason": 10, "fills": 12, "resting": 14, "ended": 16}
_FILL_AT: Final = {
    "seq": 0, "index": 8, "unit": 12, "fill": 16, "bid": 24, "at": 32, "lease_until": 40,
    "price": 48, "rival_score": 56, "ordinal": 64, "operator": 72, "site": 76, "model": 80,
    "campaign": 84, "origin": 88, "adapter": 92, "tokens_in": 96, "tokens_out": 100,
    "latency_us": 104, "offer": 108, "agent": 110, "hardware": 112, "precision": 113,
    "contract": 114, "tier": 115, "contested": 116, "cold": 117, "resting": 118, "token": 120,
}  # fmt: skip
for _dtype, _layout in ((records.STATUS_RECORD, _STATUS_AT), (records.FILL_RECORD, _FILL_AT)):
    assert _dtype.fields is not None
    assert {name: _dtype.fields[name][1] for name in _layout} == _layout


@inner
def _fill(
    event: Array, out: Array, at: int, head: int, states: Array, block: Array, state: Array
) -> None:
    """Write the buyer's copy of a fill, its token sealed, as FILL_RECORD at word `at`."""
    attributes = event[_ATTRIBUTES]
    contested = (attributes >> _CONTESTED) & 1
    site, fill = event[_SITE], event[_NUMBER]
    out[at] = event[_SEQ]
    out[at + 1] = event[_INDEX] | event[_UNIT] << 32
    out[at + 2] = fill
    out[at + 3] = event[_BID]
    out[at + 4] = event[_AT]
    out[at + 5] = event[_LEASE]
    out[at + 6] = event[_PRICE]
    # Uncontested, the rival's score would tell an ask that decided nothing.
    out[at + 7] = event[_RIVAL] * contested
    out[at + 8] = event[_ORDINAL]
    out[at + 9] = event[_OPERATOR] | site << 32
    out[at + 10] = event[_MODEL] | event[_CAMPAIGN] << 32
    out[at + 11] = event[_ORIGIN] | event[_ADAPTER] << 32
    out[at + 12] = event[_TOKENS_IN] | event[_TOKENS_OUT] << 32
    out[at + 13] = event[_LATENCY] | event[_OFFER] << 32 | event[_AGENT] << 48
    flags = contested | (attributes >> _COLD & 1) << 8 | (attributes >> _RESTED & 1) << 16
    out[at + 14] = (attributes & _LOW) | flags << 32
    # The token's 44 bytes, five words and a half, and the MAC of 16.
    deadline = event[_LEASE] - MARGIN_NS
    block[0] = head | fill << 48
    block[1] = (fill >> 16) | site << 48
    block[2] = (site >> 16) | event[_OFFER] << 16 | event[_MODEL] << 32
    block[3] = event[_ADAPTER] | event[_TOKENS_IN] << 32
    block[4] = event[_TOKENS_OUT] | deadline << 32
    block[5] = deadline >> 32
    for word in range(8):
        state[word] = states[site, word]
    compress(state, block, BODY_TIME, WHOLE)
    for word in range(5):
        out[at + 15 + word] = block[word]
    low, high = i64(state[0]), i64(state[1])
    out[at + 20] = (deadline >> 32) | low << 32
    out[at + 21] = (low >> 32 & _LOW) | high << 32
    out[at + 22] = high >> 32 & _LOW


@kernel
def answer_bids(
    frames: Array, codes: Array, batch: Array, senders: Array, origin: Array, accepted: int,
    matrix: Array, seq: int, head: int, states: Array, known: Array, block: Array,
    state: Array, missing: Array, told: Array, fills: Array, bounds: Array, out: Array,
) -> int:  # fmt: skip
    """Write every frame's answer; returns the words used, or minus how many sites' states are missing.

    Args:
        frames, codes, batch, senders, origin: as `admit_bids` left them; `accepted` of the bids.
        matrix: events of the accepted bids, the first of which is command `seq`. Events of others
            in it (expiries, resting bids that filled) are passed over: the feed tells their owners.
        head, states, known, block, state: of a Sealer.
        missing: int64[sites + 1], filled where states are missing; call again when they are made.
        told: int64[n, 2], scratch: of each record its status' word, and how many fills it has.
        fills: int64[frames], scratch: where the next fill of a frame is written.
        bounds: int64[frames + 1], filled: where each answer begins, in words.
        out: int64[…] with room for all statuses, two headers a frame, and a fill per event.
    """
    # A rejected record has no outcome: a number used twice may be that of a bid that ends just now.
    for number in range(matrix.shape[0]):
        event = matrix[number]
        if event[_TYPE] == _REJECTED:
            codes[origin[event[_SEQ] - seq]] = event[_REASON]
    told[:, 1] = 0
    lacking = 0
    for number in range(matrix.shape[0]):
        event = matrix[number]
        if event[_TYPE] != _FILL or (event[_ATTRIBUTES] >> _RESTED) & 1 != 0:
            continue
        place = event[_SEQ] - seq
        record = origin[place]
        if (
            codes[record] == 0
            and event[_BID] == batch[place, 0]
            and event[_BUYER] == senders[place, 0]
            and event[_AGENT] == senders[place, 1]
        ):
            told[record, 1] += 1
            site = event[_SITE]
            if site >= known.shape[0] or known[site] == 0:
                missing[lacking] = site
                lacking += 1
    if lacking:
        return -lacking

    at = record = next_accepted = 0
    for number in range(frames.shape[0]):
        bounds[number] = at
        count = frames[number, COUNT]
        version = frames[number, VERSION]
        out[at] = _STATUS_TYPE | version << 16 | count << 48
        out[at + 1] = frames[number, FIRST]
        at += HEADER_WORDS
        got = i64(0)
        for _ in range(count):
            out[at] = out[at + 2] = 0
            if next_accepted < accepted and origin[next_accepted] == record:
                out[at] = seq + next_accepted
                next_accepted += 1
            out[at + 1] = codes[record] | told[record, 1] << 32
            got += told[record, 1]
            told[record, 0] = at
            told[record, 1] = number
            at += STATUS_WORDS
            record += 1
        if got:
            out[at] = _FILL_TYPE | version << 16 | got << 48
            out[at + 1] = frames[number, FIRST]
            fills[number] = at + HEADER_WORDS
            at += HEADER_WORDS + got * FILL_WORDS
    bounds[frames.shape[0]] = at

    for number in range(matrix.shape[0]):
        event = matrix[number]
        kind = event[_TYPE]
        if kind not in (_FILL, _RESTING, _UNFILLED):
            continue
        place = event[_SEQ] - seq
        record = origin[place]
        if (
            codes[record] != 0
            or event[_BID] != batch[place, 0]
            or event[_BUYER] != senders[place, 0]
            or event[_AGENT] != senders[place, 1]
        ):
            continue
        status = told[record, 0]
        if kind == _RESTING:
            out[status + 1] |= event[_QUANTITY] << 48
        elif kind == _UNFILLED:
            out[status + 1] |= event[_REASON] << 16
            out[status + 2] |= event[_QUANTITY]
        elif (event[_ATTRIBUTES] >> _RESTED) & 1 == 0:
            frame = told[record, 1]
            _fill(event, out, fills[frame], head, states, block, state)
            fills[frame] += FILL_WORDS
    return at
