"""Eligibility, cost, latency, value and score of a bid and an offer (MARKET.md §5).

A bid is a row of the table of bids at rest; row 0 is the one that is being auctioned. The rules
stand in the order of the table, because the first that fails is the reason (§7). Those of the site
(4 to 11) are compiled beforehand: kernels/campaigns.py.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, prefetch, small_table, table
from matching_core.kernels.wide import ceil_div

# Numbers of the rules that kernels name.
(NO_MODEL, NO_CAPACITY, COLD, OWN, RESIDENCY, DATA_RESIDENCY, SOVEREIGNTY, CERTIFICATION, TIER,
 OPERATOR, TRUST, CAPABILITY, HARDWARE, PRECISION, CONTRACT, SPEED, PEERING, CONTEXT, LATENCY,
 PRICE) = range(1, 21)  # fmt: skip
ELIGIBLE = 0


@inner
def has_bit(bits: Array, row: int, number: int) -> bool:
    """Tell whether a bit is set in a row of a bitmap."""
    return bool((bits[row, number >> 6] >> np.uint64(number & 63)) & np.uint64(1))


@inner
def deal_admits(s: Array, deal: int, buyer: int) -> bool:
    """Tell whether a deal names the buyer."""
    return has_bit(bits_table(s, c.DEAL_BUYERS, s[c.BUYER_WORDS]), deal, buyer)


@inner
def adapter_resident(s: Array, adapter_set: int, adapter: int) -> bool:
    """Tell whether an adapter is in a set (of at most 64)."""
    sets = table(s, c.SETS, c.SET_ROW)
    items = table(s, c.SET_ITEMS, 1)
    first = sets[adapter_set, c.SET_FIRST]
    for place in range(first, first + sets[adapter_set, c.SET_SIZE]):
        if items[place, 0] == adapter:
            return True
    return False


@inner
def site_peers(s: Array, site: int, asn: int) -> bool:
    """Tell whether a site peers with a network; 0, an unknown network, peers with nobody."""
    if asn == 0:
        return False
    sites = table(s, c.SITES, c.SITE_ROW)
    asns = table(s, c.ASNS, 1)
    first = sites[site, c.SITE_ASN_FIRST]
    for place in range(first, first + sites[site, c.SITE_ASN_COUNT]):
        if asns[place, 0] == asn:
            return True
    return False


@inner
def markdown_of(s: Array, campaign: int, model: int) -> int:
    """Return what a model is worth less to a campaign, -1 when it is none of its models."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        if campaigns[campaign, c.CAMPAIGN_MODELS + place] == model:
            return i64(campaigns[campaign, c.CAMPAIGN_MARKDOWNS + place])
    return -1


@inner
def price_of(rests: Array, bid: int, price_in: int, price_out: int, price_second: int) -> int:
    """Return what a bid's tokens and lease cost at prices: `cost` at asks, `card` at the card."""
    tokens = rests[bid, c.REST_TOKENS_IN] * price_in + rests[bid, c.REST_TOKENS_OUT] * price_out
    return ceil_div(tokens, 1000) + ceil_div(price_second * rests[bid, c.REST_LEASE_US], 1_000_000)


@inner
def cost_of(rests: Array, bid: int, asks: Array, offer: int) -> int:
    """Return `cost(b, o)`: what the bid's tokens and lease cost at the offer's asks."""
    return price_of(
        rests, bid,
        asks[offer, c.ASK_IN], asks[offer, c.ASK_OUT], asks[offer, c.ASK_SECOND],
    )  # fmt: skip


@inner
def card_of(s: Array, bid: int, model: int) -> int:
    """Return `card(b, o)`: the reference price of the model in the band of the bid's budget."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    word = c.MODEL_CARDS + 3 * rests[bid, c.REST_BAND]
    return price_of(
        rests, bid, models[model, word], models[model, word + 1], models[model, word + 2]
    )


@inner
def attribute_rule(campaigns: Array, campaign: int, attributes: int) -> int:
    """Return the first of rules 12 to 15 that an offer's packed attributes fail, or 0."""
    wanted = campaigns[campaign, c.CAMPAIGN_CAPABILITIES]
    if (attributes >> c.CAPABILITIES_SHIFT) & wanted != wanted:
        return CAPABILITY
    allowed = campaigns[campaign, c.CAMPAIGN_HARDWARE]
    if allowed != 0 and (allowed >> (attributes & 255)) & 1 == 0:
        return HARDWARE
    allowed = campaigns[campaign, c.CAMPAIGN_PRECISIONS]
    if allowed != 0 and (allowed >> ((attributes >> 8) & 255)) & 1 == 0:
        return PRECISION
    allowed = campaigns[campaign, c.CAMPAIGN_CONTRACTS]
    if allowed != 0 and (allowed >> ((attributes >> 16) & 255)) & 1 == 0:
        return CONTRACT
    return ELIGIBLE


