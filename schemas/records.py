"""Hot messages as frames of fixed-layout records, little-endian (WIRE.md, "Frames").

    message  = FRAME_HEADER (16 bytes) + body
    body     = `count` records of one type, `length` bytes each          (hot types, 1–63)
             | one msgpack value, `length` 0 and `count` 1               (everything rare, 64–)

`first` is the message number of the first record; the next has the next number. Fields are only
ever appended to a record: a reader takes the stride from `length`, not from its own dtype, and
fills what an older sender did not know with zeros.

Handles (u32) stand for names. 0 is no name: no deal, no adapter, any. They are given in the answer
to a registration and never used again in this market.
"""

from typing import Final

import numpy as np

from schemas import limits

RECORD_VERSION: Final = 1
HEADER_BYTES: Final = 16

FRAME_HEADER: Final = np.dtype(
    [("type", "<u2"), ("version", "<u2"), ("length", "<u2"), ("count", "<u2"), ("first", "<u8")]
)

# Types of frames. Hot commands below 32, answers and events below 64, msgpack from 64.
OFFER: Final = 1
REFRESH: Final = 2
RENEW: Final = 3
OFFER_CANCEL: Final = 4
OFFERS_CANCEL: Final = 5
BID: Final = 6
BID_CANCEL: Final = 7
BIDS_CANCEL: Final = 8
START: Final = 9
COMPLETE: Final = 10
RELEASE: Final = 11
DECLINE: Final = 12
RTT: Final = 13
STATUS: Final = 32  # answers: one per record of the command frame
FILL: Final = 33  # what a bid got, follows STATUS in the same message
EVENT: Final = 34  # member's private events, from the follower
TAPE: Final = 35  # public, anonymous
BOOK: Final = 36  # public, bands only
MESSAGE: Final = 64  # one msgpack message of `schemas.session.messages`

NONE_U32: Final = 2**32 - 1  # "not given", where 0 is a value
NONE_U64: Final = 2**64 - 1
FLAG_EXPLAIN: Final = 1  # bit 0 of a bid's flags

OFFER_RECORD: Final = np.dtype(
    [
        ("ask_in", "<i8"), ("ask_out", "<i8"), ("ask_second", "<i8"), ("fills_seen", "<u8"),
        ("site", "<u4"), ("model", "<u4"), ("deal", "<u4"), ("adapter_set", "<u4"),
        ("ttft_us", "<u4"), ("prefill_ns_per_token", "<u4"), ("tokens_per_second", "<u4"),
        ("context_limit", "<u4"), ("cold_start_us", "<u4"), ("adapter_load_us", "<u4"),
        ("capabilities", "<u4"), ("ttl_us", "<u4"), ("offer", "<u2"), ("slots", "<u2"),
        ("hardware", "u1"), ("precision", "u1"), ("contract", "u1"), ("reserved", "u1"),
    ]
)  # fmt: skip
REFRESH_RECORD: Final = np.dtype(
    [
        ("fills_seen", "<u8"), ("site", "<u4"), ("offer", "<u2"), ("slots", "<u2"),
        ("ttft_us", "<u4"), ("prefill_ns_per_token", "<u4"), ("tokens_per_second", "<u4"),
        ("ttl_us", "<u4"),
    ]
)  # fmt: skip
RENEW_RECORD: Final = np.dtype([("site", "<u4"), ("ttl_us", "<u4")])
OFFER_CANCEL_RECORD: Final = np.dtype([("site", "<u4"), ("offer", "<u2"), ("reserved", "<u2")])
OFFERS_CANCEL_RECORD: Final = np.dtype([("site", "<u4"), ("reserved", "<u4")])
BID_RECORD: Final = np.dtype(
    [
        ("bid", "<u8"), ("max_price", "<u8"), ("campaign", "<u4"), ("origin", "<u4"),
        ("origin_asn", "<u4"), ("tokens_in", "<u4"), ("tokens_out", "<u4"), ("adapter", "<u4"),
        ("rest_us", "<u4"), ("lease_us", "<u4"), ("latency_budget_us", "<u4"),
        ("quantity", "<u2"), ("flags", "<u2"), ("reserved", "<u8"),
    ]
)  # fmt: skip
BID_CANCEL_RECORD: Final = np.dtype([("bid", "<u8")])
BIDS_CANCEL_RECORD: Final = np.dtype([("reserved", "<u8")])
START_RECORD: Final = np.dtype([("fill", "<u8")])
COMPLETE_RECORD: Final = np.dtype(
    [("fill", "<u8"), ("tokens_in", "<u4"), ("tokens_out", "<u4"), ("ttft_us", "<u4"),
     ("reserved", "<u4")]
)  # fmt: skip
RELEASE_RECORD: Final = np.dtype([("fill", "<u8")])
DECLINE_RECORD: Final = np.dtype([("fill", "<u8"), ("reason", "<u4"), ("reserved", "<u4")])
RTT_RECORD: Final = np.dtype(
    [("site", "<u4"), ("metro", "<u4"), ("p99_us", "<u4"), ("estimate", "<u4")]
)

