"""`python -m bench.gap_books`: write the recorded books of `bench gap`, from their seeds.

Each is a market file: 12 operators with 24 sites in 4 countries, 3 models, 40 offers of one to three
slots, then 48 bids of 8 campaigns. They differ in how far the slots go: scarce, even, ample.
"""

import sys
from pathlib import Path
from typing import Final

import numpy as np

from matching_core.market_file import format_command
from schemas import commands as c
from schemas import lists

FOLDER: Final = Path(__file__).parent / "books"
SLOTS: Final = {"scarce": 1, "even": 2, "ample": 5}  # at most, per offer
SEEDS: Final = (1, 2)
START_NS: Final = 1_700_000_000_000_000_000
COUNTRIES: Final = ("DE", "FR", "PL", "SE")
MODELS: Final = ("small", "medium", "large")
CARD_IN: Final = (100_000, 400_000, 1_200_000)  # p$ per token
OPERATORS, SITES, METROS, OFFERS, CAMPAIGNS, BIDS = 12, 24, 4, 40, 8, 48


def book(slots: int, seed: int) -> list[c.AnyCommand]:
    """Draw a book and the bids that come to it."""
    rng = np.random.default_rng(seed)
    at = START_NS
    made: list[c.AnyCommand] = [
        c.Model(
            at=at, model=name, family="llama", params_m=8_000, context_limit=32_768,
            card_in=card, card_out=3 * card,
        )
        for name, card in zip(MODELS, CARD_IN, strict=True)
    ]  # fmt: skip
    for n, country in enumerate(COUNTRIES):
        made.append(
            c.Metro(at=at, metro=f"metro{n}", lat=50.0, lon=float(n), country=country, population=1)
        )
    made += [
        c.Operator(at=at, operator=f"op{n}", control=(COUNTRIES[n % 4],)) for n in range(OPERATORS)
    ]
    for n in range(SITES):
        country = COUNTRIES[int(rng.integers(4))]
        made.append(
            c.Site(
                at=at, site=f"site{n}", operator=f"op{int(rng.integers(OPERATORS))}", lat=50.0,
                lon=0.0, tier=lists.TIERS[int(rng.integers(6))], country=country,
                data_countries=(country,),
            )
        )  # fmt: skip
        made += [
            c.Rtt(
                at=at, site=f"site{n}", metro=f"metro{m}", p99_us=int(rng.integers(2_000, 60_000))
            )
            for m in range(METROS)
        ]
    for n in range(OFFERS):
        model = int(rng.integers(3))
        ask_in = int(CARD_IN[model] * rng.uniform(0.4, 1.3))
        made.append(
            c.Offer(
                at=at, site=f"site{int(rng.integers(SITES))}", offer=n + 1, model=MODELS[model],
                hardware=("h100", "l40s", "a100")[int(rng.integers(3))], precision="fp8",
                contract="on_demand", ask_in=ask_in, ask_out=3 * ask_in,
                slots=int(rng.integers(1, slots + 1)), ttft_us=int(rng.integers(1_000, 20_000)),
                prefill_ns_per_token=1_000, tokens_per_second=80, context_limit=32_768,
                ttl_us=60_000_000,
            )
        )  # fmt: skip
    for n in range(CAMPAIGNS):
        model = n % 3
        made += [
            c.Buyer(at=at, buyer=f"buyer{n}"),
            c.Deposit(at=at, role="buyer", member=f"buyer{n}", transfer=1, amount=10**15),
        ]
        several = {model, int(rng.integers(3))}
        made.append(
            c.Campaign(
                at=at, campaign="main", buyer=f"buyer{n}",
                models=tuple(c.CampaignModel(model=MODELS[m]) for m in sorted(several)),
                latency_budget_us=int(rng.choice([30_000, 50_000, 100_000])),
                max_unit_price=int(CARD_IN[model] * rng.uniform(1.5, 5.0)),
                residency=COUNTRIES[: int(rng.integers(2, 5))] if rng.random() < 0.5 else (),
                time_value=int(rng.integers(0, 200)),
            )
        )  # fmt: skip
    made += [
        c.Bid(
            at=at + 1_000 * n, buyer=f"buyer{n % CAMPAIGNS}", agent=0, bid=1 + n // CAMPAIGNS,
            campaign="main", origin=f"metro{int(rng.integers(METROS))}",
            tokens_in=int(rng.lognormal(6.0, 0.8)) + 1, tokens_out=int(rng.lognormal(5.0, 0.8)) + 1,
            quantity=1, lease_us=60_000_000,
        )
        for n in range(BIDS)
    ]  # fmt: skip
    return made


def main() -> int:
    """Write all books."""
    FOLDER.mkdir(exist_ok=True)
    for name, slots in SLOTS.items():
        for seed in SEEDS:
            lines = [format_command(command) for command in book(slots, seed)]
            (FOLDER / f"{name}_{seed}.jsonl").write_bytes(b"".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
