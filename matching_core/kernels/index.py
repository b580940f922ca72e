"""Where auctions look for offers: shelves of 448 per model, by price.

    LANES[model]    open offers │ deals
                        │
                        ▼ a stretch of DIRECTORY, one cache line a shelf, by price
    DIRECTORY       least prices here and behind │ least key │ which shelf
                        │
                        ▼
    SHELVES         what may be sold: a bit an offer │ version │ what came since: a bit an offer
                    seven boards of 64 offers, each with its least prices and its owner, if it is one
    SHELF_SITES, SHELF_OFFERS   448 times where, and which
    WORDS           448 times what a campaign may ask of an offer, one bit per way to fail:
                    `word & forbidden == 0` passes them all

**Bounds.** An entry of DIRECTORY has the least of (ask_in, ask_out) under five mixes, and the least ask
per second, over the offers of its shelf *and of all shelves behind it*; a board has those of its
own. The tokens of a bid are a sum of two neighbouring mixes with weights that are not negative
(`mix_of`), so the sum of the two least values is no more than any of these offers costs. When that is
too much, the rest of the lane is, too. Shelves follow one another by `key_of`, which makes that come
soon; exactness needs only the bounds. An offer that comes lowers the bounds of its board and of the
entries before it, back to the first that is low enough already (those before that are, too). One
that goes leaves them, still true, until so many went from a shelf that it is measured again: no
offer ever pays for a rebuild of what is not its own shelf.

**Versions.** Campaigns keep what they found out about a shelf (views.py) under its version. An offer
that comes, or whose site a campaign judges otherwise than before, is marked fresh: views do not
know it and every bid looks at it. When much of a shelf is fresh it gets a new version, and views are
made anew.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, kernel, lowest_bit, small_table, table
from matching_core.kernels.rules import CONTRACT
from schemas import lists

# The bits of a word: one hardware, one precision, one contract; the capabilities that are lacking;
# then what fails by itself.
PRECISION_BIT, CONTRACT_BIT, LACKS_BIT = 29, 37, 40
SOLD_OUT, COLD_START, NOBODY, SMALL_CONTEXT = 1 << 48, 1 << 49, 1 << 50, 51
_CONTEXTS = (8_192, 16_384, 32_768)  # one bit each says that the limit is below
_ALL_HARDWARE = (1 << PRECISION_BIT) - 1
_ALL_PRECISIONS = (1 << (CONTRACT_BIT - PRECISION_BIT)) - 1
_ALL_CONTRACTS = (1 << (LACKS_BIT - CONTRACT_BIT)) - 1
_ALL_CAPABILITIES = 255
_NONE = 1 << 60  # the least of no offer; times no tokens at all it is 0, so it is never asked
_RULE_CAPACITY, _RULE_COLD, _RULE_CAPABILITY, _RULE_CONTEXT = 2, 3, 12, 18
_FRESH_MAX = 32
_GONE_MAX = 96
_WASTED_MAX = 512
_MERGED = c.SHELF_PLACES // 2  # two neighbours with fewer offers than this become one
_STEPS = (121, 40, 13, 4, 1)  # Shell's sort
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
assert len(lists.HARDWARE) <= PRECISION_BIT
assert len(lists.PRECISIONS) <= CONTRACT_BIT - PRECISION_BIT
assert len(lists.CONTRACTS) <= LACKS_BIT - CONTRACT_BIT
assert len(lists.CAPABILITIES) <= 8


@inner
def forbidden(s: Array, bid: int, rule: int) -> np.uint64:
    """Return the bits of a word that make an offer fail a rule up to `rule` for a bid."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    bits = i64(forbidden_by(s, rests[bid, c.REST_CAMPAIGN], rule))
    if rule >= _RULE_CAPACITY:
        bits |= SOLD_OUT
    if rule >= _RULE_CONTEXT:
        tokens = rests[bid, c.REST_TOKENS_IN] + rests[bid, c.REST_TOKENS_OUT]
        for place in range(len(_CONTEXTS)):
            if tokens >= _CONTEXTS[place]:
                bits |= 1 << (SMALL_CONTEXT + place)
    return np.uint64(bits)


