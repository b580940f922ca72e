"""Questions about the compiled market that change nothing: for sessions, the follower, people."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from matching_core import columns as k
from matching_core.jit import Array
from matching_core.kernels.entry import find
from matching_core.kernels.names import count_made
from matching_core.kernels.wheel import next_list_ns
from matching_core.rows import open_rows
from matching_core.tables import Columns
from schemas import limits

STATES: Final = {k.LEASED: "leased", k.STARTED: "started", k.DISPUTED: "disputed"}
BOOK_ROW: Final = np.dtype(
    [
        ("site", "<i8"), ("offer", "<i8"), ("model", "<i8"), ("hardware", "<i8"),
        ("precision", "<i8"), ("contract", "<i8"), ("available", "<i8"), ("slots", "<i8"),
        ("ttft_us", "<i8"), ("ask_in", "<i8"), ("ask_out", "<i8"), ("ask_second", "<i8"),
        ("deal", "<i8"), ("expires_at_ns", "<i8"), ("cold_start_us", "<i8"),
        ("prefill_ns_per_token", "<i8"), ("tokens_per_second", "<i8"), ("context_limit", "<i8"),
        ("capabilities", "<i8"), ("priority", "<i8"),
    ]
)  # fmt: skip
# Where a field stands: words of 64, 32 and 16 bits.
_OFFER_WORDS: Final = {"expires_at_ns": k.OFFER_EXPIRES, "priority": k.OFFER_PRIORITY}
_OFFER_SHORT_WORDS: Final = {"offer": k.OFFER_NUMBER, "slots": k.OFFER_SLOTS}
_ASK_WORDS: Final = {"ask_in": k.ASK_IN, "ask_out": k.ASK_OUT, "ask_second": k.ASK_SECOND}
_ASK_NARROW_WORDS: Final = {
    "site": k.ASK_SITE,
    "model": k.ASK_MODEL,
    "available": k.ASK_AVAILABLE,
    "ttft_us": k.ASK_TTFT,
    "deal": k.ASK_DEAL,
    "prefill_ns_per_token": k.ASK_PREFILL,
    "tokens_per_second": k.ASK_SPEED,
    "context_limit": k.ASK_CONTEXT,
}


SiteOffer = tuple[
    int, int, list[int]
]  # offer, fills made, numbers of the fills that have not ended


class FillState(NamedTuple):
    """Whose a fill is, by handles, and what became of it; of an ended one no more is kept."""

    fill: int
    buyer: int
    operator: int
    state: str  # leased, started, disputed, ended
    agent: int = 0
    bid: int = 0
    unit: int = 0
    site: int = 0
    offer: int = 0
    ordinal: int = 0
    price: int = 0
    lease_until: int = 0


def next_due_ns(columns: Columns) -> int:
    """Return the earliest time that anything waits for; AT_NS_MAX when nothing does."""
    s = columns.s
    due = limits.AT_NS_MAX
    due = min(due, next_list_ns(s))
    for at in (k.OFFER_HEAP, k.REST_HEAP, *k.HEAP_OF_WAIT.values()):
        if s[at + 2]:
            due = min(due, int(columns[at][1, 0]))
    for at in k.HEAP_OF_WAIT:
        for run in k.runs(at):
            if s[run + k.RUN_FIRST]:
                due = min(due, int(s[run + k.RUN_FIRST_DUE]))
    return due


def last_bid(columns: Columns, buyer: int, agent: int) -> int:
    """Return the number of an agent's last accepted bid, 0 if there was none."""
    key = buyer * k.AGENTS_PER_BUYER_KEY + agent + 1
    return int(find(columns.s, k.AGENTS, key))


def fills_made(columns: Columns, sites: Array, offers: Array) -> Array:
    """Return how many fills were ever made under each name: int64[n]."""
    made = np.zeros(len(sites), np.int64)
    assert len(offers) == len(sites)
    count_made(columns.s, sites.astype(np.int64), offers.astype(np.int64), made)
    return made