@inner
def ask_for_offer(s: Array, offer: int, site: int) -> None:
    """Let the lines come that judging an offer for the bid in row 0 takes."""
    origin = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_ORIGIN]
    prefetch(s, c.ASKS, 8 * c.ASK_ROW * offer)
    prefetch(s, c.RTT, 4 * (s[c.SITE_CAPACITY] * origin + site))
    prefetch(s, c.SITES, 8 * c.SITE_ROW * site)


@inner
def judge(
    s: Array, bid: int, offer: int, markdown: int,
    site_rule: int, known: bool, peers: bool, path_us: int,
) -> tuple[int, int, int, int, bool]:  # fmt: skip
    """Judge a live offer of one of the bid's models: (first rule failed or 0, score, latency, cost, cold).

    `site_rule`: the first of rules 4 to 11 that the site fails, or 0. `known`: those and 12 to 15 are
    known to hold. `path_us`: round trip plus
    margin, negative when unreachable. Score, latency and cost mean nothing unless the rule is 0.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    starts = small_table(s, c.OFFERS, c.OFFER_NARROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaign = rests[bid, c.REST_CAMPAIGN]
    asks = table(s, c.ASKS, c.ASK_ROW)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    deal = i64(terms[offer, c.ASK_DEAL])
    if deal != 0 and not deal_admits(s, deal, rests[bid, c.REST_BUYER]):
        return NO_MODEL, 0, 0, 0, False
    if terms[offer, c.ASK_AVAILABLE] < 1:
        return NO_CAPACITY, 0, 0, 0, False
    start_us = 0
    if terms[offer, c.ASK_STARTS] != 0:
        start_us = i64(starts[offer, c.OFFER_COLD])
    adapter = rests[bid, c.REST_ADAPTER]
    if adapter != 0:
        if table(s, c.ADAPTERS, c.ADAPTER_ROW)[adapter, 0] != terms[offer, c.ASK_MODEL]:
            return COLD, 0, 0, 0, False
        if not adapter_resident(s, i64(starts[offer, c.OFFER_ADAPTERS]), adapter):
            if starts[offer, c.OFFER_LOAD] == 0:
                return COLD, 0, 0, 0, False
            start_us += i64(starts[offer, c.OFFER_LOAD])
    if start_us > 0 and campaigns[campaign, c.CAMPAIGN_COLD] == 0:
        return COLD, 0, 0, 0, False
    if site_rule != 0:
        return site_rule, 0, 0, 0, False
    if not known:
        failed = attribute_rule(campaigns, campaign, i64(terms[offer, c.ASK_ATTRIBUTES]))
        if failed != 0:
            return failed, 0, 0, 0, False
    if terms[offer, c.ASK_SPEED] < campaigns[campaign, c.CAMPAIGN_SPEED]:
        return SPEED, 0, 0, 0, False
    if not peers:
        return PEERING, 0, 0, 0, False
    tokens_in = rests[bid, c.REST_TOKENS_IN]
    if tokens_in + rests[bid, c.REST_TOKENS_OUT] > terms[offer, c.ASK_CONTEXT]:
        return CONTEXT, 0, 0, 0, False
    if path_us < 0:
        return LATENCY, 0, 0, 0, False
    prefill_us = tokens_in * i64(terms[offer, c.ASK_PREFILL]) // 1000
    latency_us = path_us + i64(terms[offer, c.ASK_TTFT]) + prefill_us + start_us
    if latency_us > rests[bid, c.REST_BUDGET]:
        return LATENCY, 0, 0, 0, False
    cost = cost_of(rests, bid, asks, offer)
    slowness = ceil_div(campaigns[campaign, c.CAMPAIGN_TIME_VALUE] * latency_us, 1000)
    score = rests[bid, c.REST_PRICE] - markdown - slowness - cost
    if score < 0:
        return PRICE, 0, 0, 0, False
    return ELIGIBLE, score, latency_us, cost, start_us > 0
