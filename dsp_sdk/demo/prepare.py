"""Write what the demo's admin says of its buyers: `python -m dsp_sdk.demo.prepare FOLDER`.

buyers.jsonl    a market file for `curb apply`: buyers and their deposits
buyers.json     names of the buyers, and which one only the real site can serve
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import msgspec

from dsp_sdk.demo.demand import admin, buyers
from dsp_sdk.demo.demand_buyers import REAL_BUYER

ADMIN: Final = "buyers.jsonl"
MANIFEST: Final = "buyers.json"


def main() -> int:
    """Write both files; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m dsp_sdk.demo.prepare")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ADMIN).write_bytes(msgspec.json.Encoder().encode_lines(admin()))
    names = [plan.buyer for plan in buyers()]
    (folder / MANIFEST).write_bytes(msgspec.json.encode({"buyers": names, "real": REAL_BUYER}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
