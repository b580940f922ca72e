"""The auction of a bid under a changed campaign, for Explain (MARKET.md §7). Reads; changes nothing.

    scan        one pass over the offers that stand: which rules of §5 does each fail, all of them, not
       │        only the first? Kept is what fails one rule at most, and one that a change can help
       ▼
    candidates  offer, the rule it fails or 0, score, latency, cost …: one row each
       ├──▶ run        clears the units of the bid among the rows that fail nothing, or only the rule
       │               that is loosened as far as it is loosened: the price without it
       └──▶ nearest    the row of each rule that the smallest change admits: the counter-offer
                       (both: explain_run.py)

**Exact**, for an offer is eligible without rule k if and only if it fails at most {k}; so one pass
answers for all constraints, and what fails two rules is never looked at again. A bid of one unit that
fills needs less of the book: explain_filled.py puts the few rows there that matter to it. It shares the table of
bids with the auctions: row 0 is the bid, as always (matching_core/explain.py puts it there). Rules are
independent here, so they stand in the order that rules most out first; site rules are asked once per
site. Nothing of the index is used: offers' rows, sites, campaigns, round trips.
"""

from matching_core import columns as c
from matching_core.jit import Array, bits_table, byte_table, i64, inner, kernel, small_table, table
from matching_core.kernels.campaigns import all_allowed
from matching_core.kernels.commands import agent_key, bid_refusal
from matching_core.kernels.names import map_find
from matching_core.kernels.rules import (
    CAPABILITY,
    CERTIFICATION,
    COLD,
    CONTRACT,
    DATA_RESIDENCY,
    HARDWARE,
    LATENCY,
    OPERATOR,
    PEERING,
    PRECISION,
    PRICE,
    RESIDENCY,
    SOVEREIGNTY,
    SPEED,
    TIER,
    TRUST,
    adapter_resident,
    cost_of,
    deal_admits,
    has_bit,
    markdown_of,
    site_peers,
)
from matching_core.kernels.wide import ceil_div

# A row of candidates. NEED is what the offer has where its rule is about that: a number, a level, the
# place in a closed list, an operator, a country; what it lacks of what is required; else 0.
(CAN_OFFER, CAN_RULE, CAN_SCORE, CAN_LATENCY, CAN_COST, CAN_GROUP, CAN_PRIORITY, CAN_DEAL,
 CAN_AVAILABLE, CAN_LEFT, CAN_NEED, CAN_SITE) = range(12)  # fmt: skip
CANDIDATE_WORDS = 12
# What is noted of a site: which rules it fails, what it has of that, round trip plus margin, its group;
# and for which bid, where sites are looked at only as they come (explain_filled.py).
SEEN_FAILS, SEEN_NEED, SEEN_PATH, SEEN_GROUP, SEEN_STAMP = range(5)
SEEN_WORDS = 5
_NEVER = 1  # bit 0, which is no rule: what no change of a constraint helps


