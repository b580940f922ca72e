"""What the demo's world and demand come to: `python -m bench.demo_market [SECONDS] [TRACE.csv.gz]`.

Runs the market offline through the reference engine: the operators' adapters offer and report twice a
second, every fill starts at once and holds its slot for as long as the request would run. Prints per
campaign what filled, what was contested and why the rest did not fill, and prices by model and band.
The demo's cards, ceilings and budgets were set by looking at this. About 50 ms per bid.
"""

import gzip
import sys
import time
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from dsp_sdk.demo import demand, demand_trace
from matching_core.reference import ReferenceMarket
from schemas import commands as c
from schemas import events as e
from schemas.lists import BANDS_MS, band_of_budget
from schemas.report import KnownFill
from ssp_adapters import price_list
from ssp_adapters.contract import OfferFills
from ssp_adapters.demo.world import World, world

REPORT_EVERY_NS = 500_000_000
TTL_US = 60_000_000

Key = tuple[str, int]


class Sites:
    """All sites: what they offered, the fills they know, when each ends."""

    def __init__(self, made: World, market: ReferenceMarket) -> None:
        self.made = made
        self.market = market
        self.fleets = {
            name: price_list.read(fleet.samples()) for name, fleet in made.fleets.items()
        }
        self.standing: dict[Key, c.Offer] = {}
        self.known: dict[Key, dict[int, KnownFill]] = defaultdict(dict)
        self.ends: list[tuple[int, Key, int]] = []

    def report(self, now_ns: int) -> None:
        """Send what changed, as the runner would."""
        for _, key, ordinal in [end for end in self.ends if end[0] <= now_ns]:
            self.known[key][ordinal] = KnownFill(ordinal, "ended")
        self.ends = [end for end in self.ends if end[0] > now_ns]
        told: dict[str, list[OfferFills]] = defaultdict(list)
        for (site, number), fills in self.known.items():
            told[site.partition("/")[0]].append(
                OfferFills(site=site, offer=number, fills=tuple(fills.values()))
            )
        for name, fleet in self.fleets.items():
            state = replace(fleet, fills=tuple(told[name]))
            for offer in price_list.offers(state, self.made.fleets[name].policy, 0):
                self._send(offer, now_ns)

    def _send(self, offer: c.Offer, now_ns: int) -> None:
        key = offer.site, offer.offer
        old = self.standing.get(key)
        if old == offer:
            return
        self.standing[key] = offer
        send: c.Offer | c.Refresh = replace(offer, at=now_ns, ttl_us=TTL_US)
        if old is not None and (old.ask_in, old.ask_out) == (offer.ask_in, offer.ask_out):
            send = c.Refresh(
                at=now_ns,
                site=offer.site,
                offer=offer.offer,
                slots=offer.slots,
                fills_seen=offer.fills_seen,
                ttft_us=offer.ttft_us,
                prefill_ns_per_token=offer.prefill_ns_per_token,
                tokens_per_second=offer.tokens_per_second,
                ttl_us=TTL_US,
            )
        events = self.market.apply(send)
        assert not [event for event in events if isinstance(event, e.Rejected)], (send, events)

    def serve(self, fill: e.Fill, now_ns: int) -> None:
        """Take a request up: it ends after its latency and its tokens."""
        key = fill.site, fill.offer
        self.known[key][fill.ordinal] = KnownFill(fill.ordinal, "started")
        decode_ns = fill.tokens_out * 10**9 // self.standing[key].tokens_per_second
        self.ends.append((now_ns + 1000 * fill.latency_us + decode_ns, key, fill.ordinal))


class Tally:
    """What became of the bids."""

    def __init__(self) -> None:
        self.of_campaign: dict[str, Counter[str]] = defaultdict(Counter)
        self.prices: dict[tuple[str, int], list[float]] = defaultdict(list)
        self.tiers: Counter[str] = Counter()
        self.revenue_nusd: Counter[str] = Counter()

    def note(self, name: str, budget_us: int, event: e.AnyEvent) -> None:
        """Count one event of a bid."""
        count = self.of_campaign[name]
        if isinstance(event, e.Fill):
            count["filled"] += 1
            count["contested"] += event.contested
            tokens = event.tokens_in + event.tokens_out
            band = BANDS_MS[band_of_budget(budget_us)]
            self.prices[event.model, band].append(event.price / tokens / 1000)
            self.tiers[event.tier] += 1
            self.revenue_nusd[event.operator] += event.price
        elif isinstance(event, e.Unfilled):
            count[event.reason] += 1
        elif isinstance(event, e.Rejected):
            count[f"rejected: {event.reason}"] += 1

    def show(self) -> None:
        """Print the tables."""
        whole: Counter[str] = Counter()
        for count in self.of_campaign.values():
            whole.update(count)
        for name, count in chain(sorted(self.of_campaign.items()), [("all", whole)]):
            bids = sum(count.values()) - count["contested"]
            rest = {k: v for k, v in count.most_common() if k not in {"filled", "contested"}}
            contested = count["contested"] / max(1, count["filled"])
            print(
                f"{name:22}{bids:6} bids  filled {count['filled'] / bids:6.1%}  "
                f"contested {contested:6.1%}  {rest or ''}"
            )
        print(
            "median price, dollars per million tokens, in and out together, by model and band in ms"
        )
        for (model, band), found in sorted(self.prices.items()):
            print(f"  {model:20}{band:5}{median(found):9.4f}  of {len(found)}")
        print("fills by tier:", dict(self.tiers.most_common()))
        print("revenue, dollars:", {k: v / 1e9 for k, v in self.revenue_nusd.most_common()})


def main(seconds: float, trace: Path | None) -> None:
    """Run the demo's market offline for so many seconds of its time, and print the tally."""
    made, market, tally = world(), ReferenceMarket(), Tally()
    campaigns = {(x.buyer, x.campaign): x for plan in demand.buyers() for x in plan.campaigns}
    for command in (*made.commands(), *demand.admin(), *campaigns.values()):
        assert not market.apply(command), command
    sites = Sites(made, market)
    sites.report(0)
    print(f"{len(made.sites)} sites, {len(sites.standing)} offers, {len(made.rtts)} round trips")
    requests = demand_trace.generate(made.seed)
    if trace is not None:
        with gzip.open(trace, "rt", encoding="utf-8") as file:
            requests = demand_trace.replay(demand_trace.read_trace(file, trace.name))
    found = demand.arrivals(
        seed=made.seed, metros=made.metros, home_metro=made.real.metro, requests=requests
    )
    next_ns, began = REPORT_EVERY_NS, time.perf_counter()
    for number, a in enumerate(demand.until(found, seconds), 1):
        if a.t_ns >= next_ns:
            sites.report(a.t_ns)
            next_ns += REPORT_EVERY_NS
        bid = c.Bid(
            at=a.t_ns,
            buyer=a.buyer,
            bid=number,
            campaign=a.campaign,
            origin=a.origin,
            origin_asn=a.origin_asn,
            tokens_in=a.tokens_in,
            tokens_out=a.tokens_out,
            latency_budget_us=a.latency_budget_us,
            lease_us=a.lease_us,
        )
        budget_us = a.latency_budget_us or campaigns[a.buyer, a.campaign].latency_budget_us
        for event in market.apply(bid):
            tally.note(f"{a.buyer}/{a.campaign}", budget_us, event)
            if isinstance(event, e.Fill):
                sites.serve(event, a.t_ns)
    tally.show()
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 1.0,
        Path(sys.argv[2]) if len(sys.argv) > 2 else None,
    )