@inner
def forbidden_by(s: Array, campaign: int, rule: int) -> np.uint64:
    """Return those of the bits that depend on the campaign alone."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    bits = NOBODY
    if rule >= _RULE_COLD and campaigns[campaign, c.CAMPAIGN_COLD] == 0:
        bits |= COLD_START
    if rule >= _RULE_CAPABILITY:
        bits |= campaigns[campaign, c.CAMPAIGN_CAPABILITIES] << LACKS_BIT
    allowed = campaigns[campaign, c.CAMPAIGN_HARDWARE]
    if rule > _RULE_CAPABILITY and allowed != 0:
        bits |= ~allowed & _ALL_HARDWARE
    allowed = campaigns[campaign, c.CAMPAIGN_PRECISIONS]
    if rule > _RULE_CAPABILITY + 1 and allowed != 0:
        bits |= (~allowed & _ALL_PRECISIONS) << PRECISION_BIT
    allowed = campaigns[campaign, c.CAMPAIGN_CONTRACTS]
    if rule > _RULE_CAPABILITY + 2 and allowed != 0:
        bits |= (~allowed & _ALL_CONTRACTS) << CONTRACT_BIT
    return np.uint64(bits)


@inner
def passing(words: Array, shelf: int, board: int, fails: np.uint64) -> np.uint64:
    """Return which offers of a board have none of the bits: 64 in twenty nanoseconds, no branch."""
    found = np.uint64(0)
    first = c.BOARD * board
    for place in range(c.BOARD):
        passes = np.uint64((words[shelf, first + place] & fails) == np.uint64(0))
        found |= passes << np.uint64(place)
    return found


@inner
def mix_of(tokens_in: int, tokens_out: int) -> tuple[int, int, int]:
    """Return (m, a, b): a × mix m + b × mix m+1 is nearly the bid's tokens, and no more.

    The mixes are (1, 0), (4, 1), (1, 1), (1, 4), (0, 1), in and out.
    """
    if tokens_in >= 4 * tokens_out:
        return 0, tokens_in - 4 * tokens_out, tokens_out
    if tokens_in >= tokens_out:
        more = tokens_in - tokens_out
        return 1, more // 3, tokens_out - (more + 2) // 3
    if tokens_out >= 4 * tokens_in:
        return 3, tokens_in, tokens_out - 4 * tokens_in
    more = tokens_out - tokens_in
    return 2, tokens_in - (more + 2) // 3, more // 3


@inner
def least_cost(tokens_price: int, lease_price: int) -> int:
    """Return a little less than tokens' price / 1000 + lease's / 10^6: shifts, for want of a division."""
    least = (tokens_price >> 10) + (tokens_price >> 16) + (tokens_price >> 17)
    return least + (lease_price >> 20) + (lease_price >> 25) + (lease_price >> 26)


@inner
def key_of(asks: Array, offer: int) -> int:
    """Return what offers of a lane are ordered by: the mix that most requests are near."""
    return i64(4 * asks[offer, c.ASK_IN] + asks[offer, c.ASK_OUT])


@inner
def lower(lines: Array, row: int, at: int, asks: Array, offer: int) -> bool:
    """Let the bounds of a line hold for one more offer; returns whether they did not yet."""
    a, b, second = asks[offer, c.ASK_IN], asks[offer, c.ASK_OUT], asks[offer, c.ASK_SECOND]
    changed = (
        (a < lines[row, at])
        | (4 * a + b < lines[row, at + 1])
        | (a + b < lines[row, at + 2])
        | (a + 4 * b < lines[row, at + 3])
        | (b < lines[row, at + 4])
        | (second < lines[row, at + 5])
    )
    if changed:
        lines[row, at] = min(lines[row, at], a)
        lines[row, at + 1] = min(lines[row, at + 1], 4 * a + b)
        lines[row, at + 2] = min(lines[row, at + 2], a + b)
        lines[row, at + 3] = min(lines[row, at + 3], a + 4 * b)
        lines[row, at + 4] = min(lines[row, at + 4], b)
        lines[row, at + 5] = min(lines[row, at + 5], second)
    return bool(changed)


@inner
def settle_bounds(s: Array, lane: int, last: int) -> None:
    """Set the bounds of the entries up to `last` from their boards and from the entry behind each.

    It stops where nothing changes: bounds further to the front follow from those behind.
    """
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    first = lanes[lane, c.LANE_FIRST]
    end = first + lanes[lane, c.LANE_COUNT]
    for entry in range(last, first - 1, -1):
        shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
        changed = False
        for word in range(c.BOUNDS):
            least = directory[entry + 1, word] if entry + 1 < end else _NONE
            for board in range(c.BOARDS):
                at = c.SHELF_BOARDS + c.BOARD_WORDS * board + word
                least = min(least, shelves[shelf, at])
            if directory[entry, word] != least:
                directory[entry, word] = least
                changed = True
        if not changed and entry < last:
            return


@inner
def new_version(s: Array, shelf: int) -> None:
    """Let all views of a shelf be made anew; nothing in it is fresh."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    s[c.VERSIONS] += 1
    shelves[shelf, c.SHELF_VERSION] = s[c.VERSIONS] << 1
    shelves[shelf, c.SHELF_WASTED] = 0
    for board in range(c.BOARDS + 1):
        shelves[shelf, c.SHELF_FRESH + board] = 0


