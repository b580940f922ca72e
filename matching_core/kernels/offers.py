"""The commands about one offer, in frames (schemas/records.py), checked in MARKET_FILE.md's order.

Where a command names no member, none is asked for: the session has checked that the site is the
sender's. Values are within their limits: admission and the market file's reader have seen to that.

Offers that report are spread over all of the book: hardly a line of theirs is in a cache. So a frame
is a pipeline: what a record needs is asked for while those before it are done, in steps, because
each step needs to read what the one before has asked for.

    record + 28     its place in NAMES is asked for
    record + 20     its leaf is read from there and asked for
    record + 12     its row is read from the leaf; the lines of the offer are asked for
    record + 3      its place on a shelf is read from those; the lines of the shelf are asked for
    record          is done
"""

from matching_core import columns as c
from matching_core.event_rows import EVENT_WORDS
from matching_core.jit import Array, i64, inbox, inner, prefetch, short_table, small_table, table
from matching_core.kernels import emit as e
from matching_core.kernels.book import (
    note_seen,
    set_available,
    stands,
    unlink_offer,
)
from matching_core.kernels.capacity import place_offer, sell_capacity
from matching_core.kernels.expiry import expire
from matching_core.kernels.hopes import note_report
from matching_core.kernels.names import (
    add_name,
    leaf_key,
    leaf_of,
    map_slot,
    offer_row,
    row_in_leaf,
)
from matching_core.kernels.shelves import entry_for
from matching_core.kernels.wheel import expire_at
from schemas import reasons, records

_OFFER = records.OFFER_RECORD
_REFRESH = records.REFRESH_RECORD
_OFFER_CANCEL = records.OFFER_CANCEL_RECORD
UNKNOWN = reasons.REJECTED["unknown"]
FILLS_SEEN = reasons.REJECTED["fills_seen"]
STATE = reasons.REJECTED["state"]
_FARTHEST, _FAR, _NEAR, _NEXT = 28, 20, 12, 3
_RING = c.AHEAD_ROWS - 1
_LINE_BYTES = 64
assert _FARTHEST < c.AHEAD_ROWS


@inner
def offer_refusal(s: Array, record: Array, offer: int) -> int:
    """Return why an offer is rejected, 0 if it is not."""
    site, model = i64(record["site"]), i64(record["model"])
    deal, adapters = i64(record["deal"]), i64(record["adapter_set"])
    if not 1 <= site <= s[c.SITE_COUNT] or not 1 <= model <= s[c.MODEL_COUNT]:
        return UNKNOWN
    if deal != 0:
        if deal > s[c.DEAL_COUNT]:
            return UNKNOWN
        operator = table(s, c.SITES, c.SITE_ROW)[site, c.SITE_OPERATOR]
        if table(s, c.DEALS, c.DEAL_ROW)[deal, 0] != operator:
            return UNKNOWN
    if adapters != 0:
        if adapters > s[c.SET_COUNT]:
            return UNKNOWN
        sets = table(s, c.SETS, c.SET_ROW)
        items = table(s, c.SET_ITEMS, 1)
        adapter_models = table(s, c.ADAPTERS, c.ADAPTER_ROW)
        first = sets[adapters, c.SET_FIRST]
        for item in range(first, first + sets[adapters, c.SET_SIZE]):
            if adapter_models[items[item, 0], 0] != model:
                return UNKNOWN
    if i64(record["fills_seen"]) > table(s, c.OFFERS, c.OFFER_ROW)[offer, c.OFFER_MADE]:
        return FILLS_SEEN
    return 0


@inner
def reject_offer(s: Array, command: int, reason: int, site: int, number: int) -> None:
    """Say that a command about an offer changed nothing."""
    row = e.emit_rejected(s, command, reason)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_SITE] = site
    events[row, e.E_OFFER] = number
    if 1 <= site <= s[c.SITE_COUNT]:
        events[row, e.E_OPERATOR] = table(s, c.SITES, c.SITE_ROW)[site, c.SITE_OPERATOR]