# The dtype of each hot command, the member role that may send it (the table of MARKET_FILE.md), and
# the command's name in the market file.
COMMAND_RECORDS: Final[dict[int, np.dtype]] = {
    OFFER: OFFER_RECORD,
    REFRESH: REFRESH_RECORD,
    RENEW: RENEW_RECORD,
    OFFER_CANCEL: OFFER_CANCEL_RECORD,
    OFFERS_CANCEL: OFFERS_CANCEL_RECORD,
    BID: BID_RECORD,
    BID_CANCEL: BID_CANCEL_RECORD,
    BIDS_CANCEL: BIDS_CANCEL_RECORD,
    START: START_RECORD,
    COMPLETE: COMPLETE_RECORD,
    RELEASE: RELEASE_RECORD,
    DECLINE: DECLINE_RECORD,
    RTT: RTT_RECORD,
}
COMMAND_NAMES: Final[dict[int, str]] = {
    OFFER: "offer",
    REFRESH: "refresh",
    RENEW: "renew",
    OFFER_CANCEL: "offer_cancel",
    OFFERS_CANCEL: "offers_cancel",
    BID: "bid",
    BID_CANCEL: "bid_cancel",
    BIDS_CANCEL: "bids_cancel",
    START: "start",
    COMPLETE: "complete",
    RELEASE: "release",
    DECLINE: "decline",
    RTT: "rtt",
}

# ----------------------------------------------------------------------------- answers and feeds
# One per record of the command frame, in order. `code` is 0 or a number of `schemas.reasons`;
# `fills` FILL records of this command follow after all statuses. `resting` are the units that rest,
# `ended` the units that ended unfilled with `reason`; `number` is the name's count of fills in the
# answer to an offer or refresh, else the command's sequence number.
STATUS_RECORD: Final = np.dtype(
    [
        ("number", "<u8"), ("code", "<u2"), ("reason", "<u2"), ("fills", "<u2"),
        ("resting", "<u2"), ("ended", "<u2"), ("reserved", "<u2", (3,)),
    ]
)  # fmt: skip

TOKEN_BYTES: Final = 60

# The buyer's copy of a fill: neither cost nor score, the rival's score only when contested.
FILL_RECORD: Final = np.dtype(
    [
        ("seq", "<u8"), ("index", "<u4"), ("unit", "<u4"), ("fill", "<u8"), ("bid", "<u8"),
        ("at", "<i8"), ("lease_until", "<i8"), ("price", "<i8"), ("rival_score", "<i8"),
        ("ordinal", "<u8"), ("operator", "<u4"), ("site", "<u4"), ("model", "<u4"),
        ("campaign", "<u4"), ("origin", "<u4"), ("adapter", "<u4"), ("tokens_in", "<u4"),
        ("tokens_out", "<u4"), ("latency_us", "<u4"), ("offer", "<u2"), ("agent", "<u2"),
        ("hardware", "u1"), ("precision", "u1"), ("contract", "u1"), ("tier", "u1"),
        ("contested", "u1"), ("cold", "u1"), ("resting", "u1"), ("reserved", "u1"),
        ("token", "u1", (TOKEN_BYTES,)), ("reserved2", "<u4"),
    ]
)  # fmt: skip

