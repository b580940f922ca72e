"""What `bench core` found: its parts put together, kept in a file, and as the JSON that is printed.

    {"sizes": {"100000": {…}, "1000000": {…}}, "worst": {"1000000": {…}}, "start", "real", "machine", …}

Parts may be measured one after another, each in a process of its own, into one file.
"""

import json
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def merge(into: Result, found: Result) -> Result:
    """Return `into` with what was found: tables inside are merged, all else is replaced."""
    merged = dict(into)
    for name, value in found.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[name] = merge(old, value)
        else:
            merged[name] = value
    return merged


def save(path: Path, found: Result) -> Result:
    """Merge what was found into a file, made when it is not there; returns all of it."""
    whole = merge(load(path) if path.exists() else {}, found)
    path.write_text(json.dumps(whole, indent=1) + "\n")
    return whole


def load(path: Path) -> Result:
    """Return what a file holds."""
    result: Result = json.loads(path.read_text())
    return result


def flat(found: Result) -> Result:
    """Return the printed form: the largest size's figures first, a smaller one's under `at_SIZE`.

    `growth` is time per auction at the larger size over that at the smaller, when both are there.
    """
    sizes = sorted(found.get("sizes", {}).items(), key=lambda each: int(each[0]))
    result: Result = {}
    if sizes:
        result |= sizes[-1][1]
        rates = [figures.get("auctions_per_s") for _, figures in sizes]
        if len(sizes) > 1 and all(rates):
            result["growth"] = round(rates[0] / rates[-1], 2)
        result |= {f"at_{size}": figures for size, figures in sizes[:-1]}
    for name, value in found.items():
        if name != "sizes":
            result[name] = value
    return result
