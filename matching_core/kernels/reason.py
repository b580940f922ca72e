"""Why no live offer would do: the furthest rule that any of them came to before it failed (§7).

First the offers that the campaign's views admit are asked: what one of them fails is a rule after
those that views know, and nothing else can come further. Only when there is none are all others
asked, by the words that say what they fail by: what is asked of a word grows with what is known, so
that each offer that is judged comes further, or fails a rule that no word shows.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import (
    Array,
    bits_table,
    byte_table,
    i64,
    inner,
    lowest_bit,
    small_table,
    table,
)
from matching_core.kernels.rules import (
    CONTRACT,
    LATENCY,
    NO_MODEL,
    PRICE,
    judge,
    site_peers,
)
from matching_core.kernels.search import ask_for, is_near, near_of
from matching_core.kernels.views import admitted, ensure_view, view_range
from matching_core.kernels.words import forbidden, passing

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@inner
def reason_of(s: Array) -> int:
    """Return the furthest rule that any live offer of the bid in row 0 came to before it failed."""
    furthest = NO_MODEL
    for by_views in range(2):
        for kind in range(1 if s[c.DEALS_STANDING] == 0 else c.LANES_PER_MODEL):
            furthest = furthest_of(s, furthest, kind, by_views == 0)
        if furthest > CONTRACT:
            break
    return furthest


@inner
def furthest_of(s: Array, furthest: int, kind: int, by_views: bool) -> int:
    """Look at live offers in one lane of each model: at those in the campaign's views, or at all."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    campaign = rests[0, c.REST_CAMPAIGN]
    stop_at = PRICE if by_views else CONTRACT
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        lane = c.LANES_PER_MODEL * model + kind
        if lanes[lane, c.LANE_COUNT] == 0 or models[model, c.MODEL_HALTS] != 0:
            continue
        markdown = campaigns[campaign, c.CAMPAIGN_MARKDOWNS + place]
        first_view = view_range(s, campaign, place, lane)
        first = lanes[lane, c.LANE_FIRST]
        end = first + lanes[lane, c.LANE_COUNT]
        for entry in range(first, end):
            if entry + 1 < end:
                ask_for(s, entry + 1, first_view)
            shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
            row = first_view + (directory[entry, c.ENTRY_SHELF] >> 32)
            if by_views:
                ensure_view(s, campaign, row, shelf)
            furthest = furthest_on(s, furthest, shelf, row if by_views else 0, markdown)
            if furthest >= stop_at:
                return furthest
    return furthest


@inner
def furthest_on(s: Array, furthest: int, shelf: int, view: int, markdown: int) -> int:
    """Look at live offers on one shelf: at those in a view, or at all if there is none."""
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    for board in range(c.BOARDS):
        if view != 0:
            left = admitted(s, view, shelf, board)
        else:
            left = passing(words, shelf, board, forbidden(s, 0, furthest))
        while left != _ZERO:
            place = c.BOARD * board + lowest_bit(left)
            left &= left - _ONE
            rule = rule_failed(s, furthest, shelf, place, markdown)
            if rule > furthest:
                furthest = rule
                if view == 0:
                    left &= passing(words, shelf, board, forbidden(s, 0, furthest))
    return furthest


@inner
def rule_failed(s: Array, furthest: int, shelf: int, place: int, markdown: int) -> int:
    """Return the first rule that an offer fails if it comes further than `furthest`, else less."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    offer = i64(small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)[shelf, place])
    site = i64(small_table(s, c.SHELF_SITES, c.SHELF_PLACES)[shelf, place])
    campaign = rests[0, c.REST_CAMPAIGN]
    if furthest >= LATENCY and not is_near(s, near_of(s, 0), site):
        return 0
    if not is_open(s, site):
        return 0
    by_site = i64(byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])[campaign, site])
    if by_site != 0 and by_site <= furthest:
        return 0
    path_us = i64(small_table(s, c.RTT, s[c.SITE_CAPACITY])[rests[0, c.REST_ORIGIN], site])
    if path_us >= 0:
        path_us = (path_us >> 1) + sites[site, c.SITE_MARGIN]
    peers = campaigns[campaign, c.CAMPAIGN_PEERING] == 0 or site_peers(
        s, site, rests[0, c.REST_ASN]
    )
    rule, _, _, _, _ = judge(s, 0, offer, markdown, by_site, False, peers, path_us)
    return rule


@inner
def is_open(s: Array, site: int) -> bool:
    """Tell whether a site is not halted."""
    word = bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])[0, site >> 6]
    return bool((word >> np.uint64(site & 63)) & _ONE)