@inner
def site_fails(s: Array, campaign: int, site: int) -> tuple[int, int]:
    """Return which of rules 4 to 11 a site fails, as bits, and what it has of the last of them."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    operators = table(s, c.OPERATORS, c.OPERATOR_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    operator = sites[site, c.SITE_OPERATOR]
    fails = 0
    need = 0
    if sites[site, c.SITE_GROUP] == buyers[campaigns[campaign, c.CAMPAIGN_BUYER], c.BUYER_GROUP]:
        return _NEVER, 0
    rules_set = campaigns[campaign, c.CAMPAIGN_RULES_SET]
    if rules_set & c.RESIDENCY_SET:
        country = sites[site, c.SITE_COUNTRY]
        word = campaigns[campaign, c.CAMPAIGN_RESIDENCY + (country >> 6)]
        if country == 0 or (word >> (country & 63)) & 1 == 0:
            fails |= 1 << RESIDENCY
            need = country
    if rules_set & c.DATA_SET and (
        sites[site, c.SITE_DATA_COUNT] == 0
        or not all_allowed(sites, site, c.SITE_DATA, campaigns, campaign, c.CAMPAIGN_DATA)
    ):
        fails |= 1 << DATA_RESIDENCY
    if rules_set & c.SOVEREIGNTY_SET and (
        operators[operator, c.OPERATOR_CONTROL_COUNT] == 0
        or not all_allowed(
            operators, operator, c.OPERATOR_CONTROL, campaigns, campaign, c.CAMPAIGN_SOVEREIGNTY
        )
    ):
        fails |= 1 << SOVEREIGNTY
    lacks = campaigns[campaign, c.CAMPAIGN_CERTIFICATIONS] & ~sites[site, c.SITE_CERTIFICATIONS]
    if lacks != 0:
        fails |= 1 << CERTIFICATION
        need = lacks
    tiers = campaigns[campaign, c.CAMPAIGN_TIERS]
    if tiers != 0 and (tiers >> sites[site, c.SITE_TIER]) & 1 == 0:
        fails |= 1 << TIER
        need = sites[site, c.SITE_TIER]
    listed = has_bit(bits_table(s, c.CAMPAIGN_OPERATORS, s[c.OPERATOR_WORDS]), campaign, operator)
    if listed != (campaigns[campaign, c.CAMPAIGN_ALLOWS] != 0):
        fails |= 1 << OPERATOR
        need = operator
    if sites[site, c.SITE_TRUST] < campaigns[campaign, c.CAMPAIGN_TRUST]:
        fails |= 1 << TRUST
        need = sites[site, c.SITE_TRUST]
    return fails, need


@inner
def look_at_sites(s: Array, seen: Array) -> None:
    """Note of every site what it fails, what it has of that, and its path."""
    for site in range(1, s[c.SITE_COUNT] + 1):
        look_at_site(s, seen, site)


@inner
def look_at_site(s: Array, seen: Array, site: int) -> None:
    """Note of a site what it fails, what it has of that, and its path.

    A byte and a number decide about most: whether all rules admit the site, and whether its
    round trip alone is over the budget. Only a near site that is not admitted is asked which rules.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    campaign, origin = rests[0, c.REST_CAMPAIGN], rests[0, c.REST_ORIGIN]
    fails = 0
    path_us = i64(small_table(s, c.RTT, s[c.SITE_CAPACITY])[origin, site])
    if path_us < 0 or not has_bit(bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS]), 0, site):
        seen[site, SEEN_FAILS] = _NEVER
        return
    path_us >>= 1
    if path_us > rests[0, c.REST_BUDGET]:
        fails = 1 << LATENCY
    need = 0
    if byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])[campaign, site] != 0:
        if fails != 0:
            seen[site, SEEN_FAILS] = _NEVER
            return
        fails, need = site_fails(s, campaign, site)
    peering = campaigns[campaign, c.CAMPAIGN_PEERING] != 0
    if peering and not hopeless(fails) and not site_peers(s, site, rests[0, c.REST_ASN]):
        fails |= 1 << PEERING
    seen[site, SEEN_FAILS] = fails
    seen[site, SEEN_NEED] = need
    if not hopeless(fails):
        seen[site, SEEN_PATH] = path_us + sites[site, c.SITE_MARGIN]
        seen[site, SEEN_GROUP] = sites[site, c.SITE_GROUP]


@inner
def hopeless(fails: int) -> bool:
    """Tell whether no change of one constraint helps: it fails what none can, or two rules."""
    return fails & _NEVER != 0 or fails & (fails - 1) != 0


