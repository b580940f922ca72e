"""A look by place, for bids that only a few sites suit: all their offers stand in stalls (stalls.py).

A bid with a short budget and a strict campaign finds nothing on shelf after shelf, and would have to
read hundreds. The sites that suit it are one `and` of bitmaps: near enough, open, admitted by its
campaign, with an offer of the model. Where those are a handful, their offers are looked at instead of
the shelves that are left: every offer of the model is in both, so nothing is missed, and one that is
judged twice is no better than itself.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import (
    Array,
    bits_table,
    i64,
    inner,
    lowest_bit,
    prefetch,
    small_table,
    table,
)
from matching_core.kernels.rules import ask_for_offer, attribute_rule
from matching_core.kernels.stalls import place_of

MANY = -1
FROM_STALL = 2  # of a survivor: passes its campaign's rules; whether it is a deal is not known
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@inner
def list_stalls(s: Array, near: int, campaign: int, model: int) -> int:
    """Write the sites that suit a bid, each with its stall, into CANDIDATES; returns how many, or MANY.

    `near`: row of NEAR.
    """
    width = s[c.SITE_WORDS]
    near_sites = bits_table(s, c.NEAR, width)
    open_sites = bits_table(s, c.OPEN_SITES, width)
    admitted = bits_table(s, c.CAMPAIGN_SITES, width)
    offering = bits_table(s, c.MODEL_SITES, width)
    stall_of = small_table(s, c.STALL_OF, s[c.SITE_CAPACITY])
    candidates = table(s, c.CANDIDATES, c.CANDIDATE_ROW)
    count = 0
    for word in range((s[c.SITE_COUNT] >> 6) + 1):
        left = near_sites[near, word] & admitted[campaign, word]
        left &= open_sites[0, word] & offering[model, word]
        while left != _ZERO:
            if count == c.CANDIDATES_MAX:
                return MANY
            site = 64 * word + lowest_bit(left)
            left &= left - _ONE
            line = i64(stall_of[model, site])
            prefetch(s, c.STALLS, 4 * c.STALL_LINE * line)
            candidates[count, 0] = site
            candidates[count, 1] = line
            count += 1
    return count


@inner
def survivors_at(s: Array, found: int, listed: int, campaign: int, bound: int) -> int:
    """Add the offers of the stalls in CANDIDATES to the `found` first SURVIVORS that a campaign admits.

    Returns how many there are then, or MANY. `bound`: the best score that any may have.
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    candidates = table(s, c.CANDIDATES, c.CANDIDATE_ROW)
    stalls = small_table(s, c.STALLS, c.STALL_LINE)
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    looked = 0
    for row in range(listed):
        site, line = candidates[row, 0], candidates[row, 1]
        looked += i64(stalls[line, c.STALL_COUNT])
        if looked > c.STALL_OFFERS_MAX:
            return MANY
        for number in range(stalls[line, c.STALL_COUNT]):
            at, word = place_of(line, number)
            if attribute_rule(campaigns, campaign, i64(stalls[at, word + 1])) != 0:
                continue
            survivors[found, 0] = stalls[at, word]
            survivors[found, 1] = site
            survivors[found, 2] = bound
            survivors[found, 3] = FROM_STALL
            ask_for_offer(s, survivors[found, 0], site)
            found += 1
    return found
