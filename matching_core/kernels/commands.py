"""The hot commands but for those about offers (offers.py), one record each (schemas/records.py), checked in MARKET_FILE.md's order.

A handle that is not known, 0 included, is `unknown`. Values are within their limits: admission and
the market file's reader have seen to that. Where a command names no member, none is asked for: the
session has checked that the site is the sender's.
"""

import numpy as np

from matching_core import columns as c
from matching_core.event_rows import EVENT_WORDS
from matching_core.jit import Array, i64, inbox, inner, small_table, table
from matching_core.kernels import emit as e
from matching_core.kernels.bid import clear_bid
from matching_core.kernels.lifecycle import complete_fill, decline_fill, start_fill
from matching_core.kernels.names import map_place
from matching_core.kernels.near import BANDS_US, set_near
from matching_core.kernels.offers import reject_offer
from matching_core.kernels.rests import CANCELLED, end_rest, find_rest
from matching_core.kernels.waits import wait_move
from schemas import limits, reasons, records

_BID = records.BID_RECORD
_RTT = records.RTT_RECORD
_FILL_COMMANDS = records.COMPLETE_RECORD
_NONE_U32 = records.NONE_U32
_NONE_U64 = np.uint64(records.NONE_U64)

UNKNOWN = reasons.REJECTED["unknown"]
DUPLICATE = reasons.REJECTED["duplicate"]
HALTED = reasons.REJECTED["halted"]
LIMIT = reasons.REJECTED["limit"]
STATE = reasons.REJECTED["state"]

_BIDS_AT_REST_MAX = limits.BIDS_AT_REST_MAX
_NS_PER_US = limits.NS_PER_US
_RELEASE_GRACE_NS = limits.RELEASE_GRACE_NS


@inner
def band_of(budget_us: int) -> int:
    """Return the number of the latency band that a budget belongs to."""
    for number in range(len(BANDS_US)):
        if budget_us <= BANDS_US[number]:
            return number
    return len(BANDS_US)


@inner
def agent_key(buyer: int, agent: int) -> int:
    """Return the key of a buyer's agent in AGENTS."""
    return buyer * c.AGENTS_PER_BUYER_KEY + agent + 1