@inner
def freshen(s: Array, offer: int) -> None:
    """Let every bid look at an offer, whatever the views of its shelf say."""
    spot = table(s, c.OFFERS, c.OFFER_ROW)[offer, c.OFFER_SPOT]
    shelf = spot // c.SHELF_PLACES
    place = spot - c.SHELF_PLACES * shelf
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    if shelves[shelf, c.SHELF_FRESH_COUNT] >= _FRESH_MAX:
        new_version(s, shelf)
        return
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    bits[shelf, c.SHELF_FRESH + (place >> 6)] |= _ONE << np.uint64(place & 63)
    shelves[shelf, c.SHELF_FRESH_COUNT] += 1
    shelves[shelf, c.SHELF_VERSION] |= 1


@inner
def look_at_fresh(s: Array, shelf: int) -> None:
    """Note that a bid has to look at what is fresh; when that was often, views are to know it.

    A view costs as much as looking at some hundred offers: whichever costs less, it is never more
    than twice the other.
    """
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    shelves[shelf, c.SHELF_WASTED] += shelves[shelf, c.SHELF_FRESH_COUNT]
    if shelves[shelf, c.SHELF_WASTED] >= _WASTED_MAX:
        new_version(s, shelf)


@inner
def lane_of(s: Array, offer: int) -> int:
    """Return the row of LANES that an offer belongs to."""
    asks = small_table(s, c.ASKS, c.ASK_NARROW)
    lane = 0 if asks[offer, c.ASK_DEAL] == 0 else 1
    return c.LANES_PER_MODEL * i64(asks[offer, c.ASK_MODEL]) + lane


@inner
def word_of(s: Array, offer: int) -> np.uint64:
    """Return the word of an offer (WORDS)."""
    asks = small_table(s, c.ASKS, c.ASK_NARROW)
    attributes = i64(asks[offer, c.ASK_ATTRIBUTES])
    bits = 1 << (attributes & 255)
    bits |= 1 << (PRECISION_BIT + ((attributes >> 8) & 255))
    bits |= 1 << (CONTRACT_BIT + ((attributes >> 16) & 255))
    bits |= (~(attributes >> c.CAPABILITIES_SHIFT) & _ALL_CAPABILITIES) << LACKS_BIT
    if asks[offer, c.ASK_AVAILABLE] < 1:
        bits |= SOLD_OUT
    if asks[offer, c.ASK_STARTS] != 0 and table(s, c.OFFERS, c.OFFER_ROW)[offer, c.OFFER_COLD] > 0:
        bits |= COLD_START
    for place in range(len(_CONTEXTS)):
        if asks[offer, c.ASK_CONTEXT] < _CONTEXTS[place]:
            bits |= 1 << (SMALL_CONTEXT + place)
    return np.uint64(bits)


