"""A market of a given size with requests to match, from one seed: the same on every machine.

Calibrated to the workload `W` of the measurements that the design rests on: of 5,000 sites 430, 790,
1,707 and 4,455 are inside budgets of 30, 50, 100 and 200 ms; 300 operators and 50 models by Zipf's
law; 200 metros, 32 countries, 8 hardware classes; campaigns with mixed constraints.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from matching_core.market import Capacity, Market
from schemas import commands as c
from schemas import lists, records

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS
FRAME = 256
COUNTRIES = tuple(f"{a}{b}" for a in "ABCD" for b in "ABCDEFGH")
HARDWARE = ("h100", "h200", "b200", "a100", "l40s", "l4", "rtx_4090", "mi300x")
BUDGETS_MS = (30, 50, 100, 200)
# Round trip in ms by distance on a unit torus, so that the counts above come out.
_RADIUS = (0.0, 0.165, 0.224, 0.330, 0.532, 0.71)
_ROUND_TRIP_MS = (1.0, 24.0, 44.0, 94.0, 194.0, 290.0)


@dataclass
class World:
    """A market that is open, and frames of bids for it: (buyer handle, records)."""

    market: Market
    at_ns: int
    bids: list[tuple[int, np.ndarray]]


def build(offers: int, sites: int, *, models: int, frames: int, seed: int = 1) -> World:
    """Open a market of that size by its own commands and make `frames` frames of bids."""
    rng = np.random.default_rng(seed)
    market = Market(Capacity(offers=offers + 1, fills=1 << 17))
    operators, metros, buyers = min(300, sites), min(200, sites), 16
    for command in _reference_data(rng, operators, models, metros, buyers, sites):
        rows = market.apply(command)
        assert len(rows) == 0
    _round_trips(rng, market, sites, metros)
    at_ns = START_NS
    _offers(rng, market, offers, sites, models, at_ns)
    campaigns = _campaigns(rng, market, models, buyers)
    bids = _bids(rng, campaigns, frames, metros)
    return World(market, at_ns, bids)


def zipf(rng: np.random.Generator, count: int, size: int, exponent: float = 0.9) -> np.ndarray:
    """Draw `size` numbers 1 … count, number k as often as 1 / k^exponent."""
    weights = 1.0 / np.arange(1, count + 1) ** exponent
    return rng.choice(count, size, p=weights / weights.sum()) + 1


def _reference_data(
    rng: np.random.Generator, operators: int, models: int, metros: int, buyers: int, sites: int
) -> list[c.AnyCommand]:
    at = START_NS
    made: list[c.AnyCommand] = [
        c.Model(
            at=at, model=f"m{n}", family="llama", params_m=8000, context_limit=32768,
            card_in=400_000, card_out=1_200_000,
        )
        for n in range(1, models + 1)
    ]  # fmt: skip
    made += [
        c.Metro(at=at, metro=f"metro{n}", lat=0.0, lon=0.0, country="AA", population=1)
        for n in range(1, metros + 1)
    ]
    made += [
        c.Operator(at=at, operator=f"o{n}", control=(COUNTRIES[n % len(COUNTRIES)],))
        for n in range(1, operators + 1)
    ]
    for n in range(1, buyers + 1):
        made.append(c.Buyer(at=at, buyer=f"b{n}"))
        made.append(c.Deposit(at=at, role="buyer", member=f"b{n}", transfer=1, amount=2**56))
    owner = zipf(rng, operators, sites)
    for n in range(sites):
        country = COUNTRIES[int(rng.integers(len(COUNTRIES)))]
        certified: Any = tuple(x for x in lists.CERTIFICATIONS[:4] if rng.random() < 0.6)
        made.append(
            c.Site(
                at=at, site=f"s{n + 1}", operator=f"o{owner[n]}",
                tier=lists.TIERS[int(rng.integers(6))], lat=0.0, lon=0.0, country=country,
                data_countries=(country,), certifications=certified,
            )
        )  # fmt: skip
        made.append(c.SiteTrust(at=at, site=f"s{n + 1}", trust=int(rng.integers(4))))
    return made


def _round_trips(rng: np.random.Generator, market: Market, sites: int, metros: int) -> None:
    places = rng.random((sites, 2))
    centres = rng.random((metros, 2))
    for metro in range(metros):
        away = np.abs(places - centres[metro])
        away = np.minimum(away, 1 - away)
        milliseconds = np.interp(np.hypot(away[:, 0], away[:, 1]), _RADIUS, _ROUND_TRIP_MS)
        batch = np.zeros(sites, records.RTT_RECORD)
        batch["site"] = np.arange(1, sites + 1)
        batch["metro"] = metro + 1
        batch["p99_us"] = (milliseconds * 1000).astype(np.uint32)
        for first in range(0, sites, 1024):
            market.apply_frame(records.RTT, batch[first : first + 1024], 0, 0, START_NS)


def _offers(
    rng: np.random.Generator, market: Market, offers: int, sites: int, models: int, at_ns: int
) -> None:
    batch = np.zeros(offers, records.OFFER_RECORD)
    batch["site"] = 1 + np.arange(offers) % sites
    batch["offer"] = 1 + np.arange(offers) // sites
    batch["model"] = zipf(rng, models, offers, 0.5)
    batch["ask_in"] = rng.integers(100_000, 900_000, offers)
    batch["ask_out"] = 3 * batch["ask_in"] + rng.integers(0, 100_000, offers)
    batch["ttft_us"] = rng.integers(1_000, 9_000, offers)
    batch["prefill_ns_per_token"] = 1_000
    batch["tokens_per_second"] = rng.integers(20, 200, offers)
    batch["context_limit"] = rng.choice([8_192, 16_384, 32_768], offers)
    batch["slots"] = rng.integers(1, 65_535, offers)
    batch["hardware"] = [lists.HARDWARE.index(HARDWARE[n]) for n in rng.integers(0, 8, offers)]
    batch["precision"] = rng.integers(0, 4, offers)
    batch["capabilities"] = rng.integers(0, 256, offers)
    batch["ttl_us"] = 60_000_000
    for first in range(0, offers, 1024):
        market.apply_frame(records.OFFER, batch[first : first + 1024], 0, 0, at_ns)


def _campaigns(
    rng: np.random.Generator, market: Market, models: int, buyers: int
) -> list[tuple[int, list[int]]]:
    """Register eight campaigns per buyer; return (buyer, handles of its campaigns)."""
    model = zipf(rng, models, 8 * buyers, 0.5)
    for n in range(8 * buyers):
        some: dict[str, Any] = {}
        if rng.random() < 0.5:
            picked = rng.permutation(len(COUNTRIES))[:12]
            some["residency"] = tuple(sorted(COUNTRIES[int(p)] for p in picked))
        if rng.random() < 0.3:
            some["certifications"] = (lists.CERTIFICATIONS[int(rng.integers(4))],)
        if rng.random() < 0.3:
            some["tiers"] = lists.TIERS[: int(rng.integers(2, 6))]
        if rng.random() < 0.3:
            some["hardware"] = HARDWARE[: int(rng.integers(2, 6))]
        if rng.random() < 0.3:
            some["capabilities"] = (lists.CAPABILITIES[int(rng.integers(8))],)
        rows = market.apply(
            c.Campaign(
                at=START_NS, campaign=f"c{n}", buyer=f"b{n % buyers + 1}",
                models=(c.CampaignModel(model=f"m{model[n]}"),),
                latency_budget_us=1000 * BUDGETS_MS[int(rng.integers(4))],
                max_unit_price=3_000_000, min_trust=int(rng.integers(2)), **some,
            )
        )  # fmt: skip
        assert len(rows) == 0
    return [
        (buyer, [n + 1 for n in range(8 * buyers) if n % buyers + 1 == buyer])
        for buyer in range(1, buyers + 1)
    ]


def _bids(
    rng: np.random.Generator, campaigns: list[tuple[int, list[int]]], frames: int, metros: int
) -> list[tuple[int, np.ndarray]]:
    made = []
    last = dict.fromkeys((buyer for buyer, _ in campaigns), 0)
    for n in range(frames):
        buyer, handles = campaigns[n % len(campaigns)]
        batch = np.zeros(FRAME, records.BID_RECORD)
        batch["bid"] = last[buyer] + 1 + np.arange(FRAME)
        last[buyer] += FRAME
        batch["campaign"] = rng.choice(handles, FRAME)
        batch["origin"] = zipf(rng, metros, FRAME, 0.5)
        batch["tokens_in"] = np.minimum(rng.lognormal(6.5, 1.0, FRAME), 16_000).astype(np.uint32)
        batch["tokens_out"] = 1 + np.minimum(rng.lognormal(5.0, 1.0, FRAME), 4_000)
        batch["lease_us"] = 1_000_000
        batch["latency_budget_us"] = records.NONE_U32
        batch["max_price"] = records.NONE_U64
        batch["quantity"] = 1
        made.append((buyer, batch))
    return made
