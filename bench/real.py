"""Workload `R`: real sites, prices, round trips and requests, where their files stand beside the repository.

    sites       every place of `prices/gpu_offers_by_site.csv`: cloud regions, edge zones, single hosts
    offers      each machine on sale there with each model: what a seller asks for the model per token
                (`prices/llm_token_prices.csv`), by what the machine costs there against elsewhere
    round trips measured between 242 cities (`latency/`), from the city nearest to the site
    requests    tokens of the Azure trace, in its order; origins by population of the cities nearest
    campaigns   drawn: sovereign unions and countries that exist, budgets and ceilings around the cards

What nobody publishes is drawn from the seed: slots, times to the first token, capabilities, who bids.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.workload import (
    BUYERS,
    CAMPAIGNS_PER_BUYER,
    FRAME,
    START_NS,
    Workload,
    zipf,
)
from schemas import commands as c
from schemas import lists, records

FOLDER: Final = Path(__file__).parents[2] / "shared" / "data"
TIER: Final = {
    "regional": "regional", "localzone": "metro_colo", "wavelength": "telco_mec", "host": "on_prem",
}  # fmt: skip
NAMED: Final = {"a10g": "a10", "rtxa6000": "a6000"}
KM_PER_RADIAN: Final = 6371.0
ACCESS_MS_PER_KM: Final = 0.0176  # the slope of round trip over distance in the same measurements
BUDGETS_MS: Final = (150, 300, 600, 1500)
Row = dict[str, str]


class Absent(Exception):
    """The files are not there; the message says where they would be."""


@dataclass(frozen=True)
class World:
    """What the files hold, as far as it is used."""

    machines: list[Row]
    models: list[tuple[str, list[tuple[float, float]]]]  # name, (in, out) in $ per million
    cities: list[Row]
    round_trips: list[Row]
    people: list[Row]
    countries: list[Row]
    tokens: np.ndarray  # int64[n, 2]


def _rows(name: str) -> Iterator[Row]:
    path = FOLDER / name
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        yield from csv.DictReader(lines)


def read(models: int) -> World:
    """Read the files; Absent when they are not there."""
    if not FOLDER.is_dir():
        raise Absent("no ../shared/data beside the repository")
    prices: dict[str, list[tuple[float, float]]] = {}
    for row in _rows("prices/llm_token_prices.csv"):
        each = float(row["input_usd_per_m"] or 0), float(row["output_usd_per_m"] or 0)
        if min(each) > 0:
            prices.setdefault(row["model_id"].rpartition("/")[2].lower(), []).append(each)
    counted = Counter({name: len(found) for name, found in prices.items()})
    trace = [
        (int(row["input_tokens"]), int(row["output_tokens"]))
        for row in _rows("traces/azure_llm_2023.csv.gz")
    ]
    return World(
        machines=[row for row in _rows("prices/gpu_offers_by_site.csv") if row["lat"]],
        models=[(name, prices[name]) for name, _ in counted.most_common(models)],
        cities=list(_rows("latency/wonder_sites.csv")),
        round_trips=list(_rows("latency/wonder_rtt_2018.csv.gz")),
        people=list(_rows("geo/cities_100k.csv")),
        countries=list(_rows("geo/countries.csv")),
        tokens=np.array(trace, np.int64),
    )


def make(frames: int, *, models: int, share: int = 1, seed: int = 1) -> Workload:
    """Make the workload with the so many most sold models; of the machines every `share`-th.

    Raises:
        Absent: the files are not there.
    """
    world = read(models)
    rng = np.random.default_rng(seed)
    machines = world.machines[::share]
    names = sorted({_place(row) for row in machines})
    number = {name: place for place, name in enumerate(names)}
    first = {_place(row): row for row in reversed(machines)}
    sites = [first[name] for name in names]
    operators = sorted({_operator(row) for row in sites})
    country = np.array([sorted({r["country"] for r in sites}).index(r["country"]) for r in sites])
    placed = np.zeros(len(sites), [(name, "i8") for name in ("operator", "country")])
    placed["country"] = country
    placed["operator"] = [operators.index(_operator(row)) + 1 for row in sites]
    return Workload(
        reference=_reference(world, names, sites, operators),
        sites=placed,
        rtt_us=_round_trips(world, sites),
        offers=_offers(world, machines, number, rng),
        campaigns=_campaigns(world, rng),
        bids=_bids(world, frames, rng),
        models=len(world.models),
    )


def _place(row: Row) -> str:
    return f"{_operator(row)}/{row['zone'] or row['region']}"


def _operator(row: Row) -> str:
    """A marketplace of hosts sells for many: each of its places is taken for one owner."""
    alone = row["tier"] == "host"
    return f"{row['vendor']}-{row['region']}".lower() if alone else row["vendor"]


def _card(prices: list[tuple[float, float]]) -> tuple[int, int]:
    """Return the median price in pico-dollars per token."""
    middle = np.median(np.array(prices), axis=0)
    return int(1_000_000 * middle[0]), int(1_000_000 * middle[1])


def _reference(
    world: World, names: list[str], sites: list[Row], operators: list[str]
) -> list[c.AnyCommand]:
    at = START_NS
    made: list[c.AnyCommand] = []
    for name, prices in world.models:
        card_in, card_out = _card(prices)
        made.append(
            c.Model(
                at=at, model=_name(name), family="", params_m=1, context_limit=131_072,
                card_in=card_in, card_out=card_out,
            )
        )  # fmt: skip
    made += [
        c.Metro(
            at=at, metro=f"metro{n}", lat=float(city["lat"]), lon=float(city["lon"]),
            country=city["country_iso2"] or "US", population=1,
        )
        for n, city in enumerate(world.cities)
    ]  # fmt: skip
    made += [c.Operator(at=at, operator=_name(name), control=("US",)) for name in operators]
    for n in range(1, BUYERS + 1):
        made.append(c.Buyer(at=at, buyer=f"b{n}"))
        made.append(c.Deposit(at=at, role="buyer", member=f"b{n}", transfer=1, amount=2**56))
    for name, row in zip(names, sites, strict=True):
        cloud = row["tier"] != "host"
        made.append(
            c.Site(
                at=at, site=_name(name), operator=_name(_operator(row)), tier=TIER[row["tier"]],  # type: ignore[arg-type]
                lat=float(row["lat"]), lon=float(row["lon"]), country=row["country"],
                data_countries=(row["country"],),
                certifications=("soc2", "iso27001") if cloud else (),
            )
        )  # fmt: skip
        made.append(c.SiteTrust(at=at, site=_name(name), trust=2 if cloud else 1))
    return made


def _name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-./" else "-" for letter in text)[:64]


def _unit(rows: list[Row]) -> np.ndarray:
    """Return the places of rows with lat and lon as points on the unit sphere: float64[n, 3]."""
    lat, lon = (np.radians([float(row[name]) for row in rows]) for name in ("lat", "lon"))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _nearest(rows: list[Row], cities: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row the number of the nearest city and how far it is, km."""
    cosine = _unit(rows) @ _unit(cities).T
    near = cosine.argmax(axis=1)
    away = np.arccos(np.clip(cosine[np.arange(len(rows)), near], -1, 1)) * KM_PER_RADIAN
    return near, away