@inner
def clear_board(s: Array, shelf: int, board: int) -> None:
    """Let the bounds of a board be those of no offer."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    at = c.SHELF_BOARDS + c.BOARD_WORDS * board
    for word in range(c.BOUNDS):
        shelves[shelf, at + word] = _NONE
    shelves[shelf, at + c.BOARD_GROUP] = 0
    shelves[shelf, at + c.BOARD_KEY] = _NONE


@inner
def new_shelf(s: Array, lane: int) -> int:
    """Return an empty shelf of a lane; the caller has asked for room (entry.py)."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    shelf = lanes[lane, c.LANE_FREE]
    if shelf != 0:
        lanes[lane, c.LANE_FREE] = shelves[shelf, c.SHELF_NEXT]
    else:
        shelf = s[c.SHELF_ROWS]
        s[c.SHELF_ROWS] = shelf + 1
        shelves[shelf, c.SHELF_LANE] = lane
        shelves[shelf, c.SHELF_NUMBER] = lanes[lane, c.LANE_SHELVES]
        lanes[lane, c.LANE_SHELVES] += 1
    for board in range(c.BOARDS):
        shelves[shelf, c.SHELF_LIVE + board] = 0
        shelves[shelf, c.SHELF_TAKEN + board] = 0
        clear_board(s, shelf, board)
    for place in range(c.SHELF_PLACES):
        words[shelf, place] = np.uint64(NOBODY)
    shelves[shelf, c.SHELF_COUNT] = 0
    shelves[shelf, c.SHELF_GONE] = 0
    new_version(s, shelf)
    return i64(shelf)


@inner
def put(s: Array, shelf: int, board: int, offer: int) -> None:
    """Put an offer on a board of a shelf, or where there is room; the board's bounds hold for it."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    site = i64(small_table(s, c.ASKS, c.ASK_NARROW)[offer, c.ASK_SITE])
    while bits[shelf, c.SHELF_TAKEN + board] == _FULL:
        board = board + 1 if board + 1 < c.BOARDS else 0
    inside = lowest_bit(~bits[shelf, c.SHELF_TAKEN + board])
    place = c.BOARD * board + inside
    word = word_of(s, offer)
    small_table(s, c.SHELF_SITES, c.SHELF_PLACES)[shelf, place] = site
    small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)[shelf, place] = offer
    bits_table(s, c.WORDS, c.SHELF_PLACES)[shelf, place] = word
    bits[shelf, c.SHELF_TAKEN + board] |= _ONE << np.uint64(inside)
    if word & np.uint64(SOLD_OUT) == _ZERO:
        bits[shelf, c.SHELF_LIVE + board] |= _ONE << np.uint64(inside)
    table(s, c.OFFERS, c.OFFER_ROW)[offer, c.OFFER_SPOT] = c.SHELF_PLACES * shelf + place
    shelves[shelf, c.SHELF_COUNT] += 1
    join_board(s, shelf, board, asks, offer)


@inner
def join_board(s: Array, shelf: int, board: int, asks: Array, offer: int) -> None:
    """Let what a board says of all its offers hold for one more."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    at = c.SHELF_BOARDS + c.BOARD_WORDS * board
    lower(shelves, shelf, at, asks, offer)
    shelves[shelf, at + c.BOARD_KEY] = min(shelves[shelf, at + c.BOARD_KEY], key_of(asks, offer))
    site = i64(small_table(s, c.ASKS, c.ASK_NARROW)[offer, c.ASK_SITE])
    group = table(s, c.SITES, c.SITE_ROW)[site, c.SITE_GROUP]
    if shelves[shelf, at + c.BOARD_GROUP] == 0:
        shelves[shelf, at + c.BOARD_GROUP] = group
    elif shelves[shelf, at + c.BOARD_GROUP] != group:
        shelves[shelf, at + c.BOARD_GROUP] = -1


