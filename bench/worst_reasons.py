"""Bids that end unfilled, one kind for each reason of MARKET.md §7, on a book made so that they do.

Nearly all of a case's offers fail at the same rule, so the reason is known only when all of the most
common model's offers are known to fail: the market may not stop at the first.
"""

from typing import Any, Final

import msgspec
import numpy as np

from bench.workload import BUYERS, FRAME, METROS, START_NS, Workload, make, reference_data, zipf
from schemas import commands as c
from schemas import lists, records
from schemas.reasons import ELIGIBILITY_RULES

LOOSE: Final = {"latency_budget_us": 10_000_000, "max_unit_price": 10**9}
NOWHERE: Final = ("ZZ",)
# What a campaign on the first model asks that no offer of the book has.
ASKED: Final[dict[str, dict[str, Any]]] = {
    "residency": {"residency": NOWHERE},
    "data_residency": {"data_residency": NOWHERE},
    "sovereignty": {"sovereignty": NOWHERE},
    "certification": {"certifications": ("tisax",)},
    "tier": {"tiers": (lists.TIERS[-1],)},
    "operator": {"allow_operators": ("nobody",)},
    "trust": {"min_trust": 3},
    "capability": {"capabilities": (lists.CAPABILITIES[-1],)},
    "hardware": {"hardware": ("h20",)},
    "precision": {"precisions": ("other",)},
    "contract": {"contracts": (lists.CONTRACTS[-1],)},
    "speed": {"min_tokens_per_second": 1_000},
    "peering": {"peering": True},
    "context": {},  # the bid's tokens do it
    "latency": {"latency_budget_us": 900},
    "price": {"max_unit_price": 1},
}
# Reasons that are the offers' own: a model each.
MODEL: Final = {"no_capacity": "m2", "cold": "m3", "own": "m4"}
BUYER: Final = {"own": 2, "insufficient_funds": BUYERS + 1}
REASONS: Final = (*ELIGIBILITY_RULES, "insufficient_funds", "price, constraints of W")


def book(offers: int, sites: int, models: int) -> Workload:
    """Return a book of that size on which each of REASONS has its campaign, in that order.

    W's campaigns follow them, at a ceiling under every ask.
    """
    w = make(offers, 0, sites=sites, models=models)
    w.sites["trust"] = np.minimum(w.sites["trust"], 2)
    w.sites["tier"] %= len(lists.TIERS) - 1
    w.offers["capabilities"] &= 127
    w.offers["contract"] %= 2
    w.offers["slots"][w.offers["model"] == 2] = 0
    w.offers["cold_start_us"][w.offers["model"] == 3] = 1_000
    mine = np.nonzero(w.sites["operator"] == 1)[0] + 1
    moved = np.nonzero(w.offers["model"] == 4)[0]
    w.offers["site"][moved] = mine[np.arange(len(moved)) % len(mine)]
    number_again(w.offers)
    w.reference = reference_data(w.sites, models)
    w.reference += [
        c.Model(
            at=START_NS, model="nothing", family="", params_m=1, context_limit=1, card_in=0,
            card_out=0,
        ),
        c.Operator(at=START_NS, operator="nobody"),
        c.Buyer(at=START_NS, buyer="b2", group="o1"),
        c.Buyer(at=START_NS, buyer=f"b{BUYERS + 1}"),
    ]  # fmt: skip
    poor = [msgspec.structs.replace(each, max_unit_price=1) for each in w.campaigns]
    w.campaigns = [_campaign(reason) for reason in REASONS[:-1]] + poor
    return w


def number_again(offers: np.ndarray) -> None:
    """Give each offer the next number of its site: two of a site may have come to have the same."""
    order = np.argsort(offers["site"], kind="stable")
    site = offers["site"][order]
    first = np.searchsorted(site, site)
    offers["offer"][order] = 1 + np.arange(len(offers)) - first


def _campaign(reason: str) -> c.Campaign:
    model = MODEL.get(reason, "nothing" if reason == "no_model" else "m1")
    return c.Campaign(
        at=START_NS, campaign=reason.replace(" ", "-"), buyer=f"b{BUYER.get(reason, 1)}",
        models=(c.CampaignModel(model=model),), **(LOOSE | ASKED.get(reason, {})),
    )  # fmt: skip


def bids(reason: str, frames: int, rng: np.random.Generator) -> list[tuple[int, np.ndarray]]:
    """Return frames of bids that end with that reason."""
    buyer = BUYER.get(reason, 1)
    made = []
    for n in range(frames):
        batch = np.zeros(FRAME, records.BID_RECORD)
        batch["bid"] = (REASONS.index(reason) * frames + n) * FRAME + 1 + np.arange(FRAME)
        batch["campaign"] = REASONS.index(reason) + 1
        if reason == REASONS[-1]:  # campaigns of W, which buyer 1 has every sixteenth of
            batch["campaign"] += (BUYERS * rng.integers(0, 64, FRAME)).astype(np.uint32)
        batch["origin"] = zipf(rng, METROS, FRAME)
        batch["origin_asn"] = 64_500
        batch["tokens_in"] = 40_000 if reason == "context" else rng.integers(100, 4_000, FRAME)
        batch["tokens_out"] = rng.integers(1, 1_000, FRAME)
        batch["lease_us"] = 1_000_000
        batch["latency_budget_us"] = records.NONE_U32
        batch["max_price"] = records.NONE_U64
        batch["quantity"] = 1
        made.append((buyer, batch))
    return made