def _round_trips(world: World, sites: list[Row]) -> np.ndarray:
    """Return int64[metros, sites], µs: the measured average and twice its deviation, and the way there."""
    count = len(world.cities)
    place = {city["site_id"]: n for n, city in enumerate(world.cities)}
    measured = np.full((count, count), -1.0)
    for row in world.round_trips:
        source, target = place.get(row["src_id"]), place.get(row["dst_id"])
        if source is not None and target is not None:
            high = float(row["rtt_avg_ms"]) + 2 * float(row["rtt_mdev_ms"] or 0)
            measured[source, target] = min(high, float(row["rtt_max_ms"] or high))
    np.fill_diagonal(measured, 1.0)
    near, away = _nearest(sites, world.cities)
    path = measured[:, near]
    whole = np.where(path < 0, -1.0, 1000 * (path + away * ACCESS_MS_PER_KM))
    made: np.ndarray = whole.astype(np.int64)
    return made


def _offers(
    world: World, machines: list[Row], number: dict[str, int], rng: np.random.Generator
) -> np.ndarray:
    cost = np.array([float(row["usd_gpu_hr"]) for row in machines])
    kinds = [row["gpu"] for row in machines]
    usual = {kind: np.median([cost[n] for n, k in enumerate(kinds) if k == kind]) for kind in kinds}
    dearer = np.clip(cost / [max(usual[kind], 1e-3) for kind in kinds], 0.5, 3.0)
    site = np.array([number[_place(row)] + 1 for row in machines])
    hardware = np.array([lists.HARDWARE.index(_hardware(kind)) for kind in kinds])
    models = len(world.models)
    batch = np.zeros(len(machines) * models, records.OFFER_RECORD)
    batch["site"] = np.repeat(site, models)
    batch["hardware"] = np.repeat(hardware, models)
    batch["model"] = np.tile(np.arange(1, models + 1), len(machines))
    seen = np.zeros(len(number) + 1, np.int64)
    for n, where in enumerate(batch["site"]):
        seen[where] += 1
        batch["offer"][n] = seen[where]
    assert seen.max() <= 4_096
    asked = np.zeros((len(batch), 2))
    for model, (_, prices) in enumerate(world.models):
        rows = np.arange(model, len(batch), models)
        asked[rows] = np.array(prices)[rng.integers(0, len(prices), len(rows))]
    factor = np.repeat(dearer, models) * rng.uniform(0.8, 1.2, len(batch))
    batch["ask_in"] = 1_000_000 * asked[:, 0] * factor
    batch["ask_out"] = 1_000_000 * asked[:, 1] * factor
    count = len(batch)
    batch["ttft_us"] = np.minimum(rng.lognormal(11.0, 0.6, count), 2_000_000)  # median 60 ms
    batch["prefill_ns_per_token"] = rng.integers(5_000, 60_000, count)
    batch["tokens_per_second"] = rng.integers(15, 150, count)
    batch["context_limit"] = rng.choice([8_192, 32_768, 131_072], count)
    batch["slots"] = rng.integers(1, 64, count)
    batch["precision"] = rng.integers(1, 4, count)
    batch["contract"] = rng.integers(0, 3, count)
    batch["capabilities"] = rng.integers(0, 256, count)
    batch["ttl_us"] = 60_000_000
    return batch


