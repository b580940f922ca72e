"""The market's memory: which tables there are, and which word of a row means what.

All state is int64 words in a few tables, and one vector `s` that holds the scalars and where each
table stands (matching_core/jit.py). Row 0 of a table is nobody: a link of 0 ends a list.

    s        [ scalars … | OFFERS: address, rows | FILLS: address, rows | … | heaps: six words each ]

    LANES[model]    where the model's stretch of DIRECTORY stands, open offers and deals apart
    DIRECTORY       its shelves by price, with bounds ─▶ SHELVES, WORDS: 448 offers each, a bit or a
                    word for all that may be asked of one (kernels/words.py)
    SITE_RULES      per campaign, which of its rules each site fails first, 0 for none
    CAMPAIGN_SITES  the same as one bit per site: set where it fails none
    STALLS          the offers of a model at a site, side by side (kernels/stalls.py)
    VIEWS           per campaign and shelf, which offers pass all that is always asked (views.py)
    NEAR            one bit per site whose round trip is inside the band of the budget, per origin
    OPEN_SITES      one bit per site that is not halted

    offer    one row per name (site, offer), for ever; NAMES ─▶ LEAVES finds it (kernels/names.py)
               └──▶ its fills above the largest `fills_seen` that were not released, by ordinal:
                    fill ⇄ fill ⇄ fill; their count is what is in flight
    fill     a row while it has not ended or is in such a list; FILL_INDEX finds it by number
    bid      a row while it rests, in the list of its buyer and in one list per model of its
             campaign; row 0 is the bid that is being auctioned
    heaps    what ends by time: offers, which first wait in WHEEL (kernels/wheel.py), and bids
             (kernels/heap.py)
    waits    the same for open fills: leases, settlements, disputes (kernels/waits.py)

An auction (kernels/search.py) walks the shelves of the bid's models by price, judges the offers that
the campaign's view and NEAR leave, and keeps the best and the best of another owner. Capacity that
arrives (kernels/capacity.py) walks the bids that rest for its model.

Tables never grow inside a kernel: it asks for room before it touches anything (kernels/entry.py).
"""

from typing import Final

from schemas import limits, lists

# ----------------------------------------------------------------------------- scalars of `s`
(
    SEQ, AT, INDEX, EVENTS_COUNT, FILLS_MADE, FEES, WITHHELD, DEPOSITS,
    TAKE, RENT, TOLERANCE, SETTLE, DELIVER, DISPUTE, EXCHANGE_HALTS, AUCTIONS,
    OPERATOR_COUNT, BUYER_COUNT, MODEL_COUNT, ADAPTER_COUNT, METRO_COUNT, SITE_COUNT, DEAL_COUNT,
    CAMPAIGN_COUNT, SET_COUNT, SET_ITEM_COUNT, ASN_COUNT,
    OFFER_ROWS, STANDING, AGENT_ROWS,  # names ever offered; offers that stand; (buyer, agent) pairs
    REST_ROWS, REST_FREE, RESTS, RESTING_UNITS,  # rows ever used; first free row; bids; units
    FILL_ROWS, FILL_FREE, OPEN_FILLS,
    SITE_CAPACITY, SITE_WORDS, OPERATOR_WORDS, BUYER_WORDS,  # widths of the tables that need one
    SHELF_ROWS, DIRECTORY_ROWS, VERSIONS, DEALS_STANDING, VIEW_ROWS, VIEW_FLUSHES,
    TERM_ROWS, TERMS,  # rules ever in force; the row of those that are
    LEAF_ROWS, WHEEL_HAND,  # leaves ever used; the tick whose offers are not yet in the heap
    STALL_LINES, LARGEST_STALL,  # lines ever used; the most that one stall ever had
    SHELVES_FIRST,  # shelves a bid looks at before it asks whether few sites suit it
) = range(54)  # fmt: skip
_SCALARS: Final = 54
SHELVES_FIRST_START: Final = 8  # most bids are done by then, and need not count sites
_TABLES_END: Final = _SCALARS + 2 * 52