@inner
def measure(s: Array, shelf: int) -> None:
    """Say of every board what holds for the offers that are there now."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    asks = table(s, c.ASKS, c.ASK_ROW)
    for board in range(c.BOARDS):
        clear_board(s, shelf, board)
        taken = bits[shelf, c.SHELF_TAKEN + board]
        while taken != _ZERO:
            offer = i64(rows[shelf, c.BOARD * board + lowest_bit(taken)])
            taken &= taken - _ONE
            join_board(s, shelf, board, asks, offer)
    shelves[shelf, c.SHELF_GONE] = 0


@inner
def entry_for(s: Array, lane: int, key: int) -> int:
    """Return the entry of the last shelf whose least key is not above a key, else the first one's."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    low = lanes[lane, c.LANE_FIRST]
    high = low + lanes[lane, c.LANE_COUNT]
    while high - low > 1:
        middle = (low + high) >> 1
        if directory[middle, c.ENTRY_KEY] <= key:
            low = middle
        else:
            high = middle
    return i64(low)


@inner
def insert_entry(s: Array, lane: int, at: int, key: int, shelf: int) -> int:
    """Make room in a lane's stretch for a shelf as its entry number `at`; returns the entry."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    count = lanes[lane, c.LANE_COUNT]
    if count == lanes[lane, c.LANE_ROOM]:  # to the end of the table, with twice the room
        room = max(2 * count, 4)
        first, old = s[c.DIRECTORY_ROWS], lanes[lane, c.LANE_FIRST]
        s[c.DIRECTORY_ROWS] = first + room
        for entry in range(count):
            for word in range(c.ENTRY_ROW):
                directory[first + entry, word] = directory[old + entry, word]
            shelves[directory[first + entry, c.ENTRY_SHELF] & 0xFFFFFFFF, c.SHELF_ENTRY] = (
                first + entry
            )
        lanes[lane, c.LANE_FIRST], lanes[lane, c.LANE_ROOM] = first, room
    first = lanes[lane, c.LANE_FIRST]
    for entry in range(first + count, first + at, -1):
        for word in range(c.ENTRY_ROW):
            directory[entry, word] = directory[entry - 1, word]
        shelves[directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF, c.SHELF_ENTRY] = entry
    lanes[lane, c.LANE_COUNT] = count + 1
    entry = first + at
    for word in range(c.BOUNDS):
        directory[entry, word] = directory[entry + 1, word] if at < count else _NONE
    directory[entry, c.ENTRY_KEY] = key
    directory[entry, c.ENTRY_SHELF] = shelf | (shelves[shelf, c.SHELF_NUMBER] << 32)
    shelves[shelf, c.SHELF_ENTRY] = entry
    return i64(entry)


@inner
def remove_shelf(s: Array, shelf: int) -> None:
    """Take an empty shelf out of its lane, which keeps it for later."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    lane = shelves[shelf, c.SHELF_LANE]
    end = lanes[lane, c.LANE_FIRST] + lanes[lane, c.LANE_COUNT] - 1
    at = shelves[shelf, c.SHELF_ENTRY]
    for entry in range(at, end):
        for word in range(c.ENTRY_ROW):
            directory[entry, word] = directory[entry + 1, word]
        shelves[directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF, c.SHELF_ENTRY] = entry
    lanes[lane, c.LANE_COUNT] -= 1
    shelves[shelf, c.SHELF_NEXT] = lanes[lane, c.LANE_FREE]
    lanes[lane, c.LANE_FREE] = shelf
    if at > lanes[lane, c.LANE_FIRST]:
        settle_bounds(s, lane, at - 1)


