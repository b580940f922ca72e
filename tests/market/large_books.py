"""Books of several shelves that change, for what small books cannot show: each command to both engines.

Campaigns are lax in most and ask for much in a thing or two, which few offers have or none; a third of
the offers have no slot; sites, their networks and trust, halts, deals and speeds change.
"""

import random
from typing import Any

from matching_core.market import Market
from matching_core.reference import ReferenceMarket
from schemas import commands as c
from schemas import events as e
from schemas import lists

START_NS = 1_700_000_000_000_000_000
SITES, OFFERS, CAMPAIGNS = 24, 1_000, 24
BUYERS, OPERATORS = ("x", "y"), ("x", "p", "q")
ASNS = (100, 200, 300)


class World:
    """Commands by chance, each given to both engines, their events compared."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.market, self.reference = Market(), ReferenceMarket()
        self.at = START_NS
        self.bids = 0
        self.reasons: set[str] = set()
        self.offers: list[tuple[str, int]] = []
        self.sites = {f"s{n}": self.rng.choice(OPERATORS) for n in range(SITES)}
        for operator in OPERATORS:
            self.give(c.Operator, operator=operator, control=self.some(("DE", "FR")))
            self.give(c.Deal, deal=f"{operator}/d", operator=operator, buyers=())
        for buyer in BUYERS:
            self.give(c.Buyer, buyer=buyer)
            self.give(c.Deposit, role="buyer", member=buyer, transfer=1, amount=2**50)
        for model in ("m", "n"):
            self.give(
                c.Model, model=model, family="", params_m=1, context_limit=9, card_in=1, card_out=1
            )
            self.give(c.Adapter, adapter=f"lora-{model}", model=model)
        for metro in ("near", "far"):
            self.give(c.Metro, metro=metro, lat=0.0, lon=0.0, country="DE", population=1)
        for site in self.sites:
            self.site(site)
            for metro in ("near", "far"):
                if self.rng.random() < 0.95:
                    rtt = self.rng.choice((900, 4_000, 9_000, 40_000))
                    self.give(c.Rtt, site=site, metro=metro, p99_us=rtt)
        for n in range(OFFERS):
            self.offers.append((f"s{n % SITES}", 1 + n // SITES))
            self.offer(*self.offers[-1])
        for n in range(CAMPAIGNS):
            self.campaign(n)

    def some(self, of: tuple[Any, ...], share: float = 0.5) -> tuple[Any, ...]:
        """Return some of a list, in its order."""
        return tuple(each for each in of if self.rng.random() < share)

    def give(self, kind: Any, **fields: Any) -> list[e.AnyEvent]:
        """Make a command and apply it."""
        self.at += 1_000
        return self.apply(kind(at=self.at, **fields))

    def apply(self, command: c.AnyCommand) -> list[e.AnyEvent]:
        """Apply a command to both; returns the events, which are the same."""
        events = self.reference.apply(command)
        assert self.market.apply_command(command) == events, command
        self.reasons |= {event.reason for event in events if isinstance(event, e.Unfilled)}
        return events

    def site(self, site: str) -> None:
        """Set up a site, or change it."""
        self.give(
            c.Site, site=site, operator=self.sites[site], tier=self.rng.choice(lists.TIERS[:3]),
            lat=0.0, lon=0.0, country=self.rng.choice(("DE", "FR", None)),
            data_countries=self.some(("DE", "FR")), certifications=self.some(("hipaa", "soc2"), 0.3),
            asns=self.some(ASNS, 0.1),
        )  # fmt: skip
        self.give(c.SiteTrust, site=site, trust=self.rng.randrange(3))

    def offer(self, site: str, number: int) -> None:
        """Offer something under a name."""
        rng = self.rng
        model = rng.choice("mmmmmmmn")
        self.give(
            c.Offer, site=site, offer=number, model=model, hardware=rng.choice(lists.HARDWARE[:3]),
            precision=rng.choice(lists.PRECISIONS[:3]), contract=rng.choice(lists.CONTRACTS[:2]),
            ask_in=rng.randrange(100), ask_out=rng.randrange(100), slots=rng.choice((0, 1, 2)),
            ttft_us=rng.choice((100, 2_000)), tokens_per_second=rng.randrange(40),
            context_limit=rng.choice((8_000, 9_000, 33_000)),
            cold_start_us=rng.choice((0, 0, 0, 500)), adapter_load_us=rng.choice((0, 0, 700)),
            adapters=(f"lora-{model}",) if rng.random() < 0.05 else (),
            capabilities=tuple(sorted(self.some(lists.CAPABILITIES[:3], 0.3))),
            deal=f"{self.sites[site]}/d" if rng.random() < 0.03 else "", ttl_us=60_000_000,
        )  # fmt: skip

    def campaign(self, number: int) -> None:
        """Register a campaign that is lax in most and asks for much in a thing or two."""
        rng = self.rng
        asked: dict[str, Any] = {
            "residency": ("DE",), "data_residency": ("DE",), "sovereignty": ("FR",),
            "certifications": ("hipaa", "soc2"), "tiers": (rng.choice(lists.TIERS[:4]),),
            "allow_operators": ("p",), "deny_operators": ("p", "q"), "min_trust": rng.randrange(4),
            "capabilities": tuple(sorted(self.some(lists.CAPABILITIES[:4], 0.6))),
            "hardware": (rng.choice(lists.HARDWARE[:4]),),
            "precisions": (rng.choice(lists.PRECISIONS[:4]),),
            "contracts": (rng.choice(lists.CONTRACTS),), "min_tokens_per_second": 30 + rng.randrange(20),
            "peering": True, "accept_cold": True,
        }  # fmt: skip
        chosen = rng.sample(sorted(asked), rng.randrange(1, 7))
        models = [c.CampaignModel(model=model) for model in rng.choice(("m", "n", "mn"))]
        self.give(
            c.Campaign, campaign=f"c{number}", buyer=BUYERS[number % 2], models=tuple(models),
            latency_budget_us=rng.choice((800, 4_500, 9_500, 300_000)),
            max_unit_price=rng.choice((0, 20, 1_000)), **{name: asked[name] for name in chosen},
        )  # fmt: skip

    def bid(self) -> c.Bid:
        """Return a bid of some campaign, not yet given."""
        rng = self.rng
        self.bids += 1
        self.at += 1_000
        number = rng.randrange(CAMPAIGNS)
        return c.Bid(
            at=self.at, buyer=BUYERS[number % 2], agent=0, bid=self.bids, campaign=f"c{number}",
            origin=rng.choice(("near", "far")), origin_asn=rng.choice((0, 100, 200, 999)),
            tokens_in=rng.choice((10, 8_500, 40_000)), tokens_out=rng.randrange(1, 50),
            adapter=rng.choice(("", "", "", "lora-m", "lora-n")), quantity=1, lease_us=1_000_000,
        )  # fmt: skip

    def change(self) -> None:
        """Change something of the book or of who may be looked at."""
        rng = self.rng
        site, number = rng.choice(self.offers)
        roll = rng.random()
        if roll < 0.4:
            self.offer(site, number)
        elif roll < 0.6:
            self.give(
                c.Refresh, site=site, offer=number, slots=rng.randrange(3), fills_seen=0,
                ttft_us=rng.choice((10, 3_000)), prefill_ns_per_token=0,
                tokens_per_second=rng.randrange(50), ttl_us=60_000_000,
            )  # fmt: skip
        elif roll < 0.7:
            self.give(c.OfferCancel, site=site, offer=number)
        elif roll < 0.8:
            self.site(site)
        elif roll < 0.9:
            halting = rng.choice((c.Halt, c.Resume))
            scope, name = rng.choice((("site", site), ("model", "n"), ("operator", "q")))
            self.give(halting, scope=scope, name=name, by="admin")
        elif roll < 0.95:
            operator = rng.choice(OPERATORS)
            self.give(c.Deal, deal=f"{operator}/d", operator=operator, buyers=self.some(BUYERS))
        else:
            self.give(c.OffersCancel, site=site)
