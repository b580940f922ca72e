"""Random small books with everything in them that a peer must know: deals, several models, all rules."""

import random

import numpy as np

from matching_core.market import Market
from schemas import commands as c
from schemas import lists, records

AT = 1_700_000_000_000_000_000
COUNTRIES = ("DE", "FR", "PL")
MODELS = ("m", "n")


def some(rng, values, chance=0.12):
    """Return a few of the values, or mostly none: nothing asked."""
    if rng.random() > chance:
        return ()
    return tuple(value for value in values if rng.random() < 0.6) or (values[0],)


def random_market(seed: int) -> Market:
    """Make a market of 6 sites and 40 offers; asks 0 to 6 a token, so that ties are common."""
    rng = random.Random(seed)
    made: list[c.AnyCommand] = [
        c.Model(
            at=AT, model=model, family="f", params_m=1, context_limit=100_000,
            card_in=rng.randint(0, 6) * 1000, card_out=2000, card_second=rng.randint(0, 2),
        )
        for model in MODELS
    ]  # fmt: skip
    made += [
        c.PriceCard(at=AT, model="m", band=30, card_in=3000, card_out=1000, card_second=1),
        c.Metro(at=AT, metro="here", lat=0.0, lon=0.0, country="DE", population=1),
    ]
    for name, group in (("A", "A"), ("B", "B"), ("C", "A")):
        made.append(
            c.Operator(at=AT, operator=name, group=group, control=some(rng, COUNTRIES, 0.8))
        )
    for name, group in (("X", "X"), ("Y", "B")):
        made += [
            c.Buyer(at=AT, buyer=name, group=group),
            c.Deposit(at=AT, role="buyer", member=name, transfer=1, amount=10**12),
        ]
    made.append(c.Deal(at=AT, deal="A.d", operator="A", buyers=("X",)))
    for n in range(6):
        made.append(
            c.Site(
                at=AT, site=f"s{n}", operator="ABC"[n % 3], tier=rng.choice(lists.TIERS[:3]),
                lat=0.0, lon=0.0, country=rng.choice((None, *COUNTRIES)),
                data_countries=some(rng, COUNTRIES, 0.8),
                certifications=some(rng, lists.CERTIFICATIONS[:3], 0.8),
            )
        )  # fmt: skip
        made.append(
            c.SiteTrust(
                at=AT, site=f"s{n}", trust=rng.randint(0, 2), latency_margin_us=rng.choice((0, 500))
            )
        )
        if rng.random() < 0.9:
            made.append(
                c.Rtt(at=AT, site=f"s{n}", metro="here", p99_us=rng.choice((0, 1000, 5000)))
            )
    for n in range(40):
        site = rng.randrange(6)
        made.append(
            c.Offer(
                at=AT, site=f"s{site}", offer=n + 1, model=rng.choice(MODELS),
                hardware=rng.choice(lists.HARDWARE[:3]), precision=rng.choice(lists.PRECISIONS[:2]),
                contract=rng.choice(lists.CONTRACTS), ask_in=1000 * rng.randint(0, 6),
                ask_out=1000 * rng.randint(0, 3), ask_second=rng.randint(0, 2),
                slots=rng.choice((0, 1, 3)), ttft_us=rng.choice((0, 100, 4000)),
                prefill_ns_per_token=rng.choice((0, 700)), tokens_per_second=rng.choice((10, 50)),
                context_limit=rng.choice((4, 100)), cold_start_us=rng.choice((0, 0, 2000)),
                capabilities=some(rng, lists.CAPABILITIES[:3], 0.7), ttl_us=60_000_000,
                deal="A.d" if site % 3 == 0 and rng.random() < 0.2 else "",
            )
        )  # fmt: skip
    for buyer in ("X", "Y"):
        for n in range(8):
            made.append(_campaign(rng, buyer, n))
    market = Market()
    for command in made:
        refused = market.apply_command(command)
        assert not refused, refused
    return market


def _campaign(rng, buyer, number):
    models = some(rng, MODELS, 1.0)
    return c.Campaign(
        at=AT, campaign=f"c{number}", buyer=buyer,
        models=tuple(c.CampaignModel(model=m, markdown=rng.randint(0, 4)) for m in models),
        latency_budget_us=rng.choice((4000, 8000, 30_000)), max_unit_price=rng.choice((2000, 9000)),
        residency=some(rng, COUNTRIES), data_residency=some(rng, COUNTRIES),
        sovereignty=some(rng, COUNTRIES), certifications=some(rng, lists.CERTIFICATIONS[:3], 0.2),
        capabilities=some(rng, lists.CAPABILITIES[:3], 0.2), tiers=some(rng, lists.TIERS[:3]),
        hardware=some(rng, lists.HARDWARE[:3]), precisions=some(rng, lists.PRECISIONS[:2]),
        contracts=some(rng, lists.CONTRACTS), allow_operators=some(rng, "ABC"),
        deny_operators=some(rng, "ABC", 0.1), min_trust=rng.choice((0, 0, 1)),
        min_tokens_per_second=rng.choice((0, 30)), accept_cold=rng.random() < 0.5,
        time_value=rng.choice((0, 300)),
    )  # fmt: skip


def random_bids(seed: int, count: int) -> list[tuple[int, np.ndarray]]:
    """Make one frame of bids per buyer, over all its campaigns."""
    rng = np.random.default_rng(seed)
    frames = []
    for buyer in (1, 2):
        batch = np.zeros(count, records.BID_RECORD)
        batch["campaign"] = rng.integers(1, 9, count) + 8 * (buyer - 1)
        batch["origin"] = 1
        batch["tokens_in"] = rng.integers(0, 3, count)
        batch["tokens_out"] = rng.integers(1, 4, count)
        batch["lease_us"] = rng.choice([1, 500_000, 1_000_000], count)
        batch["latency_budget_us"] = np.where(rng.random(count) < 0.5, 5_000, records.NONE_U32)
        batch["max_price"] = np.where(
            rng.random(count) < 0.5, rng.integers(0, 60, count), records.NONE_U64
        )
        frames.append((buyer, batch))
    return frames