# A member's private event, from the follower. `type` numbers the event as in `EVENT_TYPES`; amounts
# that a type does not have are 0. For a fill the buyer's copy carries the token, the operator's
# neither rival nor value; nobody's carries cost or score.
EVENT_TYPES: Final = (
    "none", "fill", "resting", "unfilled", "rejected", "offer_expired", "releasing", "released",
    "declined", "disputed", "settled",
)  # fmt: skip
EVENT_RECORD: Final = np.dtype(
    [
        ("seq", "<u8"), ("index", "<u4"), ("type", "<u2"), ("reason", "<u2"), ("at", "<i8"),
        ("fill", "<u8"), ("bid", "<u8"), ("lease_until", "<i8"), ("price", "<i8"),
        ("rival_score", "<i8"), ("ordinal", "<u8"), ("paid", "<i8"), ("refund", "<i8"),
        ("fee", "<i8"), ("earned", "<i8"), ("withheld", "<i8"), ("figure", "<i8"),
        ("operator", "<u4"), ("site", "<u4"), ("model", "<u4"), ("campaign", "<u4"),
        ("origin", "<u4"), ("adapter", "<u4"), ("tokens_in", "<u4"), ("tokens_out", "<u4"),
        ("latency_us", "<u4"), ("quantity", "<u4"), ("unit", "<u4"), ("offer", "<u2"),
        ("agent", "<u2"), ("hardware", "u1"), ("precision", "u1"), ("contract", "u1"),
        ("tier", "u1"), ("contested", "u1"), ("cold", "u1"), ("resting", "u1"), ("by", "u1"),
        ("token", "u1", (TOKEN_BYTES,)), ("command", "<u4"),
    ]
)  # fmt: skip

# Public: what traded, without names. `country` is two ASCII letters or zeros for unknown.
TAPE_RECORD: Final = np.dtype(
    [
        ("seq", "<u8"), ("at", "<i8"), ("price", "<i8"), ("index", "<u4"), ("model", "<u4"),
        ("tokens_in", "<u4"), ("tokens_out", "<u4"), ("country", "S2"), ("band", "u1"),
        ("tier", "u1"), ("hardware", "u1"), ("precision", "u1"), ("contested", "u1"),
        ("reserved", "u1"),
    ]
)  # fmt: skip

# Public: what is available where and how far, without asks. A row says all there is of its (site,
# model, metro); `capacity` 0 takes it away. `capacity` counts open slots in powers of four (1: 1 to 3,
# 2: 4 to 15, … 5: 256 and more), `hardware` has a bit per number of `lists.HARDWARE`, `band` is the
# number of the latency band that the fastest offer reaches with no input.
BOOK_RECORD: Final = np.dtype(
    [
        ("at", "<i8"), ("site", "<u4"), ("model", "<u4"), ("metro", "<u4"), ("hardware", "<u4"),
        ("capacity", "u1"), ("band", "u1"), ("reserved", "<u2"), ("reserved2", "<u4"),
    ]
)  # fmt: skip

assert FRAME_HEADER.itemsize == HEADER_BYTES
# Every 8-byte field stands on a multiple of 8, so that C and Rust read the structs as they are.
for _record in (
    *COMMAND_RECORDS.values(), STATUS_RECORD, FILL_RECORD, EVENT_RECORD, TAPE_RECORD,
    BOOK_RECORD,
):  # fmt: skip
    assert _record.itemsize % 4 == 0
    assert _record.fields is not None
    for _dtype, _offset in ((field[0], field[1]) for field in _record.fields.values()):
        assert _dtype.base.itemsize not in {4, 8} or _offset % _dtype.base.itemsize == 0
assert limits.RECORDS_PER_FRAME_MAX * OFFER_RECORD.itemsize < limits.MESSAGE_BYTES_MAX
