"""`python -m bench path [--offers N] [--quick] [--json]`: from a buyer's bid to its fill, all of it.

    driver ── CURVE ──▶ exchange ── journal, sync ──▶ core ──▶ answers
                                     │
    operators ◀── CURVE ── follower ─┘    every operator's copies, while the bids go on

The exchange and the follower are the real processes, on a folder of their own; 300 operators offer,
renew and read their copies; 16 buyers bid. All of it runs on the machine's cores, driver included. The
disk's sync and a bare ZeroMQ round trip with CURVE are measured beside it. Fails unless every
bid was answered exactly once, and every fill that was told reached its operator.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench path", description=__doc__)
    parser.add_argument("--offers", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each phase")
    parser.add_argument("--folder", type=Path, help="where the data folder is made; else TMPDIR")
    parser.add_argument("--keep", action="store_true", help="leave the data folder")
    parser.add_argument("--quick", action="store_true", help="2,000 offers, 200 sites, 0.5 s each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    from bench.path_run import measure

    sites = 5_000
    if options.quick:
        options.offers, options.seconds, sites = 2_000, 0.5, 200
    folder = Path(tempfile.mkdtemp(prefix="curb-path-", dir=options.folder))
    try:
        result = measure(folder, options.offers, sites, options.seconds)
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>28}  {value}")
    return 0
