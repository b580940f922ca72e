"""Units and limits of the market, fixed once for every process (MARKET.md §1).

Money is whole nano-dollars: a float would make two replicas disagree in the last bit, and one bit
is enough to break the digest. A name ends in its unit; a `*_MAX` is itself allowed.
"""

from typing import Final

# ----------------------------------------------------------------------------- prices and money
UNIT_PRICE_PUSD_MAX: Final = 10**10  # $10,000 per million tokens: a typo, not a price.
PRICE_NUSD_MAX: Final = 2**48  # markdown, max_price
SECOND_PRICE_NUSD_MAX: Final = 2**36  # ask_second, card_second
TIME_VALUE_NUSD_PER_MS_MAX: Final = 2**24
AMOUNT_NUSD_MAX: Final = 2**60  # one deposit or withdrawal
DEPOSITS_NUSD_MAX: Final = 2**62  # all deposits less all withdrawals
PPM: Final = 10**6

# ----------------------------------------------------------------------------- work and time
TOKENS_MAX: Final = 2**23
CONTEXT_LIMIT_MAX: Final = 2**24
LATENCY_US_MAX: Final = 10**9
PREFILL_NS_PER_TOKEN_MAX: Final = 10**7
TOKENS_PER_SECOND_MAX: Final = 10**6
TTL_US_MAX: Final = 60_000_000  # also lease_us; both at least 1
REST_US_MAX: Final = 60_000_000
DEADLINE_US_MAX: Final = 10**12  # settle_us, deliver_us, dispute_us
AT_NS_MAX: Final = 2**62
NS_PER_US: Final = 1000
RELEASE_GRACE_NS: Final = 2_000_000_000  # a start on its way still wins (MARKET.md §8)

# ----------------------------------------------------------------------------- counts and numbers
SLOTS_MAX: Final = 65_535
FILLS_SEEN_MAX: Final = 2**62
QUANTITY_MAX: Final = 64
BIDS_AT_REST_MAX: Final = 64  # of one buyer
CAMPAIGNS_MAX: Final = 1_024  # standing, of one buyer
OFFER_MAX: Final = 4_096  # numbered from 1, per site
AGENT_MAX: Final = 4_095  # numbered from 0, per member
NUMBER_MAX: Final = 2**63 - 1  # bid, transfer, fill
MODELS_PER_CAMPAIGN_MAX: Final = 4
ADAPTERS_PER_OFFER_MAX: Final = 64
LIST_MAX: Final = 256
TRUST_MAX: Final = 3
ASN_MAX: Final = 2**32 - 1
NAME_CHARACTERS_MAX: Final = 128
TEXT_CHARACTERS_MAX: Final = 1_024  # endpoint, hashes, family: text that is not a name
COUNT_MAX: Final = 2**62  # params_m, population, power_kw

# ----------------------------------------------------------------------------- the wire
RECORDS_PER_FRAME_MAX: Final = 1_024
UNITS_PER_FRAME_MAX: Final = 4_096
REGISTRATIONS_PER_KIND_MAX: Final = 65_536  # of one member
MESSAGE_BYTES_MAX: Final = 1 << 20  # MAXMSGSIZE; libzmq's default is unlimited
WIRE_LEASE_US_MIN: Final = 3_000_000  # a token is void 2 s before its lease ends (WIRE.md)
TOKEN_MARGIN_NS: Final = 2_000_000_000
CANCEL_AFTER_US_DEFAULT: Final = 3_000_000
CANCEL_AFTER_US_MIN: Final = 1_000_000
CANCEL_AFTER_US_MAX: Final = 60_000_000
HEARTBEAT_US: Final = 1_000_000
HEARTBEATS_MISSED: Final = 3  # silence of this many is noticed by either end
# What a client may have under way unanswered, and what the exchange keeps to answer again: as many,
# so that within the bytes every repeat after a reconnect gets its first answer.
UNANSWERED_FRAMES_MAX: Final = 256
ANSWERS_KEPT_MAX: Final = UNANSWERED_FRAMES_MAX
UNANSWERED_BYTES_MAX: Final = 16 << 20
ANSWER_BYTES_KEPT_MAX: Final = 4 << 20  # one full answer of 4,096 fills is 0.75 MiB
# Frames queued per peer before a send is told "full" or a peer is no longer read from.
SERVER_SEND_FRAMES_MAX: Final = 256
SERVER_RECEIVE_FRAMES_MAX: Final = 64
CLIENT_FRAMES_MAX: Final = 1_024
TAPE_FRAMES_MAX: Final = 4_096  # beyond it the publisher drops, and the numbers show the gap

# ----------------------------------------------------------------------------- rules at the start
TAKE_RATE_PPM_START: Final = 0
RENT_PPM_PER_S_START: Final = 10_000
TOLERANCE_PPM_START: Final = 20_000
SETTLE_US_START: Final = 21_600_000_000
DELIVER_US_START: Final = 600_000_000
DISPUTE_US_START: Final = 86_400_000_000

# The compiled core computes in int64, which wraps silently there. Should a limit above ever grow,
# one of these lines fails at import and not in the middle of an auction.
_INT64 = 2**63
assert 2 * TOKENS_MAX * UNIT_PRICE_PUSD_MAX + 999 < _INT64  # cost, card, declared, metered
assert SECOND_PRICE_NUSD_MAX * TTL_US_MAX + PPM < _INT64  # lease part of cost and card
assert SECOND_PRICE_NUSD_MAX * (TTL_US_MAX + 2_000_000) < _INT64  # rent by the second
assert (
    TIME_VALUE_NUSD_PER_MS_MAX
    * (5 * LATENCY_US_MAX + TOKENS_MAX * PREFILL_NS_PER_TOKEN_MAX // 1000)
    + 999
    < _INT64
)  # value
assert PRICE_NUSD_MAX * QUANTITY_MAX < _INT64  # a bid's hold
assert UNIT_PRICE_PUSD_MAX * 2 * TOKENS_MAX // 1000 <= PRICE_NUSD_MAX  # max_unit_price as a price
assert DEPOSITS_NUSD_MAX < _INT64
assert AT_NS_MAX + NS_PER_US * DEADLINE_US_MAX < _INT64  # every deadline
# price × rent × time, price × metered and figure × ppm do NOT fit: they are computed in two words.
assert PRICE_NUSD_MAX * PPM < 2**127
