"""What the candidates of explain.py come to: prices with one rule loosened, and the nearest change.

`run` is the auction of MARKET.md §6a once more, over the few rows that are left of the book, because
the market's own finds its offers by an index that knows the campaign as it is.
"""

from matching_core import columns as c
from matching_core.jit import Array, i64, inner, kernel, small_table, table
from matching_core.kernels.explain import (
    CAN_AVAILABLE,
    CAN_COST,
    CAN_DEAL,
    CAN_GROUP,
    CAN_LATENCY,
    CAN_LEFT,
    CAN_NEED,
    CAN_OFFER,
    CAN_PRIORITY,
    CAN_RULE,
    CAN_SCORE,
    CAN_SITE,
)
from matching_core.kernels.rules import (
    CAPABILITY,
    CERTIFICATION,
    COLD,
    DATA_RESIDENCY,
    LATENCY,
    PEERING,
    PRICE,
    RESIDENCY,
    SOVEREIGNTY,
    SPEED,
    TRUST,
    card_of,
)

# Of each rule: its best row (−1: none), and how many entries must change for it.
NEAR_ROW, NEAR_SIZE = range(2)
RULES = 21
ANY = -1  # a rule left out: all that fail it are admitted
LEFT_OUT = 1_000_000  # more entries than any list: only leaving the rule out helps


@inner
def lacking(countries: Array, row: int, word: int, allowed: Array, campaign: int, at: int) -> int:
    """Return how many countries of one set are not in another."""
    count = 0
    for place in range(c.COUNTRY_WORDS):
        word_left = countries[row, word + place] & ~allowed[campaign, at + place]
        while word_left != 0:
            word_left &= word_left - 1
            count += 1
    return count


@inner
def countries_inside(
    table_of: Array, row: int, other: int, word: int, allowed: Array, campaign: int, at: int
) -> bool:
    """Tell whether all that one set has beyond the allowed is in another set, too; empty is unknown."""
    some = False
    for place in range(c.COUNTRY_WORDS):
        has = table_of[row, word + place]
        some = some or has != 0
        if has & ~allowed[campaign, at + place] & ~table_of[other, word + place] != 0:
            return False
    return some


@inner
def admitted(s: Array, candidates: Array, row: int, rule: int, value: int) -> bool:
    """Tell whether a row is eligible when one rule is loosened to `value` (see `run`)."""
    fails = candidates[row, CAN_RULE]
    if fails == 0:
        return True
    if fails != rule:
        return False
    if value == ANY or rule in (PRICE, COLD, PEERING):
        return True
    need = candidates[row, CAN_NEED]
    if rule == LATENCY:
        return bool(candidates[row, CAN_LATENCY] <= value)
    if rule in (TRUST, SPEED):
        return bool(need >= value)
    if rule in (CERTIFICATION, CAPABILITY):
        return bool(need & ~value == 0)
    if rule in (DATA_RESIDENCY, SOVEREIGNTY):
        campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
        campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
        sites = table(s, c.SITES, c.SITE_ROW)
        site = candidates[row, CAN_SITE]
        if rule == DATA_RESIDENCY:
            return countries_inside(
                sites, site, value, c.SITE_DATA, campaigns, campaign, c.CAMPAIGN_DATA
            )
        return countries_inside(
            table(s, c.OPERATORS, c.OPERATOR_ROW), sites[site, c.SITE_OPERATOR],
            sites[value, c.SITE_OPERATOR], c.OPERATOR_CONTROL,
            campaigns, campaign, c.CAMPAIGN_SOVEREIGNTY,
        )  # fmt: skip
    return bool(need == value)


@inner
def row_better(candidates: Array, row: int, than: int) -> bool:
    """Tell whether one row's offer is better than another's (MARKET.md §5)."""
    if candidates[row, CAN_SCORE] != candidates[than, CAN_SCORE]:
        return bool(candidates[row, CAN_SCORE] > candidates[than, CAN_SCORE])
    if candidates[row, CAN_LATENCY] != candidates[than, CAN_LATENCY]:
        return bool(candidates[row, CAN_LATENCY] < candidates[than, CAN_LATENCY])
    return bool(candidates[row, CAN_PRIORITY] < candidates[than, CAN_PRIORITY])


