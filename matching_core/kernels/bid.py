"""A bid arrives and open offers compete for it (MARKET.md §6a); or it tells why none did (§7).

One pass keeps the best open offer and the best of another owner group than its: when a better one
comes, the old best is the new rival if its group differs, and the old rival stays if not; nothing
that was passed over can ever be needed again. Deals are kept apart: they are no rivals.
"""

import numpy as np

from matching_core import columns as c
from matching_core.event_rows import EVENT_WORDS
from matching_core.jit import Array, bits_table, i64, inner, lowest_bit, small_table, table
from matching_core.kernels import emit as e
from matching_core.kernels.campaigns import site_rule
from matching_core.kernels.lifecycle import make_fill
from matching_core.kernels.rests import rest_bid
from matching_core.kernels.rules import (
    LATENCY,
    NO_MODEL,
    PRICE,
    TRUST,
    attribute_rule,
    card_of,
    judge,
    site_peers,
)
from schemas import limits, reasons

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_NO_FILL_BASE = reasons.NO_FILL_BASE
_INSUFFICIENT_FUNDS = reasons.NO_FILL["insufficient_funds"]
_NS_PER_US = limits.NS_PER_US
_NO_BOUND = limits.DEPOSITS_NUSD_MAX  # above any score


@inner
def better(
    score: int, latency: int, priority: int, than_score: int, than_latency: int, than_priority: int
) -> bool:
    """Tell which of two offers is the better: score, then latency, then priority number."""
    if score != than_score:
        return score > than_score
    if latency != than_latency:
        return latency < than_latency
    return priority < than_priority