@inner
def do_offer(s: Array, place: int, offer: int) -> None:
    """Take record `place` as an offer: all of it is replaced, and it is the youngest now."""
    record = inbox(s, c.INBOX, _OFFER)[place]
    site, number = i64(record["site"]), i64(record["offer"])
    if offer == 0:  # a record just before may have been the first of the same name
        offer = offer_row(s, site, number)
    refusal = offer_refusal(s, record, offer)
    if refusal != 0:
        reject_offer(s, records.OFFER, refusal, site, number)
        return
    counts = short_table(s, c.OFFERS, c.OFFER_SHORT)
    asks = table(s, c.ASKS, c.ASK_ROW)
    if offer == 0:
        offer = s[c.OFFER_ROWS]
        s[c.OFFER_ROWS] = offer + 1
        add_name(s, site, number, offer)
        counts[offer, c.OFFER_NUMBER] = number
    elif stands(s, offer):
        unlink_offer(s, offer)
    asks[offer, c.ASK_IN] = record["ask_in"]
    asks[offer, c.ASK_OUT] = record["ask_out"]
    asks[offer, c.ASK_SECOND] = record["ask_second"]
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    terms[offer, c.ASK_TTFT] = record["ttft_us"]
    terms[offer, c.ASK_PREFILL] = record["prefill_ns_per_token"]
    terms[offer, c.ASK_SPEED] = record["tokens_per_second"]
    terms[offer, c.ASK_CONTEXT] = record["context_limit"]
    terms[offer, c.ASK_SITE] = site
    terms[offer, c.ASK_MODEL] = record["model"]
    terms[offer, c.ASK_DEAL] = record["deal"]
    terms[offer, c.ASK_STARTS] = 1 if record["cold_start_us"] > 0 else 0
    starts = small_table(s, c.OFFERS, c.OFFER_NARROW)
    starts[offer, c.OFFER_COLD] = record["cold_start_us"]
    starts[offer, c.OFFER_LOAD] = record["adapter_load_us"]
    starts[offer, c.OFFER_ADAPTERS] = record["adapter_set"]
    counts[offer, c.OFFER_SLOTS] = record["slots"]
    capabilities = i64(record["capabilities"])
    if capabilities >= 128:  # the highest bit of 32 is their sign
        capabilities -= 256
    terms[offer, c.ASK_ATTRIBUTES] = (
        i64(record["hardware"])
        | (i64(record["precision"]) << 8)
        | (i64(record["contract"]) << 16)
        | (capabilities << c.CAPABILITIES_SHIFT)
    )
    place_offer(s, offer, i64(record["fills_seen"]), i64(record["ttl_us"]))


@inner
def do_refresh(s: Array, place: int, offer: int) -> None:
    """Take record `place` as a refresh: what changes by the second; the priority stays."""
    record = inbox(s, c.INBOX, _REFRESH)[place]
    site, number = i64(record["site"]), i64(record["offer"])
    seen = i64(record["fills_seen"])
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    refusal = 0
    if not 1 <= site <= s[c.SITE_COUNT]:
        refusal = UNKNOWN
    elif seen > offers[offer, c.OFFER_MADE]:
        refusal = FILLS_SEEN
    elif not stands(s, offer):
        refusal = STATE
    if refusal != 0:
        reject_offer(s, records.REFRESH, refusal, site, number)
        return
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_SLOTS] = record["slots"]
    terms[offer, c.ASK_TTFT] = record["ttft_us"]
    terms[offer, c.ASK_PREFILL] = record["prefill_ns_per_token"]
    terms[offer, c.ASK_SPEED] = record["tokens_per_second"]
    note_report(s, offer)
    note_seen(s, offer, seen)
    set_available(s, offer)
    expire_at(s, offer, i64(record["ttl_us"]))
    sell_capacity(s, offer)


@inner
def do_offer_cancel(s: Array, place: int, offer: int) -> None:
    """Take record `place` as the cancel of one offer."""
    record = inbox(s, c.INBOX, _OFFER_CANCEL)[place]
    site, number = i64(record["site"]), i64(record["offer"])
    if not 1 <= site <= s[c.SITE_COUNT]:
        reject_offer(s, records.OFFER_CANCEL, UNKNOWN, site, number)
        return
    if not stands(s, offer):
        reject_offer(s, records.OFFER_CANCEL, STATE, site, number)
        return
    unlink_offer(s, offer)


@inner
def name_at(s: Array, kind: int, place: int) -> tuple[int, int]:
    """Return the name (site, offer) in record `place` of a frame of this page's kinds."""
    if kind == records.OFFER:
        offered = inbox(s, c.INBOX, _OFFER)[place]
        return i64(offered["site"]), i64(offered["offer"])
    if kind == records.REFRESH:
        report = inbox(s, c.INBOX, _REFRESH)[place]
        return i64(report["site"]), i64(report["offer"])
    cancel = inbox(s, c.INBOX, _OFFER_CANCEL)[place]
    return i64(cancel["site"]), i64(cancel["offer"])