@inner
def sort_offers(s: Array, shelf: int, first: int) -> int:
    """Put a shelf's offers into SURVIVORS from row `first` on, with their keys; returns how many."""
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    asks = table(s, c.ASKS, c.ASK_ROW)
    found = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    count = first
    for board in range(c.BOARDS):
        taken = bits[shelf, c.SHELF_TAKEN + board]
        while taken != _ZERO:
            offer = i64(rows[shelf, c.BOARD * board + lowest_bit(taken)])
            taken &= taken - _ONE
            found[count, 0] = key_of(asks, offer)
            found[count, 1] = offer
            count += 1
    for step in _STEPS:
        for at in range(step, count):
            key, offer = found[at, 0], found[at, 1]
            to = at
            while to >= step and found[to - step, 0] > key:
                found[to, 0] = found[to - step, 0]
                found[to, 1] = found[to - step, 1]
                to -= step
            found[to, 0] = key
            found[to, 1] = offer
    return count


@inner
def empty_shelf(s: Array, shelf: int) -> None:
    """Take everything off a shelf, to be put back in order."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    for board in range(c.BOARDS):
        shelves[shelf, c.SHELF_LIVE + board] = 0
        shelves[shelf, c.SHELF_TAKEN + board] = 0
        clear_board(s, shelf, board)
    for place in range(c.SHELF_PLACES):
        words[shelf, place] = np.uint64(NOBODY)
    shelves[shelf, c.SHELF_COUNT] = 0
    shelves[shelf, c.SHELF_GONE] = 0
    new_version(s, shelf)


@inner
def fill_shelf(s: Array, shelf: int, first: int, last: int) -> None:
    """Put the sorted offers of some rows of SURVIVORS on an empty shelf, spread over its boards."""
    found = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    count = last - first
    for at in range(count):
        put(s, shelf, at * c.BOARDS // count, found[first + at, 1])


@inner
def split(s: Array, shelf: int) -> None:
    """Move the dearer half of a full shelf to a new one behind it."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    found = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    lane = shelves[shelf, c.SHELF_LANE]
    count = sort_offers(s, shelf, 0)
    half = count >> 1
    empty_shelf(s, shelf)
    right = new_shelf(s, lane)
    fill_shelf(s, shelf, 0, half)
    fill_shelf(s, right, half, count)
    at = shelves[shelf, c.SHELF_ENTRY] + 1 - lanes[lane, c.LANE_FIRST]
    entry = insert_entry(s, lane, at, found[half, 0], right)
    settle_bounds(s, lane, entry)


@inner
def merge(s: Array, shelf: int) -> None:
    """Put the few offers of a shelf on the one behind or before it, if they fit well."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    lane = shelves[shelf, c.SHELF_LANE]
    first = lanes[lane, c.LANE_FIRST]
    entry = shelves[shelf, c.SHELF_ENTRY]
    if entry + 1 < first + lanes[lane, c.LANE_COUNT]:
        left, right = shelf, directory[entry + 1, c.ENTRY_SHELF] & 0xFFFFFFFF
    elif entry > first:
        left, right = directory[entry - 1, c.ENTRY_SHELF] & 0xFFFFFFFF, shelf
    else:
        return
    if shelves[left, c.SHELF_COUNT] + shelves[right, c.SHELF_COUNT] > _MERGED:
        return
    count = sort_offers(s, left, 0)
    count = sort_offers(s, right, count)
    empty_shelf(s, left)
    empty_shelf(s, right)
    if count > 0:
        fill_shelf(s, left, 0, count)
    remove_shelf(s, right)
    settle_bounds(s, lane, shelves[left, c.SHELF_ENTRY])


@inner
def index_offer(s: Array, offer: int) -> None:
    """Let auctions find an offer."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    lane = lane_of(s, offer)
    key = key_of(asks, offer)
    if lanes[lane, c.LANE_COUNT] == 0:
        insert_entry(s, lane, 0, key, new_shelf(s, lane))
    entry = entry_for(s, lane, key)
    shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
    if shelves[shelf, c.SHELF_COUNT] == c.SHELF_PLACES:
        split(s, shelf)
        entry = entry_for(s, lane, key)
        shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
    board = c.BOARDS - 1
    while board > 0 and shelves[shelf, c.SHELF_BOARDS + c.BOARD_WORDS * board + c.BOARD_KEY] > key:
        board -= 1
    put(s, shelf, board, offer)
    freshen(s, offer)
    first = lanes[lane, c.LANE_FIRST]
    while entry >= first and lower(directory, entry, 0, asks, offer):
        entry -= 1
    if lane & 1:
        s[c.DEALS_STANDING] += 1