@inner
def clear_unit(s: Array, candidates: Array, chosen: Array, count: int, shift: int) -> int:
    """Auction one unit among rows (MARKET.md §6a) and take the slot; returns the price, −1 for none."""
    winner, rival, deal = -1, -1, -1
    for place in range(count):
        row = chosen[place]
        if candidates[row, CAN_LEFT] == 0:
            continue
        if candidates[row, CAN_DEAL] != 0:
            if deal < 0 or row_better(candidates, row, deal):
                deal = row
        elif winner < 0 or row_better(candidates, row, winner):
            if winner >= 0 and candidates[winner, CAN_GROUP] != candidates[row, CAN_GROUP]:
                rival = winner
            winner = row
        elif candidates[row, CAN_GROUP] != candidates[winner, CAN_GROUP] and (
            rival < 0 or row_better(candidates, row, rival)
        ):
            rival = row
    if winner < 0 and deal < 0:
        return -1
    if winner >= 0:
        terms = small_table(s, c.ASKS, c.ASK_NARROW)
        model = i64(terms[candidates[winner, CAN_OFFER], c.ASK_MODEL])
        cost = candidates[winner, CAN_COST]
        value = candidates[winner, CAN_SCORE] + cost + shift
        price = max(cost, min(value, card_of(s, 0, model)))
        if rival >= 0:
            price = min(price, value - candidates[rival, CAN_SCORE] - shift)
        if deal < 0 or candidates[deal, CAN_SCORE] + shift < value - price:
            candidates[winner, CAN_LEFT] -= 1
            return i64(price)
    candidates[deal, CAN_LEFT] -= 1
    return i64(candidates[deal, CAN_COST])


@kernel
def run(
    s: Array,
    candidates: Array,
    count: int,
    rule: int,
    value: int,
    shift: int,
    chosen: Array,
    prices: Array,
) -> int:
    """Clear the units of the bid in row 0 with one rule loosened; returns how many fill.

    Args:
        s: the state; the band in row 0 says which card counts.
        candidates: what `scan` found; CAN_LEFT is overwritten.
        count: how many rows of them.
        rule: the one that is loosened, 0 for none.
        value: how far: ANY, or what CAN_NEED must be, be at least, or lack no more than; of LATENCY the
            budget; of DATA_RESIDENCY and SOVEREIGNTY the site whose countries are allowed, too.
        shift: what the ceiling is more than the bid's.
        chosen: int64[count]; overwritten.
        prices: int64[units]; the prices, in order.
    """
    found = 0
    for row in range(count):
        if candidates[row, CAN_SCORE] + shift >= 0 and admitted(s, candidates, row, rule, value):
            candidates[row, CAN_LEFT] = candidates[row, CAN_AVAILABLE]
            chosen[found] = row
            found += 1
    for unit in range(len(prices)):
        price = clear_unit(s, candidates, chosen, found, shift)
        if price < 0:
            return unit
        prices[unit] = price
    return len(prices)


@inner
def size_of(s: Array, candidates: Array, row: int) -> int:
    """Return how much of a row's rule must change for it: units of a number, or entries of a list."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    operators = table(s, c.OPERATORS, c.OPERATOR_ROW)
    campaign = rests[0, c.REST_CAMPAIGN]
    rule, need, site = (
        candidates[row, CAN_RULE], candidates[row, CAN_NEED], candidates[row, CAN_SITE],
    )  # fmt: skip
    size = 1
    if rule == PRICE:
        size = -candidates[row, CAN_SCORE]
    elif rule == LATENCY:
        size = candidates[row, CAN_LATENCY] - rests[0, c.REST_BUDGET]
    elif rule == SPEED:
        size = campaigns[campaign, c.CAMPAIGN_SPEED] - need
    elif rule == TRUST:
        size = campaigns[campaign, c.CAMPAIGN_TRUST] - need
    elif rule in (CERTIFICATION, CAPABILITY):
        size = 0
        while need != 0:
            need &= need - 1
            size += 1
    elif rule == RESIDENCY:
        size = 1 if need != 0 else LEFT_OUT
    elif rule == DATA_RESIDENCY:
        size = lacking(sites, site, c.SITE_DATA, campaigns, campaign, c.CAMPAIGN_DATA)
        if size == 0:  # it has none: unknown
            size = LEFT_OUT
    elif rule == SOVEREIGNTY:
        size = lacking(
            operators, sites[site, c.SITE_OPERATOR], c.OPERATOR_CONTROL,
            campaigns, campaign, c.CAMPAIGN_SOVEREIGNTY,
        )  # fmt: skip
        if size == 0:
            size = LEFT_OUT
    return i64(size)


@kernel
def nearest(s: Array, candidates: Array, count: int, near: Array) -> int:
    """Find of each rule the row that the smallest change of it admits; of one size the better offer.

    `near` int64[RULES, 2] is overwritten. Returns how many rows fail a rule.
    """
    near[:, NEAR_ROW] = -1
    found = 0
    for row in range(count):
        rule = candidates[row, CAN_RULE]
        if rule == 0:
            continue
        found += 1
        size = size_of(s, candidates, row)
        old = near[rule, NEAR_ROW]
        if (
            old < 0
            or size < near[rule, NEAR_SIZE]
            or (size == near[rule, NEAR_SIZE] and row_better(candidates, row, old))
        ):
            near[rule, NEAR_ROW] = row
            near[rule, NEAR_SIZE] = size
    return found