@inner
def find_offers(s: Array, model: int, ceiling: int) -> int:
    """Put the offers of a model at near sites that the campaign's rules admit into FOUND.

    Returns how many. `ceiling` is the most that the bid would pay for the model, at no latency. What
    their costs leave of it comes in a loop of its own without a branch, so that the processor has the
    cache lines of many offers on their way at once: that wait is most of an auction. For the same
    reason it has no division (LLVM puts a branch before one): shifts that together are a little less
    than 1/1000 and 1/10^6 give a bound instead, and a bound is all that is asked.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    found = table(s, c.FOUND, c.FOUND_ROW)
    words = s[c.SITE_WORDS]
    model_sites = bits_table(s, c.MODEL_SITES, words)
    campaign_sites = bits_table(s, c.CAMPAIGN_SITES, words)
    open_sites = bits_table(s, c.OPEN_SITES, words)
    near_sites = bits_table(s, c.NEAR, words)
    pairs = small_table(s, c.PAIRS, s[c.SITE_CAPACITY])
    chain = small_table(s, c.CHAIN, 1)
    campaign = rests[0, c.REST_CAMPAIGN]
    near = c.BANDS * rests[0, c.REST_ORIGIN] + rests[0, c.REST_BAND]
    count = 0
    for word in range((s[c.SITE_COUNT] >> 6) + 1):
        bits = model_sites[model, word] & campaign_sites[campaign, word]
        bits &= near_sites[near, word] & open_sites[0, word]
        while bits != _ZERO:
            site = 64 * word + lowest_bit(bits)
            bits &= bits - _ONE
            offer = i64(pairs[model, site])
            while offer != 0:
                found[count, c.FOUND_OFFER] = offer
                found[count, c.FOUND_SITE] = site
                count += 1
                offer = i64(chain[offer, 0])
    tokens_in = rests[0, c.REST_TOKENS_IN]
    tokens_out = rests[0, c.REST_TOKENS_OUT]
    lease_us = rests[0, c.REST_LEASE_US]
    for place in range(count):
        offer = found[place, c.FOUND_OFFER]
        tokens = tokens_in * asks[offer, c.ASK_IN] + tokens_out * asks[offer, c.ASK_OUT]
        lease = asks[offer, c.ASK_SECOND] * lease_us
        least = (tokens >> 10) + (tokens >> 16) + (tokens >> 17)
        least += (lease >> 20) + (lease >> 25) + (lease >> 26)
        # A deal is measured against other things than open offers are: it is always looked at.
        is_deal = asks[offer, c.ASK_DEAL] != 0
        found[place, c.FOUND_BOUND] = _NO_BOUND if is_deal else ceiling - least
    return count


@inner
def auction(s: Array) -> tuple[bool, int]:
    """Auction one unit of the bid in row 0: (filled, furthest rule that an admitted offer failed).

    Only offers inside the round-trip bound of admitted sites are looked at; `reason_of` looks at the
    others when nothing was found.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    found = table(s, c.FOUND, c.FOUND_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    rtt = small_table(s, c.RTT, s[c.SITE_CAPACITY])
    campaign = rests[0, c.REST_CAMPAIGN]
    origin = rests[0, c.REST_ORIGIN]
    peering = campaigns[campaign, c.CAMPAIGN_PEERING] != 0
    s[c.AUCTIONS] += 1

    furthest = NO_MODEL
    winner, rival, deal = 0, 0, 0
    winner_score, winner_latency, winner_cost, winner_group = 0, 0, 0, 0
    rival_score, rival_latency = 0, 0
    deal_score, deal_latency, deal_cost = 0, 0, 0
    winner_cold, deal_cold = False, False
    to_beat = -_NO_BOUND
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        markdown = campaigns[campaign, c.CAMPAIGN_MARKDOWNS + place]
        if table(s, c.MODELS, c.MODEL_ROW)[model, c.MODEL_HALTS] != 0:
            continue
        count = find_offers(s, model, rests[0, c.REST_PRICE] - markdown)
        for entry in range(count):
            # An offer whose cost alone puts it behind the rival can change nothing any more.
            bound = found[entry, c.FOUND_BOUND]
            if bound < to_beat:
                continue
            here = found[entry, c.FOUND_OFFER]
            site = found[entry, c.FOUND_SITE]
            group = sites[site, c.SITE_GROUP]
            if winner != 0:
                # Nor can one behind the winner in its own group, or one that fails a rule: the unit
                # fills, so nobody will ask for the reason.
                if group == winner_group and bound < winner_score:
                    continue
                if attribute_rule(campaigns, campaign, asks[here, c.ASK_ATTRIBUTES]) != 0:
                    continue
            path_us = (i64(rtt[origin, site]) >> 1) + sites[site, c.SITE_MARGIN]
            peers = not peering or site_peers(s, site, rests[0, c.REST_ASN])
            rule, score, latency, cost, cold = judge(s, 0, here, markdown, 0, peers, path_us)
            if rule != 0:
                furthest = max(furthest, rule)
                continue
            priority = offers[here, c.OFFER_PRIORITY]
            if asks[here, c.ASK_DEAL] != 0:
                if deal == 0 or better(
                    score, latency, priority,
                    deal_score, deal_latency, offers[deal, c.OFFER_PRIORITY],
                ):  # fmt: skip
                    deal, deal_score, deal_latency = here, score, latency
                    deal_cost, deal_cold = cost, cold
            elif winner == 0 or better(
                score, latency, priority,
                winner_score, winner_latency, offers[winner, c.OFFER_PRIORITY],
            ):  # fmt: skip
                if winner != 0 and winner_group != group:
                    rival, rival_score, rival_latency = winner, winner_score, winner_latency
                winner, winner_score, winner_latency = here, score, latency
                winner_cost, winner_cold, winner_group = cost, cold, group
            elif group != winner_group and (
                rival == 0
                or better(
                    score, latency, priority,
                    rival_score, rival_latency, offers[rival, c.OFFER_PRIORITY],
                )
            ):  # fmt: skip
                rival, rival_score, rival_latency = here, score, latency
            if rival != 0:
                to_beat = rival_score

    price = 0
    contested = False
    if winner != 0:
        value = winner_score + winner_cost
        card = card_of(s, 0, offers[winner, c.OFFER_MODEL])
        price = max(winner_cost, min(value, card))
        if rival != 0 and value - rival_score < price:
            price = value - rival_score
            contested = True
        if deal == 0 or deal_score < value - price:
            make_fill(
                s, 0, winner, price, winner_cost, winner_score, winner_latency,
                winner_cold, contested, rival != 0, rival_score, False,
            )  # fmt: skip
            return True, 0
    if deal != 0:
        make_fill(
            s, 0, deal, deal_cost, deal_cost, deal_score, deal_latency,
            deal_cold, False, False, 0, False,
        )  # fmt: skip
        return True, 0
    return False, furthest


@inner
def reason_of(s: Array, furthest: int) -> int:
    """Return the furthest rule that any live offer of the bid in row 0 came to before it failed.

    `furthest` is what the auction saw inside the round-trip bound of admitted sites. Offers outside
    the bound fail `latency` at the latest, offers of sites not admitted `trust`: so nothing is looked
    at that could not come further than what is known.
    """
    if furthest == PRICE:
        return PRICE
    if furthest < LATENCY:
        furthest = _furthest_of(s, furthest, LATENCY, True)
    if furthest < TRUST:
        furthest = _furthest_of(s, furthest, TRUST, False)
    return furthest


@inner
def _furthest_of(s: Array, furthest: int, enough: int, admitted: bool) -> int:
    """Look at live offers of the sites that the campaign's rules admit, or of the others."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    chain = small_table(s, c.CHAIN, 1)
    sites = table(s, c.SITES, c.SITE_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    words = s[c.SITE_WORDS]
    model_sites = bits_table(s, c.MODEL_SITES, words)
    campaign_sites = bits_table(s, c.CAMPAIGN_SITES, words)
    open_sites = bits_table(s, c.OPEN_SITES, words)
    pairs = small_table(s, c.PAIRS, s[c.SITE_CAPACITY])
    rtt = small_table(s, c.RTT, s[c.SITE_CAPACITY])
    campaign = rests[0, c.REST_CAMPAIGN]
    origin = rests[0, c.REST_ORIGIN]
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        markdown = campaigns[campaign, c.CAMPAIGN_MARKDOWNS + place]
        if models[model, c.MODEL_HALTS] != 0:
            continue
        for word in range((s[c.SITE_COUNT] >> 6) + 1):
            bits = model_sites[model, word] & open_sites[0, word]
            if admitted:
                bits &= campaign_sites[campaign, word]
            else:
                bits &= ~campaign_sites[campaign, word]
            while bits != _ZERO:
                site = 64 * word + lowest_bit(bits)
                bits &= bits - _ONE
                path_us = i64(rtt[origin, site])
                if path_us >= 0:
                    path_us = (path_us >> 1) + sites[site, c.SITE_MARGIN]
                if admitted and 0 <= path_us <= rests[0, c.REST_BUDGET]:
                    continue  # the auction has looked at it
                failed = 0 if admitted else site_rule(s, campaign, site)
                peers = campaigns[campaign, c.CAMPAIGN_PEERING] == 0 or site_peers(
                    s, site, rests[0, c.REST_ASN]
                )
                offer = i64(pairs[model, site])
                while offer != 0:
                    rule, _, _, _, _ = judge(s, 0, offer, markdown, failed, peers, path_us)
                    if rule > furthest:
                        furthest = rule
                        if furthest >= enough:
                            return furthest
                    offer = i64(chain[offer, 0])
    return furthest


@inner
def clear_bid(s: Array, rest_us: int) -> None:
    """Auction the units of the bid in row 0; what is left rests or ends unfilled."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    buyer = rests[0, c.REST_BUYER]
    if buyers[buyer, c.BUYER_AVAILABLE] < rests[0, c.REST_PRICE] * rests[0, c.REST_UNITS]:
        e.emit_unfilled(s, 0, _INSUFFICIENT_FUNDS)
        return
    furthest = NO_MODEL
    while rests[0, c.REST_UNITS] > 0:
        filled, furthest = auction(s)
        if not filled:
            break
    if rests[0, c.REST_UNITS] == 0:
        return
    if rest_us == 0:
        e.emit_unfilled(s, 0, _NO_FILL_BASE + reason_of(s, furthest))
        return
    rest = rest_bid(s, s[c.AT] + _NS_PER_US * rest_us, s[c.SEQ])
    row = e.emit(s, e.RESTING)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_BUYER] = buyer
    events[row, e.E_AGENT] = rests[rest, c.REST_AGENT]
    events[row, e.E_BID] = rests[rest, c.REST_BID]
    events[row, e.E_CAMPAIGN] = rests[rest, c.REST_CAMPAIGN]
    events[row, e.E_QUANTITY] = rests[rest, c.REST_UNITS]
