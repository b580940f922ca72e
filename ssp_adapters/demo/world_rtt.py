"""Round trips between sites and metros, estimated by a fibre model fitted to measured pairs.

    p99 = max( light, tail( access(tier) + fit(distance) × spread ) )

- `fit`: the median round trip of 57,670 directed city pairs that WonderNetwork measured
  (2018-10-27 to 11-10, wondernetwork.com/pings), a line that bends at four distances;
  `python -m bench.rtt_fit` repeats it and docs/world.md shows its output.
- `spread`: how far a measured pair is from the fit, drawn per pair from the measured quantiles, for
  distance alone is a poor predictor (routes follow contracts, not circles).
- `access`: what a kind of site adds between its rack and the metro's exchange point. An ASSUMPTION.
- `tail`: p95 over p50 in time of PlanetLab's pairs (490 nodes, 18 slices), the 90th percentile of
  pairs by class of round trip: the nearest published stand-in for p99 over p50.
- `light`: 0.82 ms for each 100 miles each way, the speed of light in fibre along the great circle.
  Nothing is ever nearer than that; `estimate_p99_us` asserts it.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

EARTH_RADIUS_KM: Final = 6371.0088
KM_PER_MILE: Final = 1.609344
LIGHT_MS_PER_100_MILES_EACH_WAY: Final = 0.82
LIGHT_US_PER_KM: Final = 2 * LIGHT_MS_PER_100_MILES_EACH_WAY * 1000 / (100 * KM_PER_MILE)

# Distance class from km, median round trip there in ms, slope in ms per 1,000 km.
FIT: Final = (
    (0, 0.697, 66.523),
    (50, 4.023, 40.779),
    (200, 10.140, 29.671),
    (800, 27.943, 19.275),
    (3200, 74.204, 16.691),
)
# Measured / fitted at these quantiles of all pairs.
SPREAD_QUANTILES: Final = (0.05, 0.25, 0.50, 0.75, 0.95)
SPREAD: Final = (0.694, 0.851, 1.000, 1.245, 2.043)
# Middle of a class of round trips in ms, p95 / p50 over time there.
TAIL_MS: Final = (5.0, 17.5, 37.5, 75.0, 150.0, 300.0)
TAIL: Final = (1.811, 1.511, 1.220, 1.154, 1.112, 1.179)
ACCESS_MS: Final = {
    "on_prem": 0.3, "telco_mec": 0.5, "metro_colo": 0.5, "cdn_pop": 0.7, "regional": 1.0,
    "central": 1.5,
}  # fmt: skip


def distance_km(lat_a: Floats, lon_a: Floats, lat_b: Floats, lon_b: Floats) -> Floats:
    """Return great-circle distances of all pairs, shape (len(a), len(b)), by the haversine formula."""
    phi_a, phi_b = np.radians(lat_a)[:, None], np.radians(lat_b)[None, :]
    half_lat = (phi_b - phi_a) / 2
    half_lon = np.radians(lon_b[None, :] - lon_a[:, None]) / 2
    chord = np.sin(half_lat) ** 2 + np.cos(phi_a) * np.cos(phi_b) * np.sin(half_lon) ** 2
    result: Floats = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))
    return result


def fitted_ms(distance: Floats) -> Floats:
    """Return the median measured round trip at these distances in km, in ms."""
    start_km, at_start_ms, slope = (np.array(column) for column in zip(*FIT, strict=True))
    place = np.searchsorted(start_km, distance, side="right") - 1
    result: Floats = at_start_ms[place] + slope[place] * (distance - start_km[place]) / 1000
    return result


def light_us(distance: Floats) -> Whole:
    """Return the round trip of light in fibre over these distances in km, in µs, rounded up."""
    return np.ceil(distance * LIGHT_US_PER_KM).astype(np.int64)


def estimate_p99_us(distance: Floats, access_ms: Floats, draws: np.random.Generator) -> Whole:
    """Estimate p99 round trips in µs; `access_ms` per row (site), one draw per pair."""
    quantile = draws.uniform(SPREAD_QUANTILES[0], SPREAD_QUANTILES[-1], size=distance.shape)
    spread = np.interp(quantile, SPREAD_QUANTILES, SPREAD)
    typical = access_ms[:, None] + fitted_ms(distance) * spread
    p99: Whole = np.ceil(1000 * typical * np.interp(typical, TAIL_MS, TAIL)).astype(np.int64)
    bound = light_us(distance)
    result: Any = np.maximum(p99, bound)
    assert (result >= bound).all()
    return np.asarray(result, dtype=np.int64)
