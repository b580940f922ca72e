"""Explain bids as a journal is applied: those that are flagged, or one that somebody names.

Both are a `Watch` of exchange/apply.py: shown a bid on the book that it meets, told what became of it.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from exchange.admission.rate import UnitRate
from matching_core.event_rows import as_rows
from matching_core.explain import Explainer
from matching_core.market import Market
from schemas import records
from schemas.explanation import Explanation
from schemas.reasons import NAME_OF_NO_FILL, REFUSED

KEPT_MAX: Final = 16_384  # explanations; some 1 kB each
TOGETHER: Final = 10  # all buyers together: so many times the rate of one
_UNFILLED: Final = records.EVENT_TYPES.index("unfilled")
_REJECTED: Final = records.EVENT_TYPES.index("rejected")

Key = tuple[int, int, int]  # handle of the buyer, number of its agent, bid


class Explaining:
    """Explains what `wants` says, and hands each explanation on once the bid was applied."""

    def __init__(
        self,
        market: Market,
        wants: Callable[[np.ndarray, int, int, int], list[int]],
        explained: Callable[[Key, Explanation | None], None],
        *,
        rounded: bool,
    ) -> None:
        self._explainer = Explainer(market)
        self._wants = wants
        self._explained = explained
        self._rounded = rounded
        self._under_way: Explanation | None = None

    def wanted(self, bids: np.ndarray, buyer: int, agent: int, at_ns: int) -> list[int]:
        """Return the places of the bids of a frame that are to be explained."""
        return self._wants(bids, buyer, agent, at_ns)

    def arriving(self, bid: Any, buyer: int, agent: int) -> None:
        """Explain a bid on the book that it meets."""
        self._under_way = self._explainer.explain(bid, buyer, agent, rounded=self._rounded)

    def applied(self, bid: Any, buyer: int, agent: int, rows: NDArray[np.int64]) -> None:
        """Add why a unit did not fill, which the market itself has said by now."""
        found, self._under_way = self._under_way, None
        number = int(bid["bid"])
        events = as_rows(rows)
        its_own = (
            (events["buyer"] == buyer) & (events["agent"] == agent) & (events["bid"] == number)
        )
        unfilled = events[its_own & (events["type"] == _UNFILLED)]
        if found is not None and len(unfilled):
            reason = NAME_OF_NO_FILL[int(unfilled["reason"][0])]
            found = msgspec.structs.replace(found, reason=reason)
        self._explained((buyer, agent, number), found)


# ----------------------------------------------------------------------------- the follower's
class Explanations:
    """The explanations that a follower keeps of flagged bids, for the buyers to ask for.

    Bounded in three ways: the rate of a buyer and that of all together, in bids per second of the
    journal's time (a flagged bid beyond them is not explained), and KEPT_MAX, the oldest going first.
    While `following` is not set, nothing is explained: who catches up has no time for it.
    """

    def __init__(self, market: Market, per_second: int) -> None:
        self.following = False
        self.made = 0
        self.watch = Explaining(market, self._wanted, self._keep, rounded=True)
        self._market = market
        self._per_second = per_second
        self._all = UnitRate(TOGETHER * per_second, 0)
        self._kept: OrderedDict[Key, Explanation | int] = OrderedDict()
        self._rates: dict[int, UnitRate] = {}

    def answer(self, buyer: int, agent: int, bid: int) -> tuple[int, Explanation | None]:
        """Return the explanation of a bid, or a number of REFUSED and none."""
        found = self._kept.get((buyer, agent, bid))
        if isinstance(found, Explanation):
            return 0, found
        if found is not None:
            return found, None
        behind = buyer == 0 or bid > self._market.last_bid(buyer, agent)
        return REFUSED["gap" if behind else "explain"], None

    def _wanted(self, bids: np.ndarray, buyer: int, agent: int, at_ns: int) -> list[int]:
        flagged = np.flatnonzero(bids["flags"] & records.FLAG_EXPLAIN)
        if not len(flagged) or not self.following:
            return []
        rate = self._rates.setdefault(buyer, UnitRate(self._per_second, at_ns))
        places = []
        for place in flagged.tolist():
            if rate.take(1, at_ns) and self._all.take(1, at_ns):
                places.append(place)
            else:
                self._put((buyer, agent, int(bids["bid"][place])), REFUSED["rate"])
        return places

    def _keep(self, key: Key, found: Explanation | None) -> None:
        if found is None:
            return  # rejected: the number is free for another bid, and there is nothing to explain
        self.made += 1
        self._put(key, found)

    def _put(self, key: Key, found: Explanation | int) -> None:
        # That one was over the rate says nothing about a bid that was explained under its number.
        if isinstance(found, int) and key in self._kept:
            return
        self._kept[key] = found
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
