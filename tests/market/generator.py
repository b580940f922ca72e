"""Market files made by chance: all commands, small numbers so that ties and limits are common.

    commands(seed, count)       a long plausible run from one seed
    commands_from(entropy)      one command per number: what Hypothesis shrinks by dropping numbers
    market_files(count_max)     the Hypothesis strategy

The generator runs the reference beside it, only to know what is going on: which fills are open, who
has bids at rest, what stands. Names are mostly known ones, unknown sometimes. Time moves by nothing,
by a few µs (as long as small leases, rests and times to live are) or by seconds and hours, so that
everything that can expire does, often several things at one moment. Prices are 0 to 12 n$, tokens 0
to 3, slots 0 to 3: two of anything are equal about once in ten.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from matching_core.reference import ReferenceMarket
from schemas import limits, lists
from schemas.commands import COMMAND_OF_NAME, AnyCommand

OPERATORS = ("A", "B", "C")
BUYERS = ("X", "Y", "Z", "A")  # a buyer and an operator of one name are one group
GROUPS = ("A", "g")
MODELS = ("m", "n")
METROS = ("paris", "lyon")
SITES = ("A/1", "A/2", "B/1", "C/1")
DEALS = ("A/d", "B/d")
ADAPTERS = ("lora-m", "lora-n", "lora-2")
CAMPAIGNS = ("c", "d", "e", "f")
COUNTRIES = ("DE", "FR", "US")
CERTIFICATIONS = ("hipaa", "soc2")
CAPABILITIES = ("streaming", "tools")
ASNS = (3215, 64512)
START_NS = 1_700_000_000_000_000_000

# How often each kind is drawn: what moves the market most, reference data seldom.
WEIGHTS = {
    "bid": 30, "offer": 20, "refresh": 10, "start": 7, "complete": 14, "release": 5, "decline": 2,
    "resolve": 2, "renew": 4, "offer_cancel": 1, "offers_cancel": 1, "campaign": 5,
    "campaign_end": 2, "bid_cancel": 2, "bids_cancel": 1, "clock": 3, "deposit": 4, "withdraw": 2,
    "rules": 1, "model": 1, "price_card": 2, "metro": 1, "site": 2, "site_trust": 2, "rtt": 3,
    "halt": 1, "resume": 4, "deal": 1, "adapter": 1, "operator": 1, "buyer": 1,
}  # fmt: skip
assert set(WEIGHTS) == set(COMMAND_OF_NAME)

# The commands about fills, and the states that accept them.
OF_FILLS = {
    "start": ("leased",), "release": ("leased",), "decline": ("leased", "started"),
    "complete": ("leased", "started"), "resolve": ("disputed",),
}  # fmt: skip

PRELUDE = (
    *(("operator", name) for name in OPERATORS), *(("buyer", name) for name in BUYERS),
    *(("deposit", name) for name in BUYERS), *(("model", name) for name in MODELS),
    *(("metro", name) for name in METROS), *(("site", name) for name in SITES),
    *(("rtt", name) for name in SITES), *(("rtt", name) for name in SITES),
    *(("deal", name) for name in DEALS), *(("adapter", name) for name in ADAPTERS),
    *(("campaign", name) for name in BUYERS),
)  # fmt: skip


def commands(seed: int, count: int) -> list[AnyCommand]:
    """Return `count` commands, the same for the same seed."""
    rng = random.Random(seed)
    maker = Maker()
    for kind, name in PRELUDE[:count]:
        maker.make(rng, kind, name)
    while len(maker.commands) < count:
        maker.next(rng)
    return maker.commands[:count]


def commands_from(entropy: list[int]) -> list[AnyCommand]:
    """Return a small opened world, then one command per number (some make a burst)."""
    maker = Maker()
    opening = random.Random(entropy[0] if entropy else 0)
    for kind, name in PRELUDE:
        maker.make(opening, kind, name)
    for number in entropy:
        maker.next(random.Random(number))
    return maker.commands


def market_files(count_max: int = 60) -> st.SearchStrategy[list[AnyCommand]]:
    """Return a strategy for market files; a failing one shrinks to the commands that matter."""
    numbers = st.integers(0, 2**32 - 1)
    return st.lists(numbers, min_size=1, max_size=count_max).map(commands_from)


class Maker:
    """Makes commands one by one, each plausible after those before it."""

    def __init__(self) -> None:
        self.market = ReferenceMarket()
        self.state = self.market._state
        self.commands: list[AnyCommand] = []
        self.at = START_NS
        self.rng = random.Random(0)
        self.made_of_kind: dict[str, Callable[[str | None], dict[str, Any]]] = {
            kind: getattr(self, f"_{kind}") for kind in WEIGHTS
        }

    def next(self, rng: random.Random) -> None:
        """Make one command, or rarely a burst of bids or a rush for capacity."""
        roll = rng.random()
        if roll < 0.0005:
            self._burst(rng)
            return
        if roll < 0.01:
            self._rush(rng)
            return
        kinds, weights = zip(*WEIGHTS.items(), strict=True)
        self.at += self._step(rng)
        kind = rng.choices(kinds, weights)[0]
        if rng.random() < 0.9:  # what has nothing to be about makes room for what creates it
            if kind in OF_FILLS and not self._has_fill(kind):
                kind = "bid"
            if kind in {"bid", "refresh", "offer_cancel"} and len(self.state.offers) < 2:
                kind = "offer"
        self.make(rng, kind)

    def make(
        self, rng: random.Random, kind: str, name: str | None = None, **fixed: int | str
    ) -> None:
        """Make a command of a kind, about `name` when it is given, with some fields fixed."""
        self.rng = rng
        fields = self.made_of_kind[kind](name) | fixed
        command = msgspec.convert({"type": kind, "at": self.at} | fields, AnyCommand)
        self.commands.append(command)
        self.market.apply(command)

    def _has_fill(self, kind: str) -> bool:
        return any(fill.state in OF_FILLS[kind] for fill in self.state.fills.values())

    # ------------------------------------------------------------------------- chance
    def _step(self, rng: random.Random) -> int:
        """Return how many ns pass: mostly none or as much as small lives last."""
        roll = rng.random()
        if roll < 0.60:
            return 0
        if roll < 0.90:
            return rng.choice((1, 500, 1000, 1000, 2000, 3000))
        if roll < 0.995:
            return rng.choice((10**6, 10**6, 10**9, 2 * 10**9, 3 * 10**9))
        return rng.choice((60 * 10**9, 600 * 10**9, 21_600 * 10**9, 86_400 * 10**9))

    def _life_us(self) -> int:
        """Return µs: as little as a small step, or so much that only large steps end it."""
        if self.rng.random() < 0.2:
            return self.rng.choice((1, 1, 2, 3))
        return self.rng.choice((1_000_000, 3_000_000, 20_000_000, 60_000_000, 60_000_000))

    def _known(self, names: tuple[str, ...]) -> str:
        """Return one of the names, and one that nobody ever gave once in 25."""
        return "nobody" if self.rng.random() < 0.04 else self.rng.choice(names)

    def _some(self, entries: tuple[Any, ...]) -> list[Any]:
        """Return a few entries, each once, in any order."""
        return self.rng.sample(entries, self.rng.randint(0, len(entries)))

    def _rarely(self, chance: float, entries: tuple[Any, ...]) -> list[Any]:
        """Return a few entries with this chance, else none: a rule that is set, or not."""
        return self._some(entries) if self.rng.random() < chance else []

    def _asks(self, prefix: str) -> dict[str, int]:
        """Return unit prices of an ask, or of a card, which must be higher for rivals to matter."""
        high = 3 if prefix == "card" else 1
        return {
            f"{prefix}_in": high * self.rng.choice((0, 0, 500, 1000, 2000)),
            f"{prefix}_out": high * self.rng.choice((0, 500, 1000, 1000, 2000, 3000)),
            f"{prefix}_second": self.rng.choice((0, 0, 0, 1, 2)),
        }

    def _maybe(self, **choices: Callable[[], Any]) -> dict[str, Any]:
        """Return each field with chance one half: the others stay at their default."""
        return {field: choose() for field, choose in choices.items() if self.rng.random() < 0.5}

    # ------------------------------------------------------------------------- admin
    def _operator(self, name: str | None) -> dict[str, Any]:
        fields = self._maybe(
            group=lambda: self.rng.choice((*OPERATORS, *GROUPS)),
            control=lambda: self._some(COUNTRIES),
        )
        return {"operator": name or self.rng.choice(OPERATORS)} | fields

    def _buyer(self, name: str | None) -> dict[str, Any]:
        fields = self._maybe(group=lambda: self.rng.choice((*BUYERS, *GROUPS)))
        return {"buyer": name or self.rng.choice(BUYERS)} | fields

    def _deposit(self, name: str | None) -> dict[str, Any]:
        fields = self._transfer(name)
        if name is None and self.rng.random() < 0.1:  # five of them pass the limit of all deposits
            fields |= {"role": "operator", "member": self._known(OPERATORS)}
            fields["transfer"] = self._transfer_number("operator", fields["member"])
            fields["amount"] = limits.AMOUNT_NUSD_MAX
        return fields

    def _withdraw(self, name: str | None) -> dict[str, Any]:
        fields = self._transfer(name)
        if self.rng.random() < 0.1:
            fields["amount"] = limits.AMOUNT_NUSD_MAX
        return fields

    def _transfer(self, name: str | None) -> dict[str, Any]:
        role = "buyer" if name or self.rng.random() < 0.8 else "operator"
        member = name or self._known(BUYERS if role == "buyer" else OPERATORS)
        number = self._transfer_number(role, member)
        return {
            "role": role, "member": member, "transfer": number,
            "amount": self.rng.randint(1, 200),
        }  # fmt: skip

    def _transfer_number(self, role: str, member: str) -> int:
        accounts: dict[str, Any] = self.state.buyers if role == "buyer" else self.state.operators
        last: int = accounts[member].last_transfer if member in accounts else 0
        return max(1, last + self.rng.choice((0, 1, 1, 1, 1, 1, 1, 2)))

    def _rules(self, _name: str | None) -> dict[str, Any]:
        return self._maybe(
            take_rate_ppm=lambda: self.rng.choice((0, 100_000, 1_000_000)),
            rent_ppm_per_s=lambda: self.rng.choice((0, 10_000, 1_000_000)),
            tolerance_ppm=lambda: self.rng.choice((0, 20_000, 500_000, 1_000_000)),
            settle_us=lambda: self.rng.choice((0, 1, 3, 10**6, 21_600 * 10**6)),
            deliver_us=lambda: self.rng.choice((0, 2, 3, 10**6, 600 * 10**6)),
            dispute_us=lambda: self.rng.choice((0, 2, 10**6, 86_400 * 10**6)),
        )

    def _model(self, name: str | None) -> dict[str, Any]:
        return {
            "model": name or self.rng.choice(MODELS), "family": "f", "params_m": 1,
            "context_limit": 8, **self._asks("card"),
        }  # fmt: skip

    def _price_card(self, _name: str | None) -> dict[str, Any]:
        band = self.rng.choice((5, 10, 250, 0))
        return {"model": self._known(MODELS), "band": band, **self._asks("card")}

    def _metro(self, name: str | None) -> dict[str, Any]:
        return {
            "metro": name or self.rng.choice(METROS), "lat": 45.5, "lon": self.rng.choice((4, 4.5)),
            "country": "FR", "population": 7,
        }  # fmt: skip

    def _site(self, name: str | None) -> dict[str, Any]:
        site = name or self.rng.choice(SITES)
        right = name is not None or self.rng.random() < 0.8
        return {
            "site": site, "operator": site[0] if right else self.rng.choice(("B", "nobody")),
            "tier": self.rng.choice(lists.TIERS[:3]), "lat": 45, "lon": 4.25,
            "country": self.rng.choice((None, *COUNTRIES)),
            "data_countries": self._some(COUNTRIES), "certifications": self._some(CERTIFICATIONS),
            "asns": self._some(ASNS),
        }  # fmt: skip

    def _resolve(self, _name: str | None) -> dict[str, Any]:
        fill = self._fill(*OF_FILLS["resolve"])
        price = self.state.fills[fill].price if fill in self.state.fills else 5
        return {"fill": fill, "amount": self.rng.randint(0, price + (self.rng.random() < 0.2))}

    # ------------------------------------------------------------------------- verifier, halts
    def _site_trust(self, _name: str | None) -> dict[str, Any]:
        return {"site": self._known(SITES)} | self._maybe(
            trust=lambda: self.rng.randint(0, 3),
            latency_margin_us=lambda: self.rng.choice((0, 0, 1, 2000)),
        )

    def _rtt(self, name: str | None) -> dict[str, Any]:
        p99_us = self.rng.choice((0, 0, 1, 3, 3, 4000, 4000, 4000, 6000, None))
        return {
            "site": name or self._known(SITES), "metro": self._known(METROS), "p99_us": p99_us,
            "estimate": self.rng.random() < 0.5,
        }  # fmt: skip

    def _halt(self, _name: str | None) -> dict[str, Any]:
        scope = self.rng.choice(lists.SCOPES)
        names = {"operator": OPERATORS, "site": SITES, "model": MODELS, "buyer": BUYERS}
        name = self._known(names[scope]) if scope in names else ""
        return {"scope": scope, "name": name, "by": self.rng.choice(lists.AUTHORITIES)}

    def _resume(self, _name: str | None) -> dict[str, Any]:
        standing = sorted(self.state.halts)
        if standing and self.rng.random() < 0.8:
            scope, name, by = self.rng.choice(standing)
            return {"scope": scope, "name": name, "by": by}
        return self._halt(None)

    # ------------------------------------------------------------------------- operator
    def _deal(self, name: str | None) -> dict[str, Any]:
        deal = name or self.rng.choice(DEALS)
        operator = deal[0] if name or self.rng.random() < 0.9 else self._known(OPERATORS)
        buyers = self._some(BUYERS) if self.rng.random() < 0.9 else ["nobody"]
        return {"deal": deal, "operator": operator, "buyers": buyers}

    def _adapter(self, name: str | None) -> dict[str, Any]:
        adapter = name or self.rng.choice(ADAPTERS)
        base = "n" if adapter == "lora-n" else "m"
        return {
            "adapter": adapter, "model": base if self.rng.random() < 0.9 else self._known(MODELS)
        }  # fmt: skip

    def _offer(self, _name: str | None) -> dict[str, Any]:
        site, offer = self._known(SITES), self.rng.randint(1, 2)
        model = self._known(MODELS) if self.rng.random() < 0.2 else "m"
        adapters = ("lora-n",) if model == "n" else ("lora-m", "lora-2")
        fields: dict[str, Any] = {
            "site": site, "offer": offer, "model": model,
            "hardware": self.rng.choice(lists.HARDWARE[:2]), **self._asks("ask"),
            "slots": self.rng.choice((0, 1, 1, 2, 3, 5)),
            "fills_seen": self._fills_seen(site, offer),
            "ttft_us": self.rng.choice((0, 0, 1, 3)), "context_limit": self.rng.choice((4, 8, 8, 8)),
            "ttl_us": self._life_us(),
        }  # fmt: skip
        fields |= self._maybe(
            precision=lambda: self.rng.choice(lists.PRECISIONS[:2]),
            contract=lambda: self.rng.choice(lists.CONTRACTS),
            prefill_ns_per_token=lambda: self.rng.choice((0, 400, 1000)),
            tokens_per_second=lambda: self.rng.choice((0, 5, 10)),
            capabilities=lambda: self._some(CAPABILITIES),
        )
        if self.rng.random() < 0.12:
            fields["cold_start_us"] = self.rng.choice((1, 2))
        if self.rng.random() < 0.3:
            fields["adapter_load_us"] = self.rng.choice((1, 2))
        fields["adapters"] = self._rarely(0.3, adapters if self.rng.random() < 0.9 else ADAPTERS)
        if self.rng.random() < 0.15:
            right = f"{site[0]}/d"
            fields["deal"] = right if self.rng.random() < 0.9 else self._known(DEALS)
        return fields

    def _fills_seen(self, site: str, offer: int) -> int:
        name = self.state.names.get((site, offer))
        made = name.fills_made if name else 0
        return self.rng.choice(
            (0, made, made, made, made, made, max(0, made - 1), made + (self.rng.random() < 0.3))
        )

    def _refresh(self, _name: str | None) -> dict[str, Any]:
        site, offer = self._standing_offer()
        return {
            "site": site, "offer": offer, "slots": self.rng.choice((0, 1, 2, 3, 3, 5)),
            "fills_seen": self._fills_seen(site, offer), "ttft_us": self.rng.choice((0, 1, 3)),
            "prefill_ns_per_token": self.rng.choice((0, 400, 1000)),
            "tokens_per_second": self.rng.choice((0, 5, 10)), "ttl_us": self._life_us(),
        }  # fmt: skip

    def _standing_offer(self) -> tuple[str, int]:
        if self.state.offers and self.rng.random() < 0.9:
            return self.rng.choice(sorted(self.state.offers))
        return self._known(SITES), self.rng.randint(1, 3)

    def _renew(self, _name: str | None) -> dict[str, Any]:
        return {"site": self._known(SITES), "ttl_us": self._life_us()}

    def _offer_cancel(self, _name: str | None) -> dict[str, Any]:
        site, offer = self._standing_offer()
        return {"site": site, "offer": offer}

    def _offers_cancel(self, _name: str | None) -> dict[str, Any]:
        return {"site": self._known(SITES)}

    def _start(self, _name: str | None) -> dict[str, Any]:
        return self._as_operator(self._fill(*OF_FILLS["start"]))

    def _decline(self, _name: str | None) -> dict[str, Any]:
        fields = self._as_operator(self._fill(*OF_FILLS["decline"]))
        return fields | {"reason": self.rng.choice(lists.DECLINE_REASONS)}

    def _fill(self, *states: str) -> int:
        """Return a fill in one of the states mostly, else any, ended, or one never made."""
        fitting = [fill.fill for fill in self.state.fills.values() if fill.state in states]
        if fitting and self.rng.random() < 0.9:
            return self.rng.choice(fitting[-6:])
        made = self.state.fills_made
        return made + 1 if self.rng.random() < 0.3 else self.rng.randint(1, made + 1)

    def _as_operator(self, fill: int) -> dict[str, Any]:
        members = self.state.members_of_fill(fill)
        right = members is not None and self.rng.random() < 0.95
        operator = members[1] if members and right else self._known(OPERATORS)
        return {"operator": operator, "fill": fill}

    # ------------------------------------------------------------------------- buyer
    def _campaign(self, name: str | None) -> dict[str, Any]:
        rng = self.rng
        first = "m" if rng.random() < 0.9 else self._known(MODELS)
        models = [{"model": first, "markdown": rng.choice((0, 0, 1, 3))}]
        if first == "m" and rng.random() < 0.3:
            models.append({"model": "n"})
        fields: dict[str, Any] = {
            "campaign": CAMPAIGNS[0] if name else rng.choice(CAMPAIGNS),
            "buyer": name or self._known(BUYERS), "models": models,
            "latency_budget_us": rng.choice((3, 5000, 5001, 10_000, 20_000, 300_000, 300_000)),
            "max_unit_price": rng.choice((1000, 3000, 5000, 12_000)),
            "residency": self._rarely(0.07, COUNTRIES),
            "data_residency": self._rarely(0.07, COUNTRIES),
            "sovereignty": self._rarely(0.07, COUNTRIES),
            "certifications": self._rarely(0.07, CERTIFICATIONS),
            "capabilities": self._rarely(0.07, CAPABILITIES),
            "tiers": self._rarely(0.07, lists.TIERS[:3]),
            "hardware": self._rarely(0.12, lists.HARDWARE[:2]),
            "precisions": self._rarely(0.07, lists.PRECISIONS[:2]),
            "contracts": self._rarely(0.07, lists.CONTRACTS),
            "allow_operators": self._rarely(0.07, OPERATORS),
            "deny_operators": self._rarely(0.07, OPERATORS),
            "peering": rng.random() < 0.07, "accept_cold": rng.random() < 0.7,
        }  # fmt: skip
        for field, values in (
            ("min_trust", (1, 2)), ("min_tokens_per_second", (5, 6)), ("time_value", (1, 400, 1000)),
        ):  # fmt: skip
            if rng.random() < 0.1:
                fields[field] = rng.choice(values)
        return fields

    def _campaign_end(self, _name: str | None) -> dict[str, Any]:
        buyer, campaign = self._standing_campaign()
        return {"buyer": buyer, "campaign": campaign}

    def _standing_campaign(self) -> tuple[str, str]:
        if self.state.campaigns and self.rng.random() < 0.97:
            return self.rng.choice(sorted(self.state.campaigns))
        return self._known(BUYERS), self.rng.choice(CAMPAIGNS)

    def _bid(self, name: str | None) -> dict[str, Any]:
        rng = self.rng
        buyer, campaign = self._standing_campaign()
        if name is not None:
            buyer = name
            mine = sorted(c for b, c in self.state.campaigns if b == name)
            campaign = mine[0] if mine else campaign
        agent = rng.choice((0, 0, 0, 7))
        known = self.state.buyers.get(buyer)
        last = known.last_bids.get(agent, 0) if known else 0
        fields: dict[str, Any] = {
            "buyer": buyer, "agent": agent, "bid": max(1, last + rng.choice((0, 1, 1, 1, 1, 1, 3))),
            "campaign": campaign, "origin": self._known(METROS),
            "origin_asn": rng.choice((0, *ASNS)),
            "tokens_in": rng.choice((0, 0, 1, 3)), "tokens_out": rng.randint(1, 3),
            "quantity": rng.choice((1, 1, 1, 2, 3)), "lease_us": self._life_us(),
        }  # fmt: skip
        if rng.random() < 0.6:
            fields["max_price"] = rng.choice((0, 3, 5, 6, 7, 8, 9, 10, 11, 12))
        if rng.random() < 0.2:
            fields["latency_budget_us"] = rng.choice((0, 2, 4000, 5001, 300_000))
        if rng.random() < 0.1:
            fields["adapter"] = self._known(ADAPTERS)
        if rng.random() < 0.5:
            fields["rest_us"] = self._life_us()
        return fields

    def _burst(self, rng: random.Random) -> None:
        """Fill a buyer's book of resting bids to its limit and beyond."""
        buyer = rng.choice(BUYERS)
        if not any(of == buyer for of, _ in self.state.campaigns):
            self.make(rng, "campaign", buyer)
        for _ in range(2 * limits.BIDS_AT_REST_MAX):  # a fifth of them are rejected
            self.make(rng, "bid", buyer, max_price=0, rest_us=60_000_000, quantity=1)

    def _rush(self, rng: random.Random) -> None:
        """Let several buyers rest and one slot come that they all want."""
        for buyer in rng.sample(BUYERS, 3):
            ceiling = rng.randint(6, 12)
            self.make(rng, "bid", buyer, max_price=ceiling, rest_us=60_000_000, adapter="")
        self.make(rng, "offer", slots=rng.choice((1, 2)), fills_seen=0, model="m", cold_start_us=0)

    def _bid_cancel(self, _name: str | None) -> dict[str, Any]:
        if self.state.resting and self.rng.random() < 0.9:
            buyer, agent, bid = self.rng.choice(sorted(self.state.resting))
            return {"buyer": buyer, "agent": agent, "bid": bid}
        return {"buyer": self._known(BUYERS), "bid": self.rng.randint(1, 5)}

    def _bids_cancel(self, _name: str | None) -> dict[str, Any]:
        return {"buyer": self._known(BUYERS), "agent": self.rng.choice((0, 0, 7))}

    def _release(self, _name: str | None) -> dict[str, Any]:
        fill = self._fill(*OF_FILLS["release"])
        return {"buyer": self._fill_member(fill, "buyer"), "fill": fill}

    def _complete(self, _name: str | None) -> dict[str, Any]:
        fill = self._fill("started") if self.rng.random() < 0.85 else self._fill("leased")
        role = self.rng.choice(lists.MEMBER_ROLES)
        return {
            "role": role, "member": self._fill_member(fill, role), "fill": fill,
            "tokens_in": self.rng.choice((0, 1, 3)), "tokens_out": self.rng.choice((0, 1, 2, 3)),
            "ttft_us": 5,
        }  # fmt: skip

    def _fill_member(self, fill: int, role: str) -> str:
        members = self.state.members_of_fill(fill)
        if members is None or self.rng.random() < 0.05:
            return self._known(BUYERS if role == "buyer" else OPERATORS)
        return members[0] if role == "buyer" else members[1]

    def _clock(self, _name: str | None) -> dict[str, Any]:
        return {}