@inner
def offers_to_look_at(s: Array, seen: Array, found: Array) -> int:
    """Put the offers of the campaign's models at sites that are not hopeless into `found`; how many."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaign = rests[0, c.REST_CAMPAIGN]
    first, second, third, fourth = -1, -1, -1, -1
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        if models[model, c.MODEL_HALTS] == 0:
            first, second, third, fourth = model, first, second, third
    count = 0
    for offer in range(1, s[c.OFFER_ROWS]):
        model = i64(terms[offer, c.ASK_MODEL])
        if model in (first, second, third, fourth):
            fails = seen[terms[offer, c.ASK_SITE], SEEN_FAILS]
            found[count] = offer
            count += 0 if hopeless(fails) else 1
    return count


@inner
def look_at_offer(s: Array, offer: int, seen: Array, row: Array) -> bool:
    """Judge an offer by the rules that are its own, given those of its site; fills `row` if it is kept.

    What stands in the line of its ask is asked first: that is enough for most to be hopeless.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaign = rests[0, c.REST_CAMPAIGN]
    tokens_in = rests[0, c.REST_TOKENS_IN]
    site = i64(terms[offer, c.ASK_SITE])
    fails, need = seen[site, SEEN_FAILS], seen[site, SEEN_NEED]
    if terms[offer, c.ASK_AVAILABLE] < 1:
        return False
    attributes = i64(terms[offer, c.ASK_ATTRIBUTES])
    allowed = campaigns[campaign, c.CAMPAIGN_HARDWARE]
    if allowed != 0 and (allowed >> (attributes & 255)) & 1 == 0:
        fails |= 1 << HARDWARE
        need = attributes & 255
    allowed = campaigns[campaign, c.CAMPAIGN_PRECISIONS]
    if allowed != 0 and (allowed >> ((attributes >> 8) & 255)) & 1 == 0:
        fails |= 1 << PRECISION
        need = (attributes >> 8) & 255
    allowed = campaigns[campaign, c.CAMPAIGN_CONTRACTS]
    if allowed != 0 and (allowed >> ((attributes >> 16) & 255)) & 1 == 0:
        fails |= 1 << CONTRACT
        need = (attributes >> 16) & 255
    lacks = campaigns[campaign, c.CAMPAIGN_CAPABILITIES] & ~(attributes >> c.CAPABILITIES_SHIFT)
    if lacks != 0:
        fails |= 1 << CAPABILITY
        need = lacks
    latency_us = seen[site, SEEN_PATH] + i64(terms[offer, c.ASK_TTFT])
    latency_us += tokens_in * i64(terms[offer, c.ASK_PREFILL]) // 1000
    if latency_us > rests[0, c.REST_BUDGET]:
        fails |= 1 << LATENCY
    if hopeless(fails):
        return False
    deal = i64(terms[offer, c.ASK_DEAL])
    if deal != 0 and not deal_admits(s, deal, rests[0, c.REST_BUYER]):
        return False
    cost = cost_of(rests, 0, asks, offer)
    if cost > rests[0, c.REST_PRICE]:
        fails |= 1 << PRICE
        if hopeless(fails):
            return False
    starts = small_table(s, c.OFFERS, c.OFFER_NARROW)
    start_us = i64(starts[offer, c.OFFER_COLD])
    adapter = rests[0, c.REST_ADAPTER]
    if adapter != 0:
        if table(s, c.ADAPTERS, c.ADAPTER_ROW)[adapter, 0] != terms[offer, c.ASK_MODEL]:
            return False
        if not adapter_resident(s, i64(starts[offer, c.OFFER_ADAPTERS]), adapter):
            if starts[offer, c.OFFER_LOAD] == 0:
                return False
            start_us += i64(starts[offer, c.OFFER_LOAD])
    if start_us > 0 and campaigns[campaign, c.CAMPAIGN_COLD] == 0:
        fails |= 1 << COLD
    if terms[offer, c.ASK_SPEED] < campaigns[campaign, c.CAMPAIGN_SPEED]:
        fails |= 1 << SPEED
        need = i64(terms[offer, c.ASK_SPEED])
    latency_us += start_us
    if latency_us > rests[0, c.REST_BUDGET]:
        fails |= 1 << LATENCY
    if tokens_in + rests[0, c.REST_TOKENS_OUT] > terms[offer, c.ASK_CONTEXT]:
        return False
    value = rests[0, c.REST_PRICE] - markdown_of(s, campaign, i64(terms[offer, c.ASK_MODEL]))
    value -= ceil_div(campaigns[campaign, c.CAMPAIGN_TIME_VALUE] * latency_us, 1000)
    if value < cost:
        fails |= 1 << PRICE
    if hopeless(fails) or starts[offer, c.OFFER_SPOT] == 0:
        return False
    row[CAN_OFFER] = offer
    row[CAN_SCORE] = value - cost
    row[CAN_LATENCY] = latency_us
    row[CAN_COST] = cost
    row[CAN_GROUP] = seen[site, SEEN_GROUP]
    row[CAN_PRIORITY] = offers[offer, c.OFFER_PRIORITY]
    row[CAN_DEAL] = deal
    row[CAN_AVAILABLE] = terms[offer, c.ASK_AVAILABLE]
    row[CAN_NEED] = need
    row[CAN_SITE] = site
    rule = 0
    while fails > 1:
        fails >>= 1
        rule += 1
    row[CAN_RULE] = rule
    return True


@kernel
def scan(s: Array, seen: Array, found: Array, candidates: Array) -> int:
    """Find what could serve the bid in row 0 if at most one constraint were left out.

    Args:
        s: the state.
        seen: int64[sites + 1, SEEN_WORDS]; overwritten.
        found: int64[as many as offers]; overwritten.
        candidates: int64[as many rows as offers, CANDIDATE_WORDS]; overwritten.

    Returns:
        How many rows there are.
    """
    look_at_sites(s, seen)
    count = 0
    for place in range(offers_to_look_at(s, seen, found)):
        if look_at_offer(s, found[place], seen, candidates[count]):
            count += 1
    return count


@kernel
def refusal_of(s: Array, bid: int, rest_us: int) -> int:
    """Return why the market would reject the bid in row 0, 0 if it would not."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    buyer = rests[0, c.REST_BUYER]
    last_bid = map_find(s, c.AGENTS, agent_key(buyer, rests[0, c.REST_AGENT]))
    return i64(bid_refusal(s, buyer, bid, last_bid, rest_us))
