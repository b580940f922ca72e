"""Which sites are near an origin: a bit each, per latency band (MARKET.md §2)."""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, small_table, table
from schemas import lists

BANDS_US = tuple(1000 * bound for bound in lists.BANDS_MS[:-1])


@inner
def near_of(s: Array, bid: int) -> int:
    """Return the row of NEAR for a bid's origin and band."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    return i64(c.BANDS * rests[bid, c.REST_ORIGIN] + rests[bid, c.REST_BAND])


@inner
def narrower(near: int, time_value: int, slack: int) -> int:
    """Return the row of NEAR, of this band or a shorter one, that has all sites worth their way.

    `slack`: what the way may cost. Sites beyond a band's bound cost more than at the bound.
    """
    while (near & (c.BANDS - 1)) > 0:
        beyond_us = BANDS_US[(near & (c.BANDS - 1)) - 1] + 1
        if (time_value * beyond_us) >> 10 <= slack:
            break
        near -= 1
    return near


@inner
def is_near(s: Array, near: int, site: int) -> bool:
    """Tell whether a site is within the band's bound of the origin, and not halted."""
    word = site >> 6
    bits = bits_table(s, c.NEAR, s[c.SITE_WORDS])[near, word]
    bits &= bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])[0, word]
    return bool((bits >> np.uint64(site & 63)) & np.uint64(1))


@inner
def set_near(s: Array, site: int, metro: int) -> None:
    """Set the bits that say within which bands' bounds the round trip of (site, metro) is."""
    kept = i64(small_table(s, c.RTT, s[c.SITE_CAPACITY])[metro, site])
    near = bits_table(s, c.NEAR, s[c.SITE_WORDS])
    bit = np.uint64(1) << np.uint64(site & 63)
    for band in range(len(BANDS_US) + 1):
        inside = kept != c.UNREACHABLE and (band == len(BANDS_US) or (kept >> 1) <= BANDS_US[band])
        if inside:
            near[c.BANDS * metro + band, site >> 6] |= bit
        else:
            near[c.BANDS * metro + band, site >> 6] &= ~bit
