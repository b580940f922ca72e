"""Which sites are near an origin: a bit each, per latency band (MARKET.md §2)."""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, small_table
from schemas import lists

BANDS_US = tuple(1000 * bound for bound in lists.BANDS_MS[:-1])


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