def _hardware(name: str) -> str:
    plain = name.lower()
    found = NAMED.get(plain, plain)
    for known in lists.HARDWARE:
        if known.replace("_", "") == found:
            return known
    return "other"


def _campaigns(world: World, rng: np.random.Generator) -> list[c.Campaign]:
    europe = tuple(sorted(row["iso2"] for row in world.countries if row["eea"] == "1"))
    sold = sorted({row["country"] for row in world.machines})
    count = BUYERS * CAMPAIGNS_PER_BUYER
    model = zipf(rng, len(world.models), count)
    made = []
    for n in range(count):
        some: dict[str, Any] = {}
        where = rng.random()
        if where < 0.3:
            some["residency"] = some["data_residency"] = europe
        elif where < 0.5:
            picked = rng.choice(len(sold), 3, replace=False)
            some["residency"] = tuple(sorted(sold[int(place)] for place in picked))
        if rng.random() < 0.4:
            some["certifications"] = ("soc2",)
        if rng.random() < 0.3:
            some["hardware"] = ("h100", "h200", "b200", "a100", "l40s")
        if rng.random() < 0.3:
            some["capabilities"] = ("tools", "json_schema")
        if rng.random() < 0.3:
            some["min_tokens_per_second"] = int(rng.integers(20, 80))
        if rng.random() < 0.3:
            some["time_value"] = int(rng.integers(1, 1_000))
        name, prices = world.models[int(model[n]) - 1]
        made.append(
            c.Campaign(
                at=START_NS, campaign=f"c{n}", buyer=f"b{n % BUYERS + 1}",
                models=(c.CampaignModel(model=_name(name)),),
                latency_budget_us=1000 * BUDGETS_MS[int(rng.integers(4))],
                max_unit_price=int(_card(prices)[1] * rng.uniform(0.5, 2.0)), **some,
            )
        )  # fmt: skip
    return made


def _bids(world: World, frames: int, rng: np.random.Generator) -> list[tuple[int, np.ndarray]]:
    near, _ = _nearest(world.people, world.cities)
    weight = np.bincount(
        near, [float(row["population"]) for row in world.people], len(world.cities)
    )
    made = []
    for n in range(frames):
        batch = np.zeros(FRAME, records.BID_RECORD)
        buyer = n % BUYERS + 1
        batch["bid"] = n // BUYERS * FRAME + 1 + np.arange(FRAME)
        batch["campaign"] = buyer + BUYERS * rng.integers(0, CAMPAIGNS_PER_BUYER, FRAME)
        batch["origin"] = 1 + rng.choice(len(weight), FRAME, p=weight / weight.sum())
        asked = world.tokens[(n * FRAME + np.arange(FRAME)) % len(world.tokens)]
        batch["tokens_in"], batch["tokens_out"] = asked[:, 0], np.maximum(asked[:, 1], 1)
        batch["lease_us"] = 1_000_000
        batch["rest_us"] = np.where(rng.random(FRAME) < 0.05, 20_000, 0)
        batch["latency_budget_us"] = records.NONE_U32
        batch["max_price"] = records.NONE_U64
        batch["quantity"] = 1
        made.append((buyer, batch))
    return made
