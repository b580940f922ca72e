"""What to say of offers: from what stands and what should stand to the fewest commands (pure).

| the offer should stand … | and stands … | say |
|---|---|---|
| yes | not, or on other terms | `offer` (a new priority: MARKET.md §3) |
| yes | on these terms, other figures | `refresh` |
| yes | exactly so | nothing, or `renew` of its site when its time runs low |
| no | yes | `offer_cancel` |
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Final, NamedTuple

from schemas.commands import Offer

_FIGURES: Final = ("slots", "fills_seen", "ttft_us", "prefill_ns_per_token", "tokens_per_second")
_TERMS: Final = tuple(name for name in Offer.__struct_fields__ if name not in {*_FIGURES, "at"})
figures_of = attrgetter(*_FIGURES)
terms_of = attrgetter(*_TERMS)

Key = tuple[str, int]


class Standing(NamedTuple):
    """An offer as the exchange took it last; `expires_ns` by the runner's monotonic clock."""

    offer: Offer
    expires_ns: int


class Plan(NamedTuple):
    """What to send, each in order of (site, number)."""

    offers: tuple[Offer, ...]
    refreshes: tuple[Offer, ...]
    renewals: tuple[tuple[str, int], ...]  # site, ttl_us
    cancels: tuple[Key, ...]

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to say."""
        return not (self.offers or self.refreshes or self.renewals or self.cancels)


def make_plan(standing: dict[Key, Standing], wanted: Iterable[Offer], now_ns: int) -> Plan:
    """Compare what stands with what should. A site is renewed when an offer of it has less than half
    of its time left, and by one command, whatever the number of its offers.
    """
    offers: list[Offer] = []
    refreshes: list[Offer] = []
    renewals: dict[str, int] = {}
    seen: set[Key] = set()
    for offer in wanted:
        key = (offer.site, offer.offer)
        seen.add(key)
        known = standing.get(key)
        if known is None or known.expires_ns <= now_ns or terms_of(known.offer) != terms_of(offer):
            offers.append(offer)
        elif figures_of(known.offer) != figures_of(offer):
            refreshes.append(offer)
        elif known.expires_ns - now_ns < 500 * offer.ttl_us:
            renewals[offer.site] = max(renewals.get(offer.site, 0), offer.ttl_us)
    cancels = sorted(key for key in standing if key not in seen)
    return Plan(tuple(offers), tuple(refreshes), tuple(sorted(renewals.items())), tuple(cancels))
