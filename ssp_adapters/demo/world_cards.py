"""The demo's cards: the exchange's public reference prices, per model and latency band.

A card anchors what has no rival (MARKET.md §6), so where it stands decides what one sees: below the
asks nothing is ever contested, and above them the sellers' rivalry shows. The rule, for each model and
band: look from every metro at the offers that can answer a prompt of `PROMPT_TOKENS` within the band,
way included; the `RANK`-th cheapest of them is about what competition would leave there. The card is
`CARD_PERCENT` of its price in the median metro, by people. A near band leaves few offers to choose
from, a far one all cheap sites of the world: so the cards fall with the band, and that difference is
the price of latency as the operators' own asks and the distances make it. Two significant digits,
for a reference price is read by people.
"""

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from schemas.commands import Band, Model, Offer, PriceCard
from ssp_adapters.price_list.facts import ModelFact

_BANDS: Final[tuple[Band, ...]] = get_args(Band)  # in ms, best effort (0) last

CARD_PERCENT: Final = 300
RANK: Final = 5
PROMPT_TOKENS: Final = 256
MIX_IN: Final = (
    4  # input tokens per output token by which offers are ranked (conversations: 1,155 : 211)
)
DIGITS: Final = 2

REAL_METRO: Final = "berlin-de"
REAL_MODEL: Final = "smollm2-135m"
# One thread of a small machine at 0.03 dollars an hour and some 40 tokens a second: 0.2 dollars per
# million tokens; reading a prompt is about five times as fast.
REAL_COST_IN_PUSD: Final = 40_000
REAL_COST_OUT_PUSD: Final = 200_000
_REAL_CARD_PERCENT: Final = 200


def rounded(price: int) -> int:
    """Round up to `DIGITS` significant digits."""
    unit: int = 10 ** max(0, len(str(price)) - DIGITS)
    return -(-price // unit) * unit


def _levels(
    offers: Sequence[Offer], rtt_us: npt.NDArray[np.int64], people: npt.NDArray[np.int64]
) -> list[int]:
    """Return for each band the price of the mix (p$ per `MIX_IN` + 1 tokens) in the median metro.

    `rtt_us`: round trips of the offers' sites, shape (offers, metros), negative where unreachable. A
    metro counts where at least one offer reaches it; where fewer than `RANK` do, the dearest stands.
    Bands that no offer can keep anywhere give 0.
    """
    mix = np.array([MIX_IN * offer.ask_in + offer.ask_out for offer in offers], dtype=np.int64)
    order = np.argsort(mix, kind="stable")
    mix = mix[order]
    own_us = np.array(
        [offer.ttft_us + PROMPT_TOKENS * offer.prefill_ns_per_token // 1000 for offer in offers]
    )
    latency_us = np.where(rtt_us < 0, np.iinfo(np.int64).max, rtt_us + own_us[:, None])[order]
    levels = []
    for band in _BANDS:
        able = latency_us <= 1000 * band if band else rtt_us[order] >= 0
        found = able.sum(axis=0)
        # In each metro: the place, from the cheapest, where the RANK-th able offer (or the last) stands.
        wanted = np.minimum(found, RANK)
        place = np.argmax(able.cumsum(axis=0) >= wanted, axis=0)
        reached = np.flatnonzero(found)
        if not len(reached):
            levels.append(0)
            continue
        price = mix[place[reached]]
        by_price = np.argsort(price, kind="stable")
        crowd = people[reached][by_price].cumsum()
        levels.append(int(price[by_price][np.searchsorted(crowd, crowd[-1] / 2)]))
    # A promise that is harder to keep is not cheaper, though the few metros where it can be kept at
    # all may be cheap ones.
    for place in range(len(levels) - 2, -1, -1):
        if levels[place]:
            levels[place] = max(levels[place], levels[place + 1])
    return levels


def _card(offers: Sequence[Offer], level: int) -> tuple[int, int]:
    """Return (card_in, card_out) that give the level, in the ratio of the median asks."""
    ask_in = median_low(offer.ask_in for offer in offers)
    ask_out = median_low(offer.ask_out for offer in offers)
    whole = 100 * (MIX_IN * ask_in + ask_out)
    return (
        rounded(ask_in * level * CARD_PERCENT // whole),
        rounded(ask_out * level * CARD_PERCENT // whole),
    )


def cards(
    opening: Sequence[Offer],
    rtt_us_of_site: Mapping[str, npt.NDArray[np.int64]],
    people: npt.NDArray[np.int64],
    facts: Mapping[str, ModelFact],
) -> tuple[tuple[Model, ...], tuple[PriceCard, ...]]:
    """Return the models with their cards, and the cards of the bands that any offer can keep.

    `rtt_us_of_site`: one row per site over the metros, negative where unreachable; `people`: of the
    metros. A band that no offer can keep has no card of its own: the model's, made for best effort,
    stands there (MARKET.md §2).
    """
    of_model: dict[str, list[Offer]] = {}
    for offer in opening:
        of_model.setdefault(offer.model, []).append(offer)
    models: list[Model] = []
    price_cards: list[PriceCard] = []
    for name in sorted(of_model):
        offers = of_model[name]
        fact = facts[name]
        levels = _levels(offers, np.stack([rtt_us_of_site[offer.site] for offer in offers]), people)
        card_in, card_out = _card(offers, levels[-1])
        models.append(
            Model(
                at=0, model=name, family=fact.family, params_m=fact.params_m,
                context_limit=fact.context_limit, card_in=card_in, card_out=card_out,
            )
        )  # fmt: skip
        for band, level in zip(_BANDS[:-1], levels[:-1], strict=True):
            if level:
                card_in, card_out = _card(offers, level)
                price_cards.append(
                    PriceCard(at=0, model=name, band=band, card_in=card_in, card_out=card_out)
                )
    real = facts[REAL_MODEL]
    models.append(
        Model(
            at=0, model=REAL_MODEL, family=real.family, params_m=real.params_m,
            context_limit=real.context_limit,
            card_in=REAL_COST_IN_PUSD * _REAL_CARD_PERCENT // 100,
            card_out=REAL_COST_OUT_PUSD * _REAL_CARD_PERCENT // 100,
        )
    )  # fmt: skip
    return tuple(models), tuple(price_cards)
