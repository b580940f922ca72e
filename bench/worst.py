"""Cases made on purpose to be bad for the core, each as a multiple of the median auction of W.

A case is a market and frames of bids; the time of every bid is taken inside compiled code
(stamps.py), and the median of W is taken at the same size in the same run. Commands that a case is
named for (a halt, a changed site, an offer before 100,000 resting units) are timed too, with their
call from Python; those are not bids. The digest is of all events of the bids that were measured.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from bench import stamps, worst_reasons
from bench.rates import FRAME_NS, LEASE_FRAMES, UPDATES, refresh_frame
from bench.workload import (
    BUYERS,
    FRAME,
    METROS,
    SEED,
    START_NS,
    Workload,
    draw_campaigns,
    make,
    reference_data,
    zipf,
)
from matching_core.event_rows import as_rows
from matching_core.market import Market
from schemas import commands as c
from schemas import records
from schemas.reasons import NO_FILL

Frames = list[tuple[int, np.ndarray]]


class Scale(NamedTuple):
    """How much of what: `bids` frames are measured per case."""

    offers: int
    sites: int
    models: int
    bids: int
    campaigns: int
    resting: int


FULL: Final = (10_000, 100_000)  # campaigns, resting units


class Case(NamedTuple):
    """A market, the bids to take the time of, and what else was timed on the way, ns each."""

    market: Market
    bids: Frames
    also_ns: dict[str, float]


class Base(NamedTuple):
    """W at the scale, and its market once opened, to be restored as often as it is needed."""

    scale: Scale
    w: Workload
    state: dict[str, Any]

    def market(self) -> Market:
        """Return a market of its own."""
        return Market.restore(self.state)


def report(
    scale: Scale, only: Iterable[str] = (), say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Return the median auction of W and every case, or those named."""
    say("worst cases: the median auction")
    w = make(scale.offers, LEASE_FRAMES + scale.bids + 1, sites=scale.sites, models=scale.models)
    market, _ = w.open()
    base = Base(scale, w, market.snapshot())
    for buyer, batch in w.bids[: min(LEASE_FRAMES, 4 * scale.bids)]:
        market.apply_frame(records.BID, batch, buyer, 0, market.at_ns + FRAME_NS)
    median = int(np.median(stamps.time_each(market, w.bids[LEASE_FRAMES:], FRAME_NS).ns))
    del market
    wanted = set(only)
    found = []
    for name, case in CASES.items():
        if not wanted or name in wanted:
            say(f"worst cases: {name}")
            found += _measure(name, case, base, median)
    if not wanted or REASONS in wanted:
        say(f"worst cases: {REASONS}, by reason")
        del base, w
        found += _reasons(scale, median)
    worst = max(found, key=lambda each: each["times_p99"])
    return {
        "offers": scale.offers,
        "median_ns": median,
        "worst": worst["case"],
        "worst_times": worst["times_p99"],
        "cases": found,
    }


def _measure(
    name: str, case: Callable[[Base], Case], base: Base, median: int
) -> list[dict[str, Any]]:
    market, bids, also_ns = case(base)
    return [_figures(name, market, bids, median, also_ns)]


def _figures(
    name: str, market: Market, bids: Frames, median: int, also_ns: dict[str, float]
) -> dict[str, Any]:
    stamped = stamps.time_each(market, bids, FRAME_NS)
    p50, p99 = (int(np.percentile(stamped.ns, at)) for at in (50, 99))
    return {
        "case": name,
        "bids": len(stamped.ns),
        "p50_ns": p50,
        "p99_ns": p99,
        "max_ns": int(stamped.ns.max()),
        "times_p50": round(p50 / median, 2),
        "times_p99": round(p99 / median, 2),
        "also_ns": {what: round(ns) for what, ns in also_ns.items()},
        "digest": stamped.digest,
    }


# ----------------------------------------------------------------------------- helpers
def _timed(market: Market, commands: list[c.AnyCommand]) -> float:
    """Return the median ns of a command by names, and that all were accepted is asserted."""
    spent = []
    for command in commands:
        given = msgspec.structs.replace(command, at=market.at_ns)
        begun = time.perf_counter_ns()
        events = market.apply(given)
        spent.append(time.perf_counter_ns() - begun)
        assert len(events) == 0
    return float(np.median(spent))


def _frames(market: Market, kind: int, batch: np.ndarray, size: int = UPDATES) -> float:
    """Apply records in frames at the time it is; returns ns per record."""
    begun = time.perf_counter_ns()
    for first in range(0, len(batch), size):
        market.apply_frame(kind, batch[first : first + size], 0, 0, market.at_ns)
    return (time.perf_counter_ns() - begun) / len(batch)


def _opened(w: Workload, bids: int) -> Case:
    """Open a workload; its own bids are the case's."""
    market, _ = w.open()
    return Case(market, w.bids[: bids + 1], {})


