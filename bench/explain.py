"""How long Explain takes for one flagged bid (MARKET.md §7), the auction itself not counted.

    python -m bench explain [--offers N] [--quick] [--json]

On workload `W`: half of the bids trade first, so that slots are taken as in the core's bench; of the
other half each is explained, as its buyer is told it, and then applied. Medians hide what a follower
suffers from, so the slowest is told, too. The digest is of all answers.
"""

import argparse
import hashlib
import json
import time
from typing import Any, Final

import msgspec
import numpy as np

from bench.workload import make
from matching_core.explain import Explainer, expire_ahead, warm_up
from matching_core.warm import warm_up as warm_up_market
from schemas import records

FRAME_NS: Final = 5_000_000
PERCENTILES: Final = (50, 90, 99, 100)


def main(arguments: list[str]) -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench explain", description=__doc__)
    parser.add_argument("--offers", type=int, default=100_000)
    parser.add_argument("--bids", type=int, default=2_000, help="how many are explained")
    parser.add_argument("--quick", action="store_true", help="1,000 offers, 50 bids")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    sites, models = 5_000, 50
    if options.quick:
        options.offers, options.bids, sites, models = 1_000, 50, 200, 5
    result = measure(options.offers, sites, models, options.bids)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>24}  {value}")
    return 0


def measure(offers: int, sites: int, models: int, bids: int) -> dict[str, Any]:
    """Return the figures of a market of that size."""
    warm_up_market()
    warm_up()
    frames = 2 * -(-bids // 256)
    workload = make(offers, frames, sites=sites, models=models)
    market, at_ns = workload.open()
    for buyer, batch in workload.bids[: frames // 2]:
        at_ns += FRAME_NS
        market.apply_frame(records.BID, batch, buyer, 0, at_ns)
    explainer = Explainer(market)
    taken_us: dict[str, list[float]] = {"filled": [], "unfilled": []}
    answers = hashlib.sha256()
    left = bids
    for buyer, batch in workload.bids[frames // 2 :]:
        at_ns += FRAME_NS
        for place in range(min(left, len(batch))):
            expire_ahead(market, at_ns)
            started = time.perf_counter_ns()
            found = explainer.explain(batch[place], buyer, 0, rounded=True)
            taken = (time.perf_counter_ns() - started) / 1000
            market.apply_frame(records.BID, batch[place : place + 1], buyer, 0, at_ns)
            if found is not None:
                answers.update(msgspec.msgpack.encode(found))
                whole = len(found.prices) == found.quantity
                taken_us["filled" if whole else "unfilled"].append(taken)
        left -= len(batch)
    result: dict[str, Any] = {"offers": offers, "explained": sum(map(len, taken_us.values()))}
    taken_us["all"] = [*taken_us["filled"], *taken_us["unfilled"]]
    for name, values in taken_us.items():
        result[f"{name}_count"] = len(values)
        for percentile in PERCENTILES if values else ():
            of = "max" if percentile == 100 else f"p{percentile}"
            result[f"{name}_{of}_us"] = round(float(np.percentile(values, percentile)), 1)
    result["digest"] = answers.hexdigest()
    return result