@inner
def bid_refusal(s: Array, buyer: int, bid: int, last_bid: int, rest_us: int) -> int:
    """Return why the bid in row 0 is rejected, 0 if it is not; `last_bid` is its agent's."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    campaign = rests[0, c.REST_CAMPAIGN]
    if not 1 <= buyer <= s[c.BUYER_COUNT] or not 1 <= campaign <= s[c.CAMPAIGN_COUNT]:
        return UNKNOWN
    if (
        campaigns[campaign, c.CAMPAIGN_STANDING] == 0
        or campaigns[campaign, c.CAMPAIGN_BUYER] != buyer
    ):
        return UNKNOWN
    if not 1 <= rests[0, c.REST_ORIGIN] <= s[c.METRO_COUNT]:
        return UNKNOWN
    if not 0 <= rests[0, c.REST_ADAPTER] <= s[c.ADAPTER_COUNT]:
        return UNKNOWN
    if bid <= last_bid:
        return DUPLICATE
    if buyers[buyer, c.BUYER_HALTS] != 0 or s[c.EXCHANGE_HALTS] != 0:
        return HALTED
    if rest_us > 0 and buyers[buyer, c.BUYER_RESTS] >= _BIDS_AT_REST_MAX:
        return LIMIT
    return 0


@inner
def do_bid(s: Array, place: int, buyer: int, agent: int) -> None:
    """Take record `place` of the inbox as a bid: row 0 of the bids, then its auctions."""
    record = inbox(s, c.INBOX, _BID)[place]
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    bid = i64(record["bid"])
    rest_us = i64(record["rest_us"])
    campaign = i64(record["campaign"])
    rests[0, c.REST_BUYER] = buyer
    rests[0, c.REST_AGENT] = agent
    rests[0, c.REST_BID] = bid
    rests[0, c.REST_CAMPAIGN] = campaign
    rests[0, c.REST_ORIGIN] = i64(record["origin"])
    rests[0, c.REST_ASN] = i64(record["origin_asn"])
    rests[0, c.REST_TOKENS_IN] = i64(record["tokens_in"])
    rests[0, c.REST_TOKENS_OUT] = i64(record["tokens_out"])
    rests[0, c.REST_ADAPTER] = i64(record["adapter"])
    rests[0, c.REST_LEASE_US] = i64(record["lease_us"])
    rests[0, c.REST_UNITS] = i64(record["quantity"])
    rests[0, c.REST_NEXT_UNIT] = 0
    agents = table(s, c.AGENTS, c.MAP_ROW)
    key = agent_key(buyer, agent)
    slot = map_place(s, c.AGENTS, key)
    refusal = bid_refusal(s, buyer, bid, agents[slot, 1], rest_us)  # 0 where there is no agent yet
    if refusal != 0:
        row = e.emit_rejected(s, records.BID, refusal)
        events = table(s, c.EVENTS, EVENT_WORDS)
        events[row, e.E_BUYER] = buyer
        events[row, e.E_AGENT] = agent
        events[row, e.E_BID] = bid
        events[row, e.E_CAMPAIGN] = campaign
        return
    if agents[slot, 0] == 0:
        s[c.AGENT_ROWS] += 1
    agents[slot, 0] = key
    agents[slot, 1] = bid
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    budget = i64(record["latency_budget_us"])
    if budget == _NONE_U32:
        budget = campaigns[campaign, c.CAMPAIGN_BUDGET]
    rests[0, c.REST_BUDGET] = budget
    rests[0, c.REST_BAND] = band_of(budget)
    if record["max_price"] == _NONE_U64:
        tokens = rests[0, c.REST_TOKENS_IN] + rests[0, c.REST_TOKENS_OUT]
        rests[0, c.REST_PRICE] = campaigns[campaign, c.CAMPAIGN_UNIT_PRICE] * tokens // 1000
    else:
        rests[0, c.REST_PRICE] = i64(record["max_price"])
    clear_bid(s, rest_us)


@inner
def do_bid_cancel(s: Array, place: int, buyer: int, agent: int) -> None:
    """Take record `place` as the cancel of one bid at rest."""
    record = inbox(s, c.INBOX, records.BID_CANCEL_RECORD)[place]
    bid = i64(record["bid"])
    refusal = 0
    rest = 0
    if not 1 <= buyer <= s[c.BUYER_COUNT]:
        refusal = UNKNOWN
    else:
        rest = find_rest(s, buyer, agent, bid)
        if rest == 0:
            refusal = STATE
    if refusal != 0:
        row = e.emit_rejected(s, records.BID_CANCEL, refusal)
        events = table(s, c.EVENTS, EVENT_WORDS)
        events[row, e.E_BUYER] = buyer
        events[row, e.E_AGENT] = agent
        events[row, e.E_BID] = bid
        return
    end_rest(s, rest, CANCELLED)


@inner
def do_rtt(s: Array, place: int) -> None:
    """Take record `place` as the round trip of (site, metro)."""
    record = inbox(s, c.INBOX, _RTT)[place]
    site, metro = i64(record["site"]), i64(record["metro"])
    p99_us = i64(record["p99_us"])
    if not 1 <= site <= s[c.SITE_COUNT] or not 1 <= metro <= s[c.METRO_COUNT]:
        reject_offer(s, records.RTT, UNKNOWN, site, 0)
        return
    kept = c.UNREACHABLE
    if p99_us != _NONE_U32:
        kept = 2 * p99_us + i64(record["estimate"])
    small_table(s, c.RTT, s[c.SITE_CAPACITY])[metro, site] = kept
    set_near(s, site, metro)


@inner
def fill_refusal(s: Array, number: int, word: int, member: int) -> int:
    """Return why no command of a member can concern a fill: not its own, or over; else 0."""
    if member < 1 or not 1 <= number <= s[c.FILLS_MADE]:
        return UNKNOWN
    index = small_table(s, c.FILL_INDEX, c.FILL_INDEX_ROW)
    if index[number, word] != member:
        return UNKNOWN
    if index[number, c.INDEX_ROW_OF_FILL] == 0:
        return STATE
    return 0


@inner
def reject_fill(s: Array, command: int, reason: int, number: int, word: int, member: int) -> None:
    """Say that a command about a fill changed nothing."""
    row = e.emit_rejected(s, command, reason)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_FILL] = number
    events[row, e.E_OPERATOR if word == c.INDEX_OPERATOR else e.E_BUYER] = member


@inner
def do_fill_command(
    s: Array, kind: int, number: int, member: int, is_operator: bool, detail: int, tokens_out: int
) -> None:
    """Take start, decline (`detail` = reason), release or complete (`detail` = tokens in)."""
    word = c.INDEX_OPERATOR if is_operator else c.INDEX_BUYER
    refusal = fill_refusal(s, number, word, member)
    if refusal != 0:
        reject_fill(s, kind, refusal, number, word, member)
        return
    fills = table(s, c.FILLS, c.FILL_ROW)
    fill = i64(small_table(s, c.FILL_INDEX, c.FILL_INDEX_ROW)[number, c.INDEX_ROW_OF_FILL])
    progress = table(s, c.FILL_PROGRESS, c.PROGRESS_ROW)
    state = small_table(s, c.FILLS, c.FILL_NARROW)[fill, c.FILL_STATE]
    figure = c.PROGRESS_OPERATOR_FIGURE if is_operator else c.PROGRESS_BUYER_FIGURE
    if kind == records.START or kind == records.RELEASE:  # noqa: PLR1714  # no sets in kernels
        allowed = state == c.LEASED
    elif kind == records.DECLINE:
        allowed = state == c.LEASED or (state == c.STARTED and progress[fill, figure] == c.NOT_YET)
    else:
        allowed = (state == c.STARTED and progress[fill, figure] == c.NOT_YET) or (
            state == c.LEASED and is_operator
        )
    if not allowed:
        reject_fill(s, kind, STATE, number, word, member)
    elif kind == records.START:
        start_fill(s, fill)
    elif kind == records.DECLINE:
        decline_fill(s, fill, detail)
    elif kind == records.RELEASE:
        until = min(fills[fill, c.FILL_LEASE_UNTIL], s[c.AT] + _RELEASE_GRACE_NS)
        fills[fill, c.FILL_LEASE_UNTIL] = until
        wait_move(s, c.LEASE_WAIT, until, number, fill)
        row = e.emit_of_fill(s, e.RELEASING, fill)
        table(s, c.EVENTS, EVENT_WORDS)[row, e.E_LEASE_UNTIL] = until
    else:
        if state == c.LEASED:
            start_fill(s, fill)
        complete_fill(s, fill, figure, detail, tokens_out)