@inner
def ask_for_leaf(s: Array, kind: int, place: int) -> None:
    """Ask for the place of a record's leaf."""
    site, number = name_at(s, kind, place)
    prefetch(s, c.NAMES, 8 * c.MAP_ROW * map_slot(s[c.NAMES + 1], leaf_key(site, number)))


@inner
def ask_for_name(s: Array, kind: int, place: int) -> None:
    """Ask for a record's leaf."""
    site, number = name_at(s, kind, place)
    leaf = leaf_of(s, site, number)
    table(s, c.AHEAD, 1)[place & _RING, 0] = leaf
    prefetch(s, c.LEAVES, 4 * c.LEAF_NAMES * leaf)
    if kind != records.REFRESH:
        prefetch(s, c.LEAF_STATES, 4 * c.LEAF_STATE_ROW * leaf)


@inner
def ask_for_offer(s: Array, kind: int, place: int) -> None:
    """Ask for the lines of a record's offer."""
    ahead = table(s, c.AHEAD, 1)
    _, number = name_at(s, kind, place)
    offer = row_in_leaf(s, ahead[place & _RING, 0], number)
    ahead[place & _RING, 0] = offer
    prefetch(s, c.OFFERS, 8 * c.OFFER_ROW * offer)
    prefetch(s, c.ASKS, 8 * c.ASK_ROW * offer)


@inner
def ask_for_shelf(s: Array, kind: int, place: int) -> None:
    """Ask for what a record needs of the shelf that its offer stands on, or will."""
    if kind == records.OFFER:
        offered = inbox(s, c.INBOX, _OFFER)[place]
        model = i64(offered["model"])
        lane = c.LANES_PER_MODEL * model + (0 if offered["deal"] == 0 else 1)
        if model > s[c.MODEL_COUNT] or table(s, c.LANES, c.LANE_WORDS)[lane, c.LANE_COUNT] == 0:
            return
        entry = entry_for(s, lane, i64(4 * offered["ask_in"] + offered["ask_out"]))
        shelf = table(s, c.DIRECTORY, c.ENTRY_ROW)[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
        for line in range(0, 8 * c.SHELF_ROW, _LINE_BYTES):
            prefetch(s, c.SHELVES, 8 * c.SHELF_ROW * shelf + line)
        return
    offer = table(s, c.AHEAD, 1)[place & _RING, 0]
    offers = small_table(s, c.OFFERS, c.OFFER_NARROW)
    if kind == records.REFRESH:
        prefetch(s, c.FILLS, 8 * c.FILL_ROW * i64(offers[offer, c.OFFER_FIRST_FILL]))
        return
    spot = i64(offers[offer, c.OFFER_SPOT])
    first = 8 * c.SHELF_ROW * (spot // c.SHELF_PLACES)
    prefetch(s, c.SHELVES, first)
    prefetch(s, c.SHELVES, first + 8 * c.SHELF_TAKEN)
    prefetch(s, c.SHELVES, first + 8 * c.SHELF_LANE)
    prefetch(s, c.WORDS, 8 * spot)


@inner
def is_of_offer(kind: int) -> bool:
    """Tell whether commands of a kind are about one offer, and come to `do_offers`."""
    return bool(
        (kind == records.OFFER) | (kind == records.REFRESH) | (kind == records.OFFER_CANCEL)
    )


@inner
def do_offers(s: Array, kind: int, count: int) -> None:
    """Take a frame of offers, refreshes or cancels of one offer each."""
    for step in range(-_FARTHEST, count):
        if step + _FARTHEST < count:
            ask_for_leaf(s, kind, step + _FARTHEST)
        if 0 <= step + _FAR < count:
            ask_for_name(s, kind, step + _FAR)
        if 0 <= step + _NEAR < count:
            ask_for_offer(s, kind, step + _NEAR)
        if 0 <= step + _NEXT < count:
            ask_for_shelf(s, kind, step + _NEXT)
        if step < 0:
            continue
        s[c.SEQ] += 1
        s[c.INDEX] = 0
        if step == 0:  # nothing that these begin is due at once
            expire(s)
        offer = table(s, c.AHEAD, 1)[step & _RING, 0]
        if kind == records.OFFER:
            do_offer(s, step, offer)
        elif kind == records.REFRESH:
            do_refresh(s, step, offer)
        else:
            do_offer_cancel(s, step, offer)
