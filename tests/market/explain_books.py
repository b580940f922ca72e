"""Small books on which constraints bind: what the general generator makes too seldom.

Three operators, five sites, a dozen offers and one buyer whose campaign sets one to five
constraints, so that many offers fail one or two rules. Prices are 0 to 40 n$, tokens 1 to 4, slots 0 to
3, lists have two or three entries: ties, partly filled bids and rivals of one owner are common.
"""

import random
from typing import Any

import msgspec

from schemas import lists
from schemas.commands import AnyCommand, Bid

START_NS = 1_700_000_000_000_000_000
OPERATORS = ("A", "B", "C")
SITES = ("A/1", "A/2", "B/1", "C/1", "C/2")
COUNTRIES = ("DE", "FR", "US")
CERTIFICATIONS = ("hipaa", "soc2")
CAPABILITIES = ("streaming", "tools")
ASNS = (3215, 64512)


def book(seed: int) -> tuple[list[AnyCommand], Bid]:
    """Return the commands that make a book, and a bid to explain on it; the same for one seed."""
    maker = _Maker(random.Random(seed))
    commands = [
        msgspec.convert({"at": START_NS, **fields}, AnyCommand) for fields in maker.commands()
    ]
    bid = msgspec.convert({"at": START_NS + 1000, **maker.bid()}, AnyCommand)
    assert isinstance(bid, Bid)
    return commands, bid


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.set_chance = rng.choice((0.05, 0.12, 0.3))

    def some(self, entries: tuple[Any, ...]) -> list[Any]:
        return self.rng.sample(entries, self.rng.randint(0, len(entries)))

    def listed(self, entries: tuple[Any, ...]) -> list[Any]:
        """Return a rule that is set, or not."""
        if self.rng.random() >= self.set_chance:
            return []
        return self.rng.sample(entries, self.rng.randint(1, max(1, len(entries) - 1)))

    def commands(self) -> list[dict[str, Any]]:
        rng = self.rng
        made: list[dict[str, Any]] = [
            {"type": "operator", "operator": name, "control": self.some(COUNTRIES)}
            | ({"group": "A"} if name == "B" and rng.random() < 0.3 else {})
            for name in OPERATORS
        ]
        group = {"group": rng.choice(("A", "C"))} if rng.random() < 0.1 else {}
        made += [{"type": "buyer", "buyer": "X", **group}, {"type": "buyer", "buyer": "Y"}]
        made += [
            {
                "type": "deposit", "role": "buyer", "member": "X", "transfer": 1,
                "amount": rng.choice((20, 40, *[1000] * 10)),
            },
            {"type": "deposit", "role": "buyer", "member": "Y", "transfer": 1, "amount": 1000},
        ]  # fmt: skip
        for model in ("m", "n"):
            made.append(
                {
                    "type": "model", "model": model, "family": "f", "params_m": 1,
                    "context_limit": 8, "card_in": 0, "card_out": rng.choice((1000, 3000, 6000)),
                    "card_second": rng.choice((0, 2)),
                }
            )  # fmt: skip
            if rng.random() < 0.5:
                made.append(
                    {
                        "type": "price_card", "model": model, "band": rng.choice((5, 10, 0)),
                        "card_in": 1000, "card_out": rng.choice((0, 2000, 9000)), "card_second": 0,
                    }
                )  # fmt: skip
        made.append(
            {
                "type": "metro",
                "metro": "paris",
                "lat": 45,
                "lon": 4,
                "country": "FR",
                "population": 7,
            }
        )
        made.append({"type": "adapter", "adapter": "lora", "model": "m"})
        for site in SITES:
            made.append(
                {
                    "type": "site", "site": site, "operator": site[0],
                    "tier": rng.choice(lists.TIERS[:3]), "lat": 45, "lon": 4.25,
                    "country": rng.choice((None, *COUNTRIES)),
                    "data_countries": self.some(COUNTRIES),
                    "certifications": self.some(CERTIFICATIONS), "asns": self.some(ASNS),
                }
            )  # fmt: skip
            made.append(
                {
                    "type": "site_trust", "site": site, "trust": rng.randint(0, 3),
                    "latency_margin_us": rng.choice((0, 0, 700)),
                }
            )  # fmt: skip
            p99_us = rng.choice((0, 1, 1, 4000, 4000, 4000, 6000, 12_000, None))
            made.append({"type": "rtt", "site": site, "metro": "paris", "p99_us": p99_us})
        made.append(
            {"type": "deal", "deal": "A/d", "operator": "A", "buyers": self.some(("X", "Y"))}
        )
        made += [self.offer(number) for number in range(1, rng.randint(3, 24))]
        made.append(self.campaign())
        if rng.random() < 0.3:
            made.append({"type": "campaign", "buyer": "Y", "campaign": "r", "models": [{"model": "m"}],
                         "latency_budget_us": 20_000, "max_unit_price": 5000})  # fmt: skip
            made += [
                {
                    "type": "bid", "buyer": "Y", "bid": bid, "campaign": "r", "origin": "paris",
                    "tokens_in": 1, "tokens_out": 1, "lease_us": rng.choice((1, 3_000_000)),
                    "rest_us": rng.choice((0, 1, 5_000_000)),
                }
                for bid in (1, 2)
            ]  # fmt: skip
        return made

    def offer(self, number: int) -> dict[str, Any]:
        rng = self.rng
        site = rng.choice(SITES)
        deal = {"deal": "A/d"} if site[0] == "A" and rng.random() < 0.3 else {}
        return {
            "type": "offer", "site": site, "offer": number, "model": rng.choice("mmmn"),
            "hardware": rng.choice(lists.HARDWARE[:3]), "precision": rng.choice(lists.PRECISIONS[:2]),
            "contract": rng.choice(lists.CONTRACTS), "ask_in": rng.choice((0, 500, 1000)),
            "ask_out": rng.choice((0, 1000, 2000, 3000)), "ask_second": rng.choice((0, 0, 0, 1)),
            "slots": rng.choice((0, 1, 1, 2, 3)), "ttft_us": rng.choice((0, 1, 900)),
            "prefill_ns_per_token": rng.choice((0, 1000)),
            "tokens_per_second": rng.choice((0, 5, 10, 143, 1234)),
            "context_limit": rng.choice((4, 8, 8)), "cold_start_us": rng.choice((0, 0, 0, 0, 2)),
            "adapters": rng.choice(([], ["lora"])), "adapter_load_us": rng.choice((0, 0, 3)),
            "capabilities": self.some(CAPABILITIES), "ttl_us": 1 if rng.random() < 0.07 else 60_000_000,
            **deal,
        }  # fmt: skip

    def campaign(self) -> dict[str, Any]:
        rng = self.rng
        models = [{"model": "m", "markdown": rng.choice((0, 1))}]
        if rng.random() < 0.5:
            models.append({"model": "n"})
        return {
            "type": "campaign", "campaign": "c", "buyer": "X", "models": models,
            "latency_budget_us": rng.choice((3, 5000, 5001, 10_000, 300_000, 300_000, 10**9)),
            "max_unit_price": rng.choice((0, 2000, 5000, 8000, 12_000)),
            "residency": self.listed(COUNTRIES), "data_residency": self.listed(COUNTRIES),
            "sovereignty": self.listed(COUNTRIES), "certifications": self.listed(CERTIFICATIONS),
            "capabilities": self.listed(CAPABILITIES), "tiers": self.listed(lists.TIERS[:3]),
            "hardware": self.listed(lists.HARDWARE[:3]),
            "precisions": self.listed(lists.PRECISIONS[:2]), "contracts": self.listed(lists.CONTRACTS),
            "allow_operators": self.listed(OPERATORS), "deny_operators": self.listed(OPERATORS),
            "peering": rng.random() < self.set_chance,
            "min_trust": rng.choice((0, 2, 3)) if rng.random() < self.set_chance else 0,
            "min_tokens_per_second": rng.choice((10, 150, 2000)) if rng.random() < self.set_chance else 0,
            "accept_cold": rng.random() < 0.6, "time_value": rng.choice((0, 0, 1, 2)),
        }  # fmt: skip

    def bid(self) -> dict[str, Any]:
        rng = self.rng
        fields: dict[str, Any] = {
            "type": "bid", "buyer": "X", "bid": 1, "campaign": "c", "origin": "paris",
            "origin_asn": rng.choice((0, *ASNS)), "tokens_in": rng.choice((0, 1)),
            "tokens_out": rng.choice((1, 2, 3)), "adapter": rng.choice(("", "", "", "", "lora")),
            "quantity": rng.choice((1, 1, 2, 3, 5)), "rest_us": rng.choice((0, 0, 5_000_000)),
            "lease_us": rng.choice((1_000_000, 3_000_000)),
        }  # fmt: skip
        if rng.random() < 0.2:
            fields["latency_budget_us"] = rng.choice((0, 4000, 6001))
        if rng.random() < 0.4:
            fields["max_price"] = rng.randint(0, 40)
        return fields