def _w(base: Base, models: int | None = None) -> Workload:
    scale = base.scale
    return make(
        scale.offers, scale.bids + 1, sites=scale.sites, models=models or scale.models, seed=SEED
    )


def _own(base: Base, campaign: int, buyer: int, seed: int) -> Frames:
    """Return frames of bids of one campaign, from anywhere."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(base.scale.bids + 1):
        batch = base.w.bids[n % len(base.w.bids)][1].copy()
        batch["bid"] = n * FRAME + 1 + np.arange(FRAME)
        batch["campaign"], batch["rest_us"] = campaign, 0
        batch["origin"] = zipf(rng, METROS, FRAME)
        made.append((buyer, batch))
    return made


# ----------------------------------------------------------------------------- cases
def rare_residency(base: Base) -> Case:
    """Three sites of the country asked for; the most common model, any latency, any price."""
    market = base.market()
    sites = [each for each in base.w.reference if isinstance(each, c.Site)]
    commands: list[c.AnyCommand] = [
        msgspec.structs.replace(site, country="ZZ") for site in sites[:: max(1, len(sites) // 3)]
    ]
    commands.append(
        c.Campaign(
            at=START_NS, campaign="rare", buyer="b1", models=(c.CampaignModel(model="m1"),),
            residency=("ZZ",), latency_budget_us=10_000_000, max_unit_price=10**9,
        )
    )  # fmt: skip
    for command in commands:
        assert len(market.apply(command)) == 0
    return Case(market, _own(base, market.handle_count("campaign"), 1, 1), {})


def one_model(base: Base) -> Case:
    """Every offer and every bid is for the same model."""
    return _opened(_w(base, models=1), base.scale.bids)


def all_ties(base: Base) -> Case:
    """All asks, times and round trips are the same: only the priority number tells offers apart."""
    w = _w(base)
    w.rtt_us[:] = 10_000
    w.offers["ask_in"], w.offers["ask_out"], w.offers["ttft_us"] = 400_000, 1_200_000, 5_000
    return _opened(w, base.scale.bids)


def one_owner(base: Base) -> Case:
    """All operators are of one group: nobody has a rival, however long one looks."""
    w = _w(base)
    w.reference = [
        msgspec.structs.replace(each, group="one") if isinstance(each, c.Operator) else each
        for each in w.reference
    ]
    return _opened(w, base.scale.bids)


def giant(base: Base) -> Case:
    """One operator has 95 % of the sites and with them of the book."""
    w = _w(base)
    w.sites["operator"][np.random.default_rng(1).random(len(w.sites)) < 0.95] = 1
    w.reference = reference_data(w.sites, base.scale.models)
    return _opened(w, base.scale.bids)


def campaigns(base: Base) -> Case:
    """Ten thousand campaigns bid, and sites, trust and an operator change under them."""
    market, count = base.market(), base.scale.campaigns
    more: list[c.Campaign] = []
    rng = np.random.default_rng(SEED)
    while len(base.w.campaigns) + len(more) < count:
        more += draw_campaigns(rng, base.scale.models)
    for n, each in enumerate(more[: count - len(base.w.campaigns)]):
        named = msgspec.structs.replace(each, campaign=f"more{n}")
        assert len(market.apply(named)) == 0
    sites = [each for each in base.w.reference if isinstance(each, c.Site)][:24]
    changed: list[c.AnyCommand] = [
        msgspec.structs.replace(each, certifications=("soc2", "hipaa")) for each in sites
    ]
    trusted: list[c.AnyCommand] = [
        c.SiteTrust(at=0, site=each.site, trust=n % 4) for n, each in enumerate(sites)
    ]
    operator: list[c.AnyCommand] = [c.Operator(at=0, operator="o1", control=("AA", "BB"))]
    also = {
        "a site changes": _timed(market, changed),
        "a site's trust changes": _timed(market, trusted),
        "an operator's control changes": _timed(market, operator),
    }
    frames = []
    for buyer, batch in base.w.bids[: base.scale.bids + 1]:
        drawn = batch.copy()
        drawn["campaign"] = buyer + BUYERS * rng.integers(0, count // BUYERS, FRAME)
        frames.append((buyer, drawn))
    return Case(market, frames, also)


def resting(base: Base) -> Case:
    """A hundred thousand units rest for the most common model; W's bids come, and capacity."""
    market, rng = base.market(), np.random.default_rng(3)
    buyers = 32
    quantity = -(-base.scale.resting // (64 * buyers))
    for n in range(1, buyers + 1):
        name = f"waits{n}"
        for command in (
            c.Buyer(at=START_NS, buyer=name),
            c.Deposit(at=START_NS, role="buyer", member=name, transfer=1, amount=2**50),
            c.Campaign(
                at=START_NS, campaign="waits", buyer=name, models=(c.CampaignModel(model="m1"),),
                latency_budget_us=1_000_000, max_unit_price=1_000 + n,
            ),
        ):  # fmt: skip
            assert len(market.apply(command)) == 0
        batch = base.w.bids[n % len(base.w.bids)][1][:64].copy()
        batch["bid"] = 1 + np.arange(64)
        batch["campaign"], batch["quantity"] = market.handle_count("campaign"), quantity
        batch["rest_us"] = 30_000_000
        batch["origin"] = zipf(rng, METROS, 64)
        handle = market.names.handle("buyer", name)
        market.apply_frame(records.BID, batch, handle, 0, market.at_ns)
    rest = market.counts()["resting_units"]
    assert rest == 64 * buyers * quantity
    common = base.w.offers[base.w.offers["model"] == 1]
    reports = np.concatenate([refresh_frame(market, common, UPDATES, rng) for _ in range(4)])
    cheap = common[rng.choice(len(common), min(64, len(common)), replace=False)].copy()
    cheap["ask_in"] = cheap["ask_out"] = 0
    cheap["slots"], cheap["fills_seen"] = 64, 0
    also = {
        f"a refresh before {rest} resting units": _frames(market, records.REFRESH, reports),
        "an offer that sells 64 slots to them": _frames(market, records.OFFER, cheap, 1),
    }
    assert rest - market.counts()["resting_units"] > 0
    begun = time.perf_counter_ns()
    ended = market.apply(c.Clock(at=market.at_ns + 30_000_000_000))
    also[f"the rest expires at once ({len(ended)} events)"] = time.perf_counter_ns() - begun
    return Case(market, base.w.bids[: base.scale.bids + 1], also)


def price_storm(base: Base) -> Case:
    """Every ask falls to an eighth and rises again: bounds that only follow falls are all loose."""
    market = base.market()
    low = base.w.offers.copy()
    low["ask_in"] //= 8
    low["ask_out"] //= 8
    also = {
        "an ask falls": _frames(market, records.OFFER, low),
        "an ask rises": _frames(market, records.OFFER, base.w.offers),
    }
    return Case(market, base.w.bids[: base.scale.bids + 1], also)


def halted(base: Base) -> Case:
    """The operator with the most offers is halted: bids pass its offers over."""
    market = base.market()
    name, standing = _largest(base)
    stop = c.Halt(at=0, scope="operator", name=name, by="admin")
    return Case(
        market, base.w.bids[: base.scale.bids + 1], {f"halt of {standing}": _timed(market, [stop])}
    )


def resumed(base: Base) -> Case:
    """The same, halted and resumed before the bids."""
    market = base.market()
    name, standing = _largest(base)
    stop = c.Halt(at=0, scope="operator", name=name, by="admin")
    again = c.Resume(at=0, scope="operator", name=name, by="admin")
    assert len(market.apply(msgspec.structs.replace(stop, at=market.at_ns))) == 0
    return Case(
        market,
        base.w.bids[: base.scale.bids + 1],
        {f"resume of {standing}": _timed(market, [again])},
    )


def _largest(base: Base) -> tuple[str, str]:
    operators = base.w.sites["operator"][base.w.offers["site"] - 1]
    counts = np.bincount(operators)
    return f"o{counts.argmax()}", f"{counts.max()} offers"


CASES: Final[dict[str, Callable[[Base], Case]]] = {
    "rare residency, loose budget": rare_residency,
    "one model with everything": one_model,
    "all ties": all_ties,
    "all rivals of one owner": one_owner,
    "an operator with 95 % of the book": giant,
    "10,000 campaigns, a site changes": campaigns,
    "100,000 resting units": resting,
    "a price storm loosened every bound": price_storm,
    "100,000 offers halted": halted,
    "100,000 offers halted and resumed": resumed,
}
REASONS: Final = "unfilled"


def _reasons(scale: Scale, median: int) -> list[dict[str, Any]]:
    """Return a row per reason; all on one book."""
    w = worst_reasons.book(scale.offers, scale.sites, scale.models)
    market, _ = w.open()
    rng = np.random.default_rng(4)
    found = []
    for reason in worst_reasons.REASONS:
        frames = worst_reasons.bids(reason, scale.bids + 2, rng)
        (buyer, batch), *others = frames
        rows = as_rows(market.apply_frame(records.BID, batch, buyer, 0, market.at_ns))
        expected = NO_FILL[reason.partition(",")[0]]
        ended = rows[rows["type"] == records.EVENT_TYPES.index("unfilled")]
        assert len(ended) == FRAME, f"{reason}: {len(ended)} of {FRAME} ended unfilled"
        wrong = ended["reason"][ended["reason"] != expected]
        assert not len(wrong) or reason == worst_reasons.REASONS[-1], f"{reason}: {wrong[:5]}"
        found.append(_figures(f"{REASONS}: {reason}", market, others, median, {}))
    return found
