"""`python -m bench core [--offers N] [--sites N] [--frames N] [--quick] [--json]`: the core alone.

What is measured: bids in frames of 256, each unit an auction, its fill, and a second later its
release; then the same bids one by one, which adds the call from Python to each. Time passes by 5 ms a
frame, so that the number of open leases is steady. Prints the digest of the state after each part:
whoever makes it faster shows that it still computes the same.
"""

import argparse
import json
import time
from typing import Any

import numpy as np

from bench.world import FRAME, build
from matching_core import columns as k
from matching_core.event_rows import as_rows
from matching_core.warm import warm_up
from schemas import records
from schemas.records import EVENT_TYPES

FRAME_NS = 5_000_000


def main(arguments: list[str]) -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench core", description=__doc__)
    parser.add_argument("--offers", type=int, default=100_000)
    parser.add_argument("--sites", type=int, default=5_000)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--quick", action="store_true", help="1,000 offers, 200 sites, 40 frames")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.quick:
        options.offers, options.sites, options.models, options.frames = 1_000, 200, 5, 40
    result = measure(options.offers, options.sites, options.models, options.frames)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>24}  {value}")
    return 0


def measure(offers: int, sites: int, models: int, frames: int) -> dict[str, Any]:
    """Return the figures of a market of that size."""
    started = time.perf_counter()
    warm_up()
    warm_s = time.perf_counter() - started
    started = time.perf_counter()
    world = build(offers, sites, models=models, frames=frames)
    build_s = time.perf_counter() - started
    market, at_ns = world.market, world.at_ns

    kinds: dict[str, int] = {}
    spent = []
    half = frames // 2
    busy = time.process_time()
    for buyer, batch in world.bids[:half]:
        at_ns += FRAME_NS
        begun = time.perf_counter()
        matrix = market.apply_frame(records.BID, batch, buyer, 0, at_ns)
        spent.append(time.perf_counter() - begun)
        numbers, counts = np.unique(as_rows(matrix)["type"], return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            kinds[EVENT_TYPES[number]] = kinds.get(EVENT_TYPES[number], 0) + count
    busy = time.process_time() - busy
    digest = market.digest()

    singles = []
    for buyer, batch in world.bids[half : half + max(1, half // 8)]:
        at_ns += FRAME_NS
        for place in range(FRAME):
            record = batch[place : place + 1]
            begun = time.perf_counter_ns()
            market.apply_frame(records.BID, record, buyer, 0, at_ns)
            singles.append(time.perf_counter_ns() - begun)
    micro = np.array(singles) / 1000
    warm = np.array(spent[len(spent) // 4 :])  # the first frames find cold caches and no leases
    return {
        "offers": offers,
        "sites": sites,
        "models": models,
        "auctions": half * FRAME,
        "us_per_auction": round(float(warm.mean()) / FRAME * 1e6, 3),
        "us_per_auction_median": round(float(np.median(warm)) / FRAME * 1e6, 3),
        "cpu_us_per_auction": round(busy / (half * FRAME) * 1e6, 3),
        "auctions_per_s": round(FRAME / float(warm.mean())),
        "single_us_p50": round(float(np.percentile(micro, 50)), 2),
        "single_us_p99": round(float(np.percentile(micro, 99)), 2),
        "events": kinds,
        "fills_open": int(market.columns.s[k.OPEN_FILLS]),
        "warm_up_s": round(warm_s, 2),
        "build_s": round(build_s, 2),
        "digest": digest,
    }