def site_states(columns: Columns, sites: Sequence[int]) -> dict[int, list[SiteOffer]]:
    """Return the offers ever named at each of these sites, by number, in one pass for all of them.

    A greeting asks for all the sites of a fleet at once: a pass for each would stall the loop.
    """
    at = columns.narrow(k.ASKS)[: columns.s[k.OFFER_ROWS], k.ASK_SITE]
    wanted = np.flatnonzero(np.isin(at, np.array(sites, np.int64)))
    rows = open_rows(columns)  # by number, and so are the lists below
    sold = columns.narrow(k.FILLS)[rows, k.FILL_OFFER]
    numbers = columns[k.FILLS][rows, k.FILL_NUMBER]
    here = np.isin(sold, wanted)
    still_open: dict[int, list[int]] = {}
    for offer, number in zip(sold[here].tolist(), numbers[here].tolist(), strict=True):
        still_open.setdefault(offer, []).append(number)
    found: dict[int, list[SiteOffer]] = {site: [] for site in sites}
    numbers = columns.short(k.OFFERS)[wanted, k.OFFER_NUMBER].tolist()
    counts = columns[k.OFFERS][wanted, k.OFFER_MADE].tolist()
    facts = zip(wanted.tolist(), at[wanted].tolist(), numbers, counts, strict=True)
    for row, site, offer, made in facts:
        found[site].append((offer, made, still_open.get(row, [])))
    return {site: sorted(of_site) for site, of_site in found.items()}


def rest_rows_of(columns: Columns, buyer: int) -> list[int]:
    """Return the rows of a buyer's bids at rest, in order of arrival."""
    rests, found = columns[k.RESTS_TABLE], []
    row = int(columns[k.BUYERS][buyer, k.BUYER_FIRST])
    while row:
        found.append(row)
        row = int(rests[row, k.REST_NEXT])
    return found


def rests_of(columns: Columns, buyer: int, agent: int) -> list[int]:
    """Return the numbers of an agent's bids at rest, in order of arrival."""
    rests = columns[k.RESTS_TABLE]
    return [
        int(rests[row, k.REST_BID])
        for row in rest_rows_of(columns, buyer)
        if rests[row, k.REST_AGENT] == agent
    ]


def bid_state(columns: Columns, buyer: int, agent: int, bid: int) -> tuple[bool, int, list[int]]:
    """Return (its number was used, units at rest, numbers of its open fills)."""
    rests, fills = columns[k.RESTS_TABLE], columns[k.FILLS]
    units = sum(
        int(rests[row, k.REST_UNITS])
        for row in rest_rows_of(columns, buyer)
        if rests[row, k.REST_AGENT] == agent and rests[row, k.REST_BID] == bid
    )
    rows, narrow = open_rows(columns), columns.narrow(k.FILLS)
    its = (
        (narrow[rows, k.FILL_BUYER] == buyer)
        & (narrow[rows, k.FILL_AGENT] == agent)
        & (fills[rows, k.FILL_BID] == bid)
    )
    numbers = fills[rows[its], k.FILL_NUMBER].tolist()
    return bid <= last_bid(columns, buyer, agent), units, numbers


def fill_state(columns: Columns, fill: int) -> FillState | None:
    """Return whose a fill is and what became of it; None when no fill has that number."""
    if not 1 <= fill <= columns.s[k.FILLS_MADE]:
        return None
    row, buyer, operator = columns[k.FILL_INDEX][fill].tolist()
    if row == 0:
        return FillState(fill, buyer, operator, "ended")
    of, narrow = columns[k.FILLS][row].tolist(), columns.narrow(k.FILLS)[row].tolist()
    offer = narrow[k.FILL_OFFER]
    site = int(columns.narrow(k.ASKS)[offer, k.ASK_SITE])
    number = int(columns.short(k.OFFERS)[offer, k.OFFER_NUMBER])
    return FillState(
        fill, buyer, operator, STATES[narrow[k.FILL_STATE]], narrow[k.FILL_AGENT], of[k.FILL_BID],
        narrow[k.FILL_UNIT], site, number, of[k.FILL_ORDINAL],
        of[k.FILL_PRICE], of[k.FILL_LEASE_UNTIL],
    )  # fmt: skip


