"""The exchange's sealing of fill tokens: `schemas.token.TokenMaker`, by the round and compiled."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.kernels.seal import COLUMNS, SITE, TOKEN_WORDS, seal_all, start_state
from matching_core.jit import Array
from schemas.records import TOKEN_BYTES
from schemas.token import TOKEN_VERSION, TokenMaker

_KEY_ID_SHIFT: Final = 8
_MARKET_SHIFT: Final = 16
_SITES_AT_FIRST: Final = 64


class Sealer:
    """Makes tokens as a TokenMaker does. What a kernel needs to make them itself is public.

    Attributes:
        head: version, key number and market of every token.
        states: uint64[sites + 1, 8], a site's state where `known` (uint8) is 1.
        block, state: scratch of kernels.
    """

    def __init__(self, maker: TokenMaker) -> None:
        self._maker = maker
        self.head = TOKEN_VERSION | maker.key_id << _KEY_ID_SHIFT | maker.market << _MARKET_SHIFT
        self.states: NDArray[np.uint64] = np.zeros((_SITES_AT_FIRST, 8), np.uint64)
        self.known: NDArray[np.uint8] = np.zeros(_SITES_AT_FIRST, np.uint8)
        self.block: NDArray[np.uint64] = np.zeros(16, np.uint64)
        self.state: NDArray[np.uint64] = np.zeros(8, np.uint64)

    def learn(self, sites: Array) -> None:
        """Make the states of sites (handles) that have none yet."""
        for site in sites.tolist():
            self._have(site)
            if not self.known[site]:
                key = np.frombuffer(self._maker.site_key(site), np.uint64).copy()
                start_state(key, self.states, site, self.block)
                self.known[site] = 1

    def make_all(self, rows: Array) -> NDArray[np.uint8]:
        """Make the tokens of many fills, as `TokenMaker.make_all`: uint8[n, 60]."""
        columns = np.empty((len(rows), len(COLUMNS)), np.int64)
        for place, name in enumerate(COLUMNS):
            columns[:, place] = rows[name]
        if len(rows) == 0:
            return np.zeros((0, TOKEN_BYTES), np.uint8)
        sites = columns[:, SITE]
        self._have(int(sites.max()))
        unknown = sites[self.known[sites] == 0]
        if len(unknown):
            self.learn(np.unique(unknown))
        tokens = np.empty((len(rows), TOKEN_WORDS), np.uint32)
        seal_all(columns, self.head, self.states, self.block, self.state, tokens)
        return tokens.view(np.uint8)

    def _have(self, site: int) -> None:
        """Have room for a site's state."""
        if site >= len(self.known):
            more = max(site + 1, 2 * len(self.known)) - len(self.known)
            self.states = np.concatenate([self.states, np.zeros((more, 8), np.uint64)])
            self.known = np.concatenate([self.known, np.zeros(more, np.uint8)])