# ----------------------------------------------------------------------------- tables
# The position in `s` of the table's address; its row count follows.
(
    OPERATORS, BUYERS, MODELS, ADAPTERS, SITES, DEALS, DEAL_BUYERS, SETS, SET_ITEMS, ASNS,
    CAMPAIGNS, CAMPAIGN_OPERATORS, SITE_RULES, OPEN_SITES, RTT, NEAR, LANES, DIRECTORY, SHELVES,
    SHELF_SITES, SHELF_OFFERS, WORDS, VIEWS, VIEW_RANGES, NAMES, LEAVES, LEAF_STATES, AGENTS, OFFERS, ASKS,
    RESTS_TABLE, FILLS, FILL_WAITS, FILL_PROGRESS, TERMS_TABLE, CONCERNED_PLACES, OFFER_PLACES, WHEEL,
    FILL_INDEX, SUMS, WINNERS, SURVIVORS, AHEAD, EVENTS, INBOX, SENDERS,
    CAMPAIGN_SITES, MODEL_SITES, STALL_OF, STALLS, FREE_STALLS, CANDIDATES,
) = range(_SCALARS, _TABLES_END, 2)  # fmt: skip
# A heap has four words more: its size, and the table, its row words and the word of a row that
# keeps the row's place in the heap (0 = not in it).
(
    OFFER_HEAP, REST_HEAP, LEASE_HEAP, SETTLE_HEAP, DISPUTE_HEAP, CONCERNED_HEAP, CANDIDATE_HEAP,
) = range(_TABLES_END, _TABLES_END + 42, 6)  # fmt: skip
HEAP_WORDS: Final = 3  # due, key, row
# What open fills wait for: the position of its heap, a time before which nothing is due, and from the
# fourth word on the runs, numbered from 1.
RUNS: Final = 8
WAIT_HEAP, WAIT_NEXT_DUE = range(2)
RUN_FIRST, RUN_LAST, RUN_FIRST_DUE, RUN_LAST_DUE = range(4)
WAIT_RUN_WORDS: Final = 4
_WAIT_WORDS: Final = WAIT_RUN_WORDS * (RUNS + 1)
_WAITS_AT: Final = _TABLES_END + 42
LEASE_WAIT, SETTLE_WAIT, DISPUTE_WAIT = range(_WAITS_AT, _WAITS_AT + 3 * _WAIT_WORDS, _WAIT_WORDS)
STATE_WORDS: Final = _WAITS_AT + 3 * _WAIT_WORDS
NEVER: Final = 2**63 - 1  # after every deadline

# ----------------------------------------------------------------------------- words of a row
COUNTRY_WORDS: Final = 11  # a set of countries: 676 pairs of letters and 0, one bit each

(OPERATOR_GROUP, OPERATOR_BALANCE, OPERATOR_TRANSFER, OPERATOR_HALTS, OPERATOR_CONTROL_COUNT,
 OPERATOR_CONTROL) = range(6)  # fmt: skip
OPERATOR_ROW: Final = 16
(BUYER_GROUP, BUYER_AVAILABLE, BUYER_TRANSFER, BUYER_HALTS, BUYER_CAMPAIGNS,
 BUYER_RESTS, BUYER_FIRST, BUYER_LAST) = range(8)  # fmt: skip
BUYER_ROW: Final = 8
# Cards as they count: in, out, second for each of the seven bands, the model's own where none is set.
MODEL_HALTS, MODEL_FIRST_REST, MODEL_CARDS = range(3)
MODEL_ROW: Final = 24
ADAPTER_ROW: Final = 1  # the model
(SITE_OPERATOR, SITE_GROUP, SITE_MARGIN, SITE_TIER, SITE_COUNTRY, SITE_CERTIFICATIONS, SITE_TRUST,
 SITE_HALTS, SITE_ASN_FIRST, SITE_ASN_COUNT, SITE_FIRST_LEAF, SITE_DATA_COUNT,
 SITE_DATA) = range(13)  # fmt: skip
SITE_ROW: Final = 32
DEAL_ROW: Final = 1  # the operator
SET_FIRST, SET_SIZE = range(2)
SET_ROW: Final = 2
(CAMPAIGN_BUYER, CAMPAIGN_STANDING, CAMPAIGN_BUDGET, CAMPAIGN_UNIT_PRICE, CAMPAIGN_TIME_VALUE,
 CAMPAIGN_CAPABILITIES, CAMPAIGN_HARDWARE, CAMPAIGN_PRECISIONS, CAMPAIGN_CONTRACTS,
 CAMPAIGN_SPEED, CAMPAIGN_PEERING, CAMPAIGN_COLD, CAMPAIGN_MODEL_COUNT) = range(13)  # fmt: skip