def book(columns: Columns) -> Array:
    """Return the live offers as `BOOK_ROW[n]`, by (site, offer): nothing of them is halted."""
    count = columns.s[k.OFFER_ROWS]
    terms, numbers = columns.narrow(k.ASKS)[:count], columns.short(k.OFFERS)[:count]
    sites, operators, models = columns[k.SITES], columns[k.OPERATORS], columns[k.MODELS]
    site = terms[:, k.ASK_SITE]
    halts = (
        sites[site, k.SITE_HALTS]
        | operators[sites[site, k.SITE_OPERATOR], k.OPERATOR_HALTS]
        | models[terms[:, k.ASK_MODEL], k.MODEL_HALTS]
        | columns.s[k.EXCHANGE_HALTS]
    )
    live = np.nonzero((columns.narrow(k.OFFERS)[:count, k.OFFER_SPOT] != 0) & (halts == 0))[0]
    live = live[np.lexsort((numbers[live, k.OFFER_NUMBER], site[live]))]
    found = np.zeros(len(live), BOOK_ROW)
    for fields, kept in (
        (_OFFER_WORDS, columns[k.OFFERS]),
        (_OFFER_SHORT_WORDS, numbers),
        (_ASK_WORDS, columns[k.ASKS]),
        (_ASK_NARROW_WORDS, terms),
    ):
        for name, word in fields.items():
            found[name] = kept[live, word]
    found["cold_start_us"] = columns.narrow(k.OFFERS)[live, k.OFFER_COLD]
    attributes = terms[live, k.ASK_ATTRIBUTES]
    found["hardware"] = attributes & 255
    found["precision"] = attributes >> 8 & 255
    found["contract"] = attributes >> 16 & 255
    found["capabilities"] = attributes >> k.CAPABILITIES_SHIFT & 255
    return found


def rtt_us(columns: Columns) -> Array:
    """Return the p99 round trips in µs as int64[metros + 1, sites + 1]; negative: unreachable."""
    s = columns.s
    kept = columns[k.RTT][: s[k.METRO_COUNT] + 1, : s[k.SITE_COUNT] + 1]
    return kept.astype(np.int64) >> 1  # the lowest bit says that it is an estimate


def margins_us(columns: Columns) -> Array:
    """Return the verifier's latency margin of each site in µs as int64[sites + 1]."""
    return columns[k.SITES][: columns.s[k.SITE_COUNT] + 1, k.SITE_MARGIN].copy()


def counts(columns: Columns) -> dict[str, int]:
    """Return how many there are of what. `auctions` counts units cleared and offers sold (6b)."""
    s = columns.s
    return {
        "operators": int(s[k.OPERATOR_COUNT]),
        "buyers": int(s[k.BUYER_COUNT]),
        "models": int(s[k.MODEL_COUNT]),
        "metros": int(s[k.METRO_COUNT]),
        "sites": int(s[k.SITE_COUNT]),
        "campaigns": int(columns[k.BUYERS][:, k.BUYER_CAMPAIGNS].sum()),
        "offers": int(s[k.STANDING]),
        "names": int(s[k.OFFER_ROWS]) - 1,
        "resting_bids": int(s[k.RESTS]),
        "resting_units": int(s[k.RESTING_UNITS]),
        "open_fills": int(s[k.OPEN_FILLS]),
        "fills": int(s[k.FILLS_MADE]),
        "auctions": int(s[k.AUCTIONS]),
    }