@inner
def unindex_offer(s: Array, offer: int) -> None:
    """Let auctions find an offer no longer."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    spot = offers[offer, c.OFFER_SPOT]
    shelf = spot // c.SHELF_PLACES
    place = spot - c.SHELF_PLACES * shelf
    bit = _ONE << np.uint64(place & 63)
    bits[shelf, c.SHELF_LIVE + (place >> 6)] &= ~bit
    bits[shelf, c.SHELF_TAKEN + (place >> 6)] &= ~bit
    bits_table(s, c.WORDS, c.SHELF_PLACES)[shelf, place] = np.uint64(NOBODY)
    offers[offer, c.OFFER_SPOT] = 0
    shelves[shelf, c.SHELF_COUNT] -= 1
    shelves[shelf, c.SHELF_GONE] += 1
    lane = shelves[shelf, c.SHELF_LANE]
    if lane & 1:
        s[c.DEALS_STANDING] -= 1
    if shelves[shelf, c.SHELF_COUNT] == 0:
        remove_shelf(s, shelf)
    elif shelves[shelf, c.SHELF_GONE] >= _GONE_MAX:
        measure(s, shelf)
        settle_bounds(s, lane, shelves[shelf, c.SHELF_ENTRY])
        if shelves[shelf, c.SHELF_COUNT] < _MERGED // 2:
            merge(s, shelf)


@inner
def mark_sold_out(s: Array, offer: int, is_sold_out: bool) -> None:
    """Say that nothing of an offer is left, or that something is again."""
    spot = table(s, c.OFFERS, c.OFFER_ROW)[offer, c.OFFER_SPOT]
    if spot == 0:
        return
    shelf = spot // c.SHELF_PLACES
    place = spot - c.SHELF_PLACES * shelf
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    bit = _ONE << np.uint64(place & 63)
    if is_sold_out:
        words[shelf, place] |= np.uint64(SOLD_OUT)
        bits[shelf, c.SHELF_LIVE + (place >> 6)] &= ~bit
    else:
        words[shelf, place] &= ~np.uint64(SOLD_OUT)
        bits[shelf, c.SHELF_LIVE + (place >> 6)] |= bit


@inner
def freshen_site(s: Array, site: int) -> None:
    """Let every bid look at the offers of a site, that some campaign judges otherwise than before."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    offer = table(s, c.SITES, c.SITE_ROW)[site, c.SITE_FIRST_OFFER]
    while offer != 0:
        freshen(s, offer)
        offer = offers[offer, c.OFFER_SITE_NEXT]


@kernel
def mix_groups(s: Array, site: int) -> int:
    """Let the boards with offers of a site say that their owners are several; returns how many."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    offer = table(s, c.SITES, c.SITE_ROW)[site, c.SITE_FIRST_OFFER]
    count = 0
    while offer != 0:
        spot = offers[offer, c.OFFER_SPOT]
        shelf = spot // c.SHELF_PLACES
        board = (spot - c.SHELF_PLACES * shelf) >> 6
        shelves[shelf, c.SHELF_BOARDS + c.BOARD_WORDS * board + c.BOARD_GROUP] = -1
        offer = offers[offer, c.OFFER_SITE_NEXT]
        count += 1
    return count


@kernel
def word_of_offer(s: Array, offer: int) -> np.uint64:
    """Return what `word_of` does, to Python."""
    return word_of(s, offer)


@kernel
def campaign_fails(s: Array, campaign: int) -> np.uint64:
    """Return the bits of a word that rule an offer out for a campaign, to Python."""
    return forbidden_by(s, campaign, CONTRACT)