CAMPAIGN_MODELS: Final = 13  # four handles
CAMPAIGN_MARKDOWNS: Final = 17  # and what each is worth less
(CAMPAIGN_CERTIFICATIONS, CAMPAIGN_TIERS, CAMPAIGN_TRUST, CAMPAIGN_RULES_SET,
 CAMPAIGN_ALLOWS) = range(21, 26)  # fmt: skip
# CAMPAIGN_OPERATORS has the allowed operators less the denied where CAMPAIGN_ALLOWS is 1, else the
# denied: so an operator that comes later needs no bit.
CAMPAIGN_RESIDENCY: Final = 26
CAMPAIGN_DATA: Final = CAMPAIGN_RESIDENCY + COUNTRY_WORDS
CAMPAIGN_SOVEREIGNTY: Final = CAMPAIGN_DATA + COUNTRY_WORDS
CAMPAIGN_ROW: Final = 64  # the last five words are those of kernels/stages.py
RESIDENCY_SET, DATA_SET, SOVEREIGNTY_SET = 1, 2, 4  # bits of CAMPAIGN_RULES_SET

# An offer is a row of ASKS and the row of OFFERS with the same number. ASKS is the one cache line that
# judging it takes: three words of 64 bits, then ten of 32 (`Columns.narrow`, `small_table`).
ASK_IN, ASK_OUT, ASK_SECOND = range(3)
(ASK_TTFT, ASK_PREFILL, ASK_CONTEXT, ASK_SPEED, ASK_SITE, ASK_AVAILABLE, ASK_ATTRIBUTES, ASK_DEAL,
 ASK_STARTS, ASK_MODEL) = range(6, 16)  # fmt: skip
ASK_ROW: Final = 8
ASK_NARROW: Final = 2 * ASK_ROW
# ASK_STARTS is 1 where a start may take time: OFFERS then says how much.
# The rest of it is one line, too: four words of 64 bits, six of 32 and four of 16 without a sign
# (`Columns.short`, `short_table`). OFFER_SPOT is its place in the index, 0 while it does not stand.
OFFER_PRIORITY, OFFER_SEEN, OFFER_MADE, OFFER_EXPIRES = range(4)
(OFFER_SPOT, OFFER_FIRST_FILL, OFFER_LAST_FILL, OFFER_COLD, OFFER_LOAD,
 OFFER_ADAPTERS) = range(8, 14)  # fmt: skip
OFFER_SLOTS, OFFER_IN_FLIGHT, OFFER_NUMBER, OFFER_QUEUED = range(28, 32)
OFFER_ROW: Final = 8
OFFER_NARROW, OFFER_SHORT = 2 * OFFER_ROW, 4 * OFFER_ROW
# ASK_ATTRIBUTES: hardware 8, precision 8, contract 8, as in event_rows, then capabilities.
ATTRIBUTE_BITS: Final = 24
CAPABILITIES_SHIFT: Final = 24

# The index (kernels/index.py draws it). A lane of LANES: where its stretch of DIRECTORY begins, how
# many entries it has, how many fit, how many shelves it ever had, the first that is free.
LANE_FIRST, LANE_COUNT, LANE_ROOM, LANE_SHELVES, LANE_FREE = range(5)
LANE_WORDS: Final = 8  # the last three are those of kernels/hopes.py
LANES_PER_MODEL: Final = 2  # open offers, deals
# An entry of DIRECTORY: six bounds of 32 bits (`small_table`), the least key that belongs to the shelf,
# the shelf's row and, in the high half, its number in the lane, and the shelf's version once more.
BOUNDS: Final = 6
ENTRY_KEY, ENTRY_SHELF, ENTRY_VERSION = 3, 4, 5
ENTRY_ROW: Final = 8
ENTRY_NARROW: Final = 2 * ENTRY_ROW
BOARDS, BOARD = 7, 64  # boards of a shelf, offers of a board
SHELF_PLACES: Final = BOARDS * BOARD
# A shelf: what may be sold (a word a board) and the version; what views do not know yet and how much
# that is; seven boards of eight words; what is there at all; then the rest.
SHELF_LIVE, SHELF_VERSION, SHELF_FRESH, SHELF_FRESH_COUNT = 0, 7, 8, 15
SHELF_BOARDS: Final = 16
BOARD_GROUP, BOARD_KEY = 6, 7  # after six bounds
BOARD_WORDS: Final = 8
SHELF_TAKEN: Final = SHELF_BOARDS + BOARDS * BOARD_WORDS
(SHELF_COUNT, SHELF_GONE, SHELF_LANE, SHELF_NUMBER, SHELF_ENTRY, SHELF_NEXT,
 SHELF_WASTED) = range(SHELF_TAKEN + BOARDS, SHELF_TAKEN + BOARDS + 7)  # fmt: skip
