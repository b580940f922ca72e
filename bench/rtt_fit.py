"""Fit round trip times to distance: `python -m bench.rtt_fit FOLDER` prints what `world_rtt.py` states.

FOLDER holds `wonder_rtt_2018.csv.gz` (242 cities of WonderNetwork, every directed pair, measured
2018-10-27 to 2018-11-10) and `rtt_jitter_quantiles.json` (PlanetLab, 490 nodes). The fit is a median
(least absolute relative deviations, by iterated least squares) and not a mean: a VPS host that
reaches its neighbour by way of another continent says nothing about sites placed for latency.
"""

import csv
import gzip
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

# Where the slope may change, in km: inside a metropolitan area, a country, a continent, over a sea.
KNOTS_KM = (50, 200, 800, 3200)
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)
ITERATIONS = 200


def load(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return distances in km and average round trips in ms of the pairs that light allows."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["physically_ok"] == "1"]
    distance_km = np.array([float(row["dist_km"]) for row in rows])
    rtt_ms = np.array([float(row["rtt_avg_ms"]) for row in rows])
    return distance_km, rtt_ms


def basis(distance_km: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the columns 1, d, max(0, d − knot): a line that bends at the knots and never jumps."""
    columns = [np.ones_like(distance_km), distance_km]
    columns += [np.maximum(0.0, distance_km - knot) for knot in KNOTS_KM]
    return np.stack(columns, axis=1)


def fit(distance_km: np.ndarray[Any, Any], rtt_ms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the coefficients of `basis` that minimise Σ |measured − fitted| / fitted."""
    columns = basis(distance_km)
    scale = 2.0 + 0.016 * distance_km
    weights = 1.0 / scale**2
    coefficients = np.zeros(columns.shape[1])
    for _ in range(ITERATIONS):
        root = np.sqrt(weights)[:, None]
        coefficients = np.linalg.lstsq(columns * root, rtt_ms * root[:, 0], rcond=None)[0]
        fitted = columns @ coefficients
        scale = np.maximum(fitted, 0.5)
        residual = np.maximum(np.abs(rtt_ms - fitted) / scale, 1e-4)
        weights = 1.0 / (residual * scale**2)
    return coefficients


def main(folder: Path) -> None:
    """Print the fit by distance class, the spread around it and the allowance for the tail."""
    distance_km, rtt_ms = load(folder / "wonder_rtt_2018.csv.gz")
    coefficients = fit(distance_km, rtt_ms)
    ratio = rtt_ms / (basis(distance_km) @ coefficients)
    slope, value = float(coefficients[1]), float(coefficients[0])
    edges = (0, *KNOTS_KM, 20_100)
    print("from_km to_km   pairs  at_from_ms  ms_per_1000km   measured/fitted at 5 25 50 75 95 %")
    for number, (low, high) in enumerate(pairwise(edges)):
        inside = (distance_km >= low) & (distance_km < high)
        spread = " ".join(f"{q:.2f}" for q in np.quantile(ratio[inside], QUANTILES))
        print(f"{low:7} {high:6} {inside.sum():6} {value:10.3f} {1000 * slope:13.3f}   {spread}")
        value += slope * (high - low)
        if number < len(KNOTS_KM):
            slope += float(coefficients[2 + number])
    print("all:", " ".join(f"{q:.3f}" for q in np.quantile(ratio, QUANTILES)))
    print("p95/p50 over time, at the 90th percentile of pairs (PlanetLab):")
    jitter = json.loads((folder / "rtt_jitter_quantiles.json").read_text(encoding="utf-8"))
    for band in jitter["planetlab"]["bands"]:
        print(f"  {band['band_ms']} ms: {band['p95_over_p50']['90']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
