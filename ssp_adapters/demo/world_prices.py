"""What an hour of an accelerator costs in the demo's world: from published prices, by stated rules.

`gpu_prices.csv` holds the facts: who asks what for which instance, on which page, read by whom, when.
The rules that carry them to our sites:

- A style's price of an accelerator is the median of its facts in the United States (or "any place").
- An edge place costs more, measured like for like on AWS's g4dn.2xlarge (medians over all places of
  2026-01-21): a Local Zone 10 % over a region (1.015 against 0.922), a Wavelength zone, inside a
  carrier's network, 43 % (1.317). Our metro_colo, cdn_pop and on_prem pay the first, telco_mec the
  second.
- Other continents cost more by AWS's own ratio to us-east-1 (g6.xlarge, or g4dn.2xlarge where the
  former is not sold). Neoclouds state one price for Europe and North America.
"""

import csv
from decimal import Decimal
from functools import cache
from importlib import resources
from statistics import median
from typing import Final

TIER_PERCENT: Final = {
    "on_prem": 110, "telco_mec": 143, "metro_colo": 110, "cdn_pop": 110, "regional": 100,
    "central": 100,
}  # fmt: skip

# Where the ratio of a continent is read off: instance and place, against us-east-1.
_PLACE_OF_CONTINENT: Final = {
    "NA": ("g6.xlarge", "us-east-1"),
    "EU": ("g6.xlarge", "eu-central-1"),
    "EA": ("g6.xlarge", "ap-northeast-1"),  # East Asia
    "AS": ("g6.xlarge", "ap-south-1"),
    "ME": ("g4dn.2xlarge", "me-south-1"),
    "OC": ("g6.xlarge", "ap-southeast-2"),
    "SA": ("g6.xlarge", "sa-east-1"),
    "AF": ("g4dn.2xlarge", "af-south-1"),
}
_HOME_PLACES: Final = ("us-east-1", "eastus2", "us-central1", "any")
_NUSD: Final = 10**9


@cache
def facts() -> tuple[dict[str, str], ...]:
    """Return the rows of `gpu_prices.csv`."""
    text = resources.files(__package__).joinpath("gpu_prices.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@cache
def base_nusd_per_hour(style: str, hardware: str) -> int:
    """Return one accelerator's hourly price at home, in n$; of the other style where one has none."""
    for styles in ((style,), ("hyperscaler", "neocloud")):
        found = [
            int(Decimal(row["usd_per_accelerator_hour"]) * _NUSD)
            for row in facts()
            if row["style"] in styles
            and row["hardware"] == hardware
            and row["tier"] == "regional"
            and row["place"] in _HOME_PLACES
        ]
        if found:
            return int(median(found))
    raise LookupError(hardware)


@cache
def continent_ppm(style: str, continent: str) -> int:
    """Return what a continent's prices are of home's, in ppm."""
    if style == "neocloud" and continent in {"EU", "NA"}:
        return 10**6
    instance, place = _PLACE_OF_CONTINENT[continent]
    price = {
        row["place"]: Decimal(row["usd_per_accelerator_hour"])
        for row in facts()
        if row["instance"] == instance
    }
    return int(price[place] * 10**6 / price["us-east-1"])


def nusd_per_hour(style: str, hardware: str, tier: str, continent: str) -> int:
    """Return what an hour of one accelerator costs at a site of such a tier and continent, in n$."""
    price = base_nusd_per_hour(style, hardware) * continent_ppm(style, continent) // 10**6
    return price * TIER_PERCENT[tier] // 100