SHELF_ROW: Final = 88
# A view: a word a board, or a list in words of 32 bits (`small_table`), and the version of the shelf; the
# lowest bit of that word says that it is a list.
VIEW_VERSION: Final = 7
VIEW_ROW: Final = 8
VIEW_NARROW: Final = 2 * VIEW_ROW
VIEW_LIST: Final = 2 * VIEW_VERSION
VIEW_ROWS_MAX: Final = 1 << 20
# VIEW_RANGES: first row and how many, per model of a campaign and lane.
VIEW_RANGE_ROW: Final = 2 * LANES_PER_MODEL * limits.MODELS_PER_CAMPAIGN_MAX
# A stall: how many offers, how many lines; then two words an offer, its row and its attributes.
STALL_COUNT, STALL_ROOM, STALL_HEAD = range(3)
STALL_OFFER: Final = 2
STALL_LINE: Final = 16
STALL_SIZES: Final = 16  # 1, 2, 4 … lines
CANDIDATE_ROW: Final = 2  # site, stall
CANDIDATES_MAX: Final = 16
STALL_OFFERS_MAX: Final = 512  # looked at by place: as dear as some thirty shelves
# The offers that are worth a look: row, site, the best score it may have, what is known of it.
SURVIVOR_ROW: Final = 4
SURVIVORS_MAX: Final = 2 * SHELF_PLACES

(REST_BUYER, REST_AGENT, REST_BID, REST_CAMPAIGN, REST_ORIGIN, REST_ASN, REST_TOKENS_IN,
 REST_TOKENS_OUT, REST_ADAPTER, REST_LEASE_US, REST_BUDGET, REST_PRICE, REST_BAND, REST_UNITS,
 REST_NEXT_UNIT, REST_DUE, REST_ARRIVAL, REST_PLACE, REST_CANDIDATE, REST_NEXT,
 REST_PREVIOUS) = range(21)  # fmt: skip
REST_MODEL_NEXT: Final = 21  # one per model of the campaign; a link is 4 × row + place
REST_MODEL_PREVIOUS: Final = 25
REST_ROW: Final = 32

# A fill: words of 64 bits, then words of 32 (`Columns.narrow`, `small_table`): two lines, because each
# is written when it is made and read when its lease ends.
(FILL_NUMBER, FILL_BID, FILL_ORDINAL, FILL_PRICE, FILL_AT, FILL_LEASE_UNTIL, FILL_CARD_SECOND,
 FILL_CARD_IN, FILL_CARD_OUT) = range(9)  # fmt: skip
(FILL_BUYER, FILL_OPERATOR, FILL_OFFER, FILL_NEXT, FILL_PREVIOUS, FILL_STATE, FILL_LISTED, FILL_AGENT,
 FILL_UNIT, FILL_TERMS, FILL_TOKENS_IN, FILL_TOKENS_OUT) = range(18, 30)  # fmt: skip
FILL_ROW: Final = 16
FILL_NARROW: Final = 2 * FILL_ROW
# What has become of it, from its start on; before that the row of FILL_PROGRESS means nothing.
(PROGRESS_STARTED, PROGRESS_FIRST, PROGRESS_DISPUTED, PROGRESS_BUYER_FIGURE,
 PROGRESS_OPERATOR_FIGURE) = range(5)  # fmt: skip
