"""Who bids what when: the trace's requests, each given to a buyer and to a place, `speed` times as fast.

    trace or generator ─ t, service, tokens ─► campaign (by service and size, then by share)
                                             ► origin (a metro of that campaign, by its people)
    and every 2 s one short request of the buyer whom only the real site can serve

Pure: the same seed, metros and requests give the same arrivals. The caller waits and bids.
"""

import heapq
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np

from dsp_sdk.demo.demand_buyers import (
    BUYERS,
    LEASE_US,
    PATTERNS,
    REAL_BUYER,
    REAL_CAMPAIGN,
    REAL_EVERY_US,
    REAL_TOKENS_IN,
    REAL_TOKENS_OUT,
    BuyerPlan,
    Pattern,
)  # fmt: skip
from dsp_sdk.demo.demand_trace import RATE_PER_S, Request
from schemas.commands import AnyCommand, Buyer, Deposit, Metro
from schemas.jurisdictions import expand

SPEED_DEFAULT: Final = 60  # 8.02 × 60 = 481 bids/s
_NS_PER_US: Final = 1_000


class Arrival(NamedTuple):
    """One bid to make, `t_ns` after the start. None: the campaign's own budget stands."""

    t_ns: int
    buyer: str
    campaign: str
    origin: str
    origin_asn: int
    tokens_in: int
    tokens_out: int
    latency_budget_us: int | None
    lease_us: int


def buyers() -> tuple[BuyerPlan, ...]:
    """Return all buyers with their goals and campaigns."""
    return BUYERS


def admin() -> tuple[AnyCommand, ...]:
    """Return what the admin says before they can bid: the buyers and their deposits."""
    return tuple(
        command
        for plan in BUYERS
        for command in (
            Buyer(at=0, buyer=plan.buyer),
            Deposit(
                at=0, role="buyer", member=plan.buyer, transfer=1, amount=plan.deposit_nusd
            ),
        )
    )  # fmt: skip


def speed_of_rate(bids_per_s: float) -> float:
    """Return the speed at which the trace gives so many bids a second on average."""
    return bids_per_s / RATE_PER_S


class _Crowd:
    """Metros to draw an origin from, weighted by people."""

    def __init__(self, metros: Sequence[Metro], origins: tuple[str, ...]) -> None:
        allowed = frozenset(expand(origins))
        self.metros = [m for m in metros if not allowed or m.country in allowed]
        if not self.metros:
            raise ValueError(f"metros: none of them lies in {', '.join(origins)}")
        self.people = list(accumulate(max(1, metro.population) for metro in self.metros))

    def draw(self, ticket: float) -> Metro:
        return self.metros[bisect(self.people, ticket * self.people[-1])]


def _real_arrivals(origin: str, asn: int) -> Iterator[Arrival]:
    t_us = REAL_EVERY_US // 4
    while True:
        yield Arrival(
            t_us * _NS_PER_US, REAL_BUYER, REAL_CAMPAIGN, origin, asn, REAL_TOKENS_IN,
            REAL_TOKENS_OUT, None, LEASE_US,
        )  # fmt: skip
        t_us += REAL_EVERY_US


def _traced(
    seed: int, metros: Sequence[Metro], requests: Iterable[Request], speed: float,
    asns: Mapping[str, Sequence[int]],
) -> Iterator[Arrival]:  # fmt: skip
    draws = np.random.Generator(np.random.PCG64([seed, 4]))
    crowds = {pattern.origins: _Crowd(metros, pattern.origins) for pattern in PATTERNS}
    for request in requests:
        able = [
            pattern
            for pattern in PATTERNS
            if pattern.service == request.service
            and pattern.tokens_in_min <= request.input_tokens <= pattern.tokens_in_max
        ]
        if not able:
            continue
        of_campaign, of_origin, of_network = draws.random(3).tolist()
        shares = list(accumulate(pattern.share for pattern in able))
        pattern: Pattern = able[bisect(shares, of_campaign * shares[-1])]
        metro = crowds[pattern.origins].draw(of_origin)
        networks = asns.get(metro.metro, ())
        yield Arrival(
            t_ns=round(request.t_us * _NS_PER_US / speed),
            buyer=pattern.buyer,
            campaign=pattern.campaign,
            origin=metro.metro,
            origin_asn=networks[int(of_network * len(networks))] if networks else 0,
            tokens_in=request.input_tokens,
            tokens_out=request.output_tokens,
            latency_budget_us=pattern.budget_us(request.input_tokens),
            lease_us=LEASE_US,
        )


def arrivals(
    *,
    seed: int,
    metros: Sequence[Metro],
    home_metro: str,
    requests: Iterable[Request],
    speed: float = SPEED_DEFAULT,
    asns: Mapping[str, Sequence[int]] | None = None,
) -> Iterator[Arrival]:
    """Yield bids in order of time, for as long as `requests` last (`generate`, `replay`: for ever).

    `metros`: where people are; `home_metro`: where the real site's buyer is; `asns`: access networks
    by metro, without which networks are unknown (0). Requests of a service nobody here takes are left
    out. Raises ValueError when a campaign has no metro to come from.
    """
    networks = asns or {}
    home = networks.get(home_metro, ())
    return heapq.merge(
        _traced(seed, metros, requests, speed, networks),
        _real_arrivals(home_metro, home[0] if home else 0),
    )


def until(found: Iterable[Arrival], seconds: float) -> Iterator[Arrival]:
    """Yield arrivals up to a time."""
    end_ns = round(seconds * 10**9)
    for arrival in found:
        if arrival.t_ns >= end_ns:
            return
        yield arrival
