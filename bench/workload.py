"""Workload `W`: a market of a given size and bids for it, from one seed: the same on every machine.

Calibrated to the measurements that the design rests on (theirs in brackets where they differ): of
5,000 sites 430, 790, 1,710 and 4,455 are inside budgets of 30, 50, 100 and 200 ms; 300 operators,
50 models and 200 metros by Zipf's law (0.9); 32 countries, 8 hardware classes; campaigns with mixed
constraints, so that of 1,000,000 offers 8, 315 (368), 6,070 (6,702) and 37,200 (37,880) are eligible
for a bid at the 10th, 50th, 90th and 99th percentile and none for 2.95 % (2.85 %) of the bids, of
100,000 offers 32 (37) at the 50th and none for 10 % (9.45 %); one bid in twenty may rest. What is
drawn is kept as plain arrays beside the market, for engines that are compared with it.
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
OPERATORS, METROS, MODELS, BUYERS = 300, 200, 50, 16
CAMPAIGNS_PER_BUYER = 64
COUNTRIES = tuple(f"{a}{b}" for a in "ABCD" for b in "ABCDEFGH")
HARDWARE = ("h100", "h200", "b200", "a100", "l40s", "l4", "rtx_4090", "mi300x")
BUDGETS_MS = (30, 50, 100, 200)
ZIPF = 0.9
SEED = 7  # of the first eight the one whose counts lie nearest to those they are calibrated to
# Round trip in ms by distance on a unit torus, so that the counts of sites above come out.
_RADIUS = (0.0, 0.1655, 0.2243, 0.3297, 0.5515, 0.7072)
_ROUND_TRIP_MS = (1.0, 30.0, 50.0, 100.0, 200.0, 290.0)


@dataclass
class Workload:
    """All of `W` as arrays; handles count from 1, so row i of `sites` is site i + 1.

    Attributes:
        reference: the commands that come first: models, metros, members, deposits, sites.
        sites: columns x, y, operator (handle), country (place in COUNTRIES), tier (place in
            lists.TIERS), certifications (bits of lists.CERTIFICATIONS), trust.
        rtt_us: int64[metros, sites], p99 round trips; below 0 there is none.
        offers: OFFER_RECORD[n], in the order in which they are given to the market.
        campaigns: the commands, campaign i has handle i + 1.
        bids: (buyer's handle, BID_RECORD[FRAME]) per frame; agent 0.
    """

    reference: list[c.AnyCommand]
    sites: np.ndarray
    rtt_us: np.ndarray
    offers: np.ndarray
    campaigns: list[c.Campaign]
    bids: list[tuple[int, np.ndarray]]
    models: int

    def open(self) -> tuple[Market, int]:
        """Return a market with all of it in, by its own commands, and the time it stands at."""
        market = Market(Capacity(offers=len(self.offers) + 1, fills=1 << 17))
        for command in [*self.reference, *self.campaigns]:
            refused = market.apply(command)
            assert len(refused) == 0
        for metro, row in enumerate(self.rtt_us):
            batch = np.zeros(len(row), records.RTT_RECORD)
            batch["site"] = np.arange(1, len(row) + 1)
            batch["metro"] = metro + 1
            batch["p99_us"] = row
            batch = batch[row >= 0]  # the others are out of reach
            for first in range(0, len(batch), 1024):
                market.apply_frame(records.RTT, batch[first : first + 1024], 0, 0, START_NS)
        for first in range(0, len(self.offers), 1024):
            refused = market.apply_frame(
                records.OFFER, self.offers[first : first + 1024], 0, 0, START_NS
            )
            assert len(refused) == 0
        return market, START_NS


def make(
    offers: int, frames: int, *, sites: int = 5_000, models: int = MODELS, seed: int = SEED
) -> Workload:
    """Draw a workload of that size."""
    # A stream of its own for each part: another size has the same map, campaigns and bids.
    streams = [np.random.default_rng([seed, part]) for part in range(5)]
    placed = _sites(streams[0], sites)
    return Workload(
        reference=reference_data(placed, models),
        sites=placed,
        rtt_us=_round_trips(streams[1], placed),
        offers=_offers(streams[2], offers, sites, models),
        campaigns=draw_campaigns(streams[3], models),
        bids=draw_bids(streams[4], frames),
        models=models,
    )


def zipf(rng: np.random.Generator, count: int, size: int, exponent: float = ZIPF) -> np.ndarray:
    """Draw `size` numbers 1 … count, number k as often as 1 / k^exponent."""
    weights = 1.0 / np.arange(1, count + 1) ** exponent
    return rng.choice(count, size, p=weights / weights.sum()) + 1


def _sites(rng: np.random.Generator, sites: int) -> np.ndarray:
    names = ("x", "y", "operator", "country", "tier", "certifications", "trust")
    made = np.zeros(sites, [(name, "f8" if name in "xy" else "i8") for name in names])
    made["x"], made["y"] = rng.random((2, sites))
    made["operator"] = zipf(rng, min(OPERATORS, sites), sites)
    # A country is a cell of the map, 8 × 4 of them.
    made["country"] = (8 * made["x"]).astype(int) + 8 * (4 * made["y"]).astype(int)
    made["tier"] = rng.integers(0, len(lists.TIERS), sites)
    held = rng.random((sites, 4)) < 0.6
    made["certifications"] = held @ (1 << np.arange(4))
    made["trust"] = rng.integers(0, 4, sites)
    return made


def reference_data(sites: np.ndarray, models: int) -> list[c.AnyCommand]:
    """Return the commands that make models, metros, operators, buyers with money, and these sites."""
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
        for n in range(1, METROS + 1)
    ]
    made += [
        c.Operator(at=at, operator=f"o{n}", control=(COUNTRIES[n % len(COUNTRIES)],))
        for n in range(1, OPERATORS + 1)
    ]
    for n in range(1, BUYERS + 1):
        made.append(c.Buyer(at=at, buyer=f"b{n}"))
        made.append(c.Deposit(at=at, role="buyer", member=f"b{n}", transfer=1, amount=2**56))
    for n, site in enumerate(sites):
        certified: Any = tuple(
            name for place, name in enumerate(lists.CERTIFICATIONS[:4])
            if site["certifications"] >> place & 1
        )  # fmt: skip
        country = COUNTRIES[site["country"]]
        made.append(
            c.Site(
                at=at, site=f"s{n + 1}", operator=f"o{site['operator']}",
                tier=lists.TIERS[site["tier"]], country=country, data_countries=(country,),
                lat=float(120 * site["y"] - 60), lon=float(360 * site["x"] - 180),
                certifications=certified,
            )
        )  # fmt: skip
        made.append(c.SiteTrust(at=at, site=f"s{n + 1}", trust=int(site["trust"])))
    return made


def _round_trips(rng: np.random.Generator, sites: np.ndarray) -> np.ndarray:
    centres = rng.random((METROS, 2))
    places = np.stack([sites["x"], sites["y"]], axis=1)
    away = np.abs(places[None, :, :] - centres[:, None, :])
    away = np.minimum(away, 1 - away)
    milliseconds = np.interp(np.hypot(away[:, :, 0], away[:, :, 1]), _RADIUS, _ROUND_TRIP_MS)
    microseconds: np.ndarray = (milliseconds * 1000).astype(np.int64)
    return microseconds


def _offers(rng: np.random.Generator, offers: int, sites: int, models: int) -> np.ndarray:
    batch = np.zeros(offers, records.OFFER_RECORD)
    batch["site"] = 1 + np.arange(offers) % sites
    batch["offer"] = 1 + np.arange(offers) // sites
    batch["model"] = zipf(rng, models, offers)
    batch["ask_in"] = rng.lognormal(12.9, 0.4, offers)  # median 400,000: $0.40 per million
    batch["ask_out"] = batch["ask_in"] * rng.uniform(1.5, 4.5, offers)
    batch["ttft_us"] = rng.integers(1_000, 9_000, offers)
    batch["prefill_ns_per_token"] = 1_000
    batch["tokens_per_second"] = rng.integers(20, 200, offers)
    batch["context_limit"] = rng.choice([8_192, 16_384, 32_768], offers)
    batch["slots"] = rng.integers(1, 64, offers)
    batch["hardware"] = [lists.HARDWARE.index(HARDWARE[n]) for n in rng.integers(0, 8, offers)]
    batch["precision"] = rng.integers(0, 4, offers)
    batch["contract"] = rng.integers(0, 3, offers)
    batch["capabilities"] = rng.integers(0, 256, offers)
    batch["ttl_us"] = 60_000_000
    return batch


def draw_campaigns(rng: np.random.Generator, models: int) -> list[c.Campaign]:
    """Draw campaigns whose constraints are each set or not by themselves."""
    count = BUYERS * CAMPAIGNS_PER_BUYER
    model = zipf(rng, models, count)
    made = []
    for n in range(count):
        some: dict[str, Any] = {}
        strict = 0.2 + 0.8 * rng.random() ** 2  # many are lax, a few take nearly nothing
        if rng.random() < strict:
            picked = rng.permutation(len(COUNTRIES))[: int(rng.integers(6, 20))]
            some["residency"] = tuple(sorted(COUNTRIES[int(p)] for p in picked))
        if rng.random() < strict:
            some["certifications"] = (lists.CERTIFICATIONS[int(rng.integers(4))],)
        if rng.random() < strict:
            some["tiers"] = lists.TIERS[: int(rng.integers(2, 6))]
        if rng.random() < strict:
            classes = int(rng.integers(1, 5))
            first = int(rng.integers(0, len(HARDWARE) + 1 - classes))
            some["hardware"] = HARDWARE[first : first + classes]
        if rng.random() < strict:
            some["precisions"] = lists.PRECISIONS[: int(rng.integers(1, 4))]
        if rng.random() < strict:
            some["contracts"] = lists.CONTRACTS[: int(rng.integers(1, 3))]
        wanted = rng.permutation(8)[: int(rng.integers(0, int(1 + 3 * strict)))]
        some["capabilities"] = tuple(lists.CAPABILITIES[int(p)] for p in sorted(wanted))
        if rng.random() < strict:
            some["min_tokens_per_second"] = int(rng.integers(20, 120))
        if rng.random() < strict:
            some["time_value"] = int(rng.integers(1, 2_000))
        made.append(
            c.Campaign(
                at=START_NS, campaign=f"c{n}", buyer=f"b{n % BUYERS + 1}",
                models=(c.CampaignModel(model=f"m{model[n]}"),),
                latency_budget_us=1000 * BUDGETS_MS[int(rng.integers(4))],
                max_unit_price=int(rng.integers(500_000, 3_000_000)),
                min_trust=int(rng.choice([0, 0, 1, 2])), **some,
            )
        )  # fmt: skip
    return made


def draw_bids(rng: np.random.Generator, frames: int) -> list[tuple[int, np.ndarray]]:
    """Draw frames of bids, buyer after buyer, each over its own campaigns."""
    made = []
    last = [0] * (BUYERS + 1)
    for n in range(frames):
        buyer = n % BUYERS + 1
        batch = np.zeros(FRAME, records.BID_RECORD)
        batch["bid"] = last[buyer] + 1 + np.arange(FRAME)
        last[buyer] += FRAME
        batch["campaign"] = buyer + BUYERS * rng.integers(0, CAMPAIGNS_PER_BUYER, FRAME)
        batch["origin"] = zipf(rng, METROS, FRAME)
        batch["tokens_in"] = np.minimum(rng.lognormal(6.5, 1.0, FRAME), 16_000).astype(np.uint32)
        batch["tokens_out"] = 1 + np.minimum(rng.lognormal(5.0, 1.0, FRAME), 4_000)
        batch["lease_us"] = 1_000_000
        batch["rest_us"] = np.where(rng.random(FRAME) < 0.05, 20_000, 0)
        batch["latency_budget_us"] = records.NONE_U32
        batch["max_price"] = records.NONE_U64
        batch["quantity"] = 1
        made.append((buyer, batch))
    return made