PROGRESS_ROW: Final = 8
# The exchange's rules as fills were made by them: a row for each six numbers that ever were in force.
TERM_TAKE, TERM_RENT, TERM_TOLERANCE, TERM_SETTLE, TERM_DELIVER, TERM_DISPUTE = range(6)
TERM_ROW: Final = 8
LEASED, STARTED, DISPUTED, ENDED = 1, 2, 3, 4
NOT_YET: Final = -1  # a time or a figure that has not happened
# The row of FILL_WAITS with a fill's number: the links are words of 32 bits (`small_table`).
WAIT_DUE, WAIT_NUMBER = range(2)
WAIT_LATER, WAIT_EARLIER = 4, 5
WAIT_PLACE: Final = 3  # in the heap, or minus its run
WAIT_ROW: Final = 4

# Row, buyer and operator of every fill ever made. The row is 0 once it ended; the two members stay,
# because a late command must be told "state" if the fill was its sender's and "unknown" if not. Twelve
# bytes a fill: the only thing here that grows with trading and not with the book.
INDEX_ROW_OF_FILL, INDEX_BUYER, INDEX_OPERATOR = range(3)
FILL_INDEX_ROW: Final = 3
MAP_ROW: Final = 2  # NAMES, AGENTS: key, value; open addressing, 0 = empty
WINNER_ROW: Final = 2  # bid, units
AHEAD_ROWS: Final = (
    32  # records of a frame whose rows are known before their turn (kernels/offers.py)
)
INBOX_BYTES_PER_RECORD: Final = 96
SENDER_ROW: Final = 2  # member, agent: of each record of the inbox when they come from several
BANDS: Final = (
    8  # rows of NEAR per metro: metro × this + band; metro 0's are those of kernels/hopes.py
)
UNREACHABLE: Final = -1  # RTT holds 2 × p99_us + estimate, or this

LEAF_NAMES: Final = 16  # offers of a leaf (kernels/names.py)
LEAF_NEXT, LEAF_STANDING = range(2)
LEAF_STATE_ROW: Final = 2
LEAVES_PER_SITE_KEY: Final = 512  # key of a leaf: site × this + offer / 16
WHEEL_LISTS: Final = 1_024  # a power of two (kernels/wheel.py)
WHEEL_FIRST, WHEEL_COUNT = range(2)
WHEEL_ROW: Final = 2
AGENTS_PER_BUYER_KEY: Final = 4_096  # key of an agent: (buyer × this + agent) + 1

assert (TAKE, DISPUTE) == (DISPUTE - TERM_DISPUTE, TAKE + TERM_DISPUTE)  # in one order
assert limits.OFFER_MAX < LEAF_NAMES * LEAVES_PER_SITE_KEY
assert limits.AGENT_MAX < AGENTS_PER_BUYER_KEY
# 16 bits without a sign. A fill needs a free slot, so no more are in flight than there may be slots.
assert max(limits.SLOTS_MAX, limits.OFFER_MAX, WHEEL_LISTS + 1) < 2**16
assert 2 * limits.LATENCY_US_MAX + 1 < 2**31  # RTT is int32
assert limits.MODELS_PER_CAMPAIGN_MAX == 4
assert REST_MODEL_PREVIOUS + 4 <= REST_ROW
assert CAMPAIGN_SOVEREIGNTY + COUNTRY_WORDS <= CAMPAIGN_ROW
assert SITE_DATA + COUNTRY_WORDS <= SITE_ROW
assert OPERATOR_CONTROL + COUNTRY_WORDS <= OPERATOR_ROW
assert MODEL_CARDS + 3 * len(lists.BANDS_MS) <= MODEL_ROW
assert len(lists.BANDS_MS) < BANDS
assert SHELF_WASTED < SHELF_ROW
assert SITE_ROW == 32
assert STALL_HEAD + STALL_OFFER * limits.OFFER_MAX < STALL_LINE << (STALL_SIZES - 1)

HEAP_OF_WAIT: Final = {
    LEASE_WAIT: LEASE_HEAP,
    SETTLE_WAIT: SETTLE_HEAP,
    DISPUTE_WAIT: DISPUTE_HEAP,
}


def runs(wait_at: int) -> range:
    """Return where in `s` the runs stand of what open fills wait for."""
    return range(wait_at + WAIT_RUN_WORDS, wait_at + _WAIT_WORDS, WAIT_RUN_WORDS)
