"""The demo's world: real places and prices, the laws of physics, and room for what buyers want."""

import csv
from collections import Counter
from pathlib import Path

import iso3166
import msgspec
import numpy as np
import pytest

from schemas import commands as c
from schemas.lists import HARDWARE, TIERS
from ssp_adapters.demo import world as w
from ssp_adapters.demo import world_prices, world_rtt
from ssp_adapters.demo.world_operators import BOXES, ENGINES, LOADS, OPERATORS, POWER_KW
from ssp_adapters.price_list.throughput import estimate

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def made() -> w.World:
    return w.world()


@pytest.fixture(scope="module")
def opening(made: w.World) -> tuple[c.Offer, ...]:
    return w.opening_offers(tuple(made.fleets.values()))


def test_the_world_is_large_enough_and_small_enough(made, opening):
    assert len(made.sites) == w.SITES_DEFAULT >= 600
    assert len(made.fleets) >= 8
    assert 150 <= len(made.metros) <= 250
    assert {site.tier for site in made.sites} == set(TIERS)
    assert 2_000 <= len(opening) <= 8_000
    assert 10_000 <= len(made.rtts) <= 60_000
    assert {o.model for o in opening} | {made.real.model} == {m.model for m in made.models}


def test_a_seed_gives_one_world_and_another_seed_another():
    first, again, other = w.world(3, 100), w.world(3, 100), w.world(4, 100)
    assert first == again
    assert first.sites != other.sites
    assert len(first.sites) == 100
    with pytest.raises(ValueError, match="sites"):
        w.world(1, 10)


def test_every_command_is_well_formed_and_names_what_came_before(made):
    """Encoding and decoding judges every range and pattern; construction judges neither."""
    known: dict[str, set[str]] = {kind: set() for kind in ("operator", "model", "metro", "site")}
    for command in made.commands():
        decoded = msgspec.json.decode(msgspec.json.encode(command), type=type(command))
        assert decoded == command
        match command:
            case c.Operator():
                known["operator"].add(command.operator)
            case c.Model():
                known["model"].add(command.model)
            case c.PriceCard():
                assert command.model in known["model"]
            case c.Metro():
                known["metro"].add(command.metro)
            case c.Site():
                assert command.operator in known["operator"]
                assert command.site.startswith(f"{command.operator}/")
                assert command.site not in known["site"]
                known["site"].add(command.site)
            case c.SiteTrust():
                assert command.site in known["site"]
            case c.Rtt():
                assert command.site in known["site"]
                assert command.metro in known["metro"]
                assert command.estimate
    assert len(known["metro"]) == len(made.metros)
    assert {site for fleet in made.fleets.values() for site in fleet.sites} | {
        made.real.site
    } == known["site"]


def test_places_are_real(made):
    codes = iso3166.countries_by_alpha2.keys() | {"XK"}
    for metro in made.metros:
        assert metro.country in codes
        assert metro.population >= 100_000
    path = SHARED / "geo" / "cities_100k.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here: coordinates are compared where it is")
    cities = {
        (round(float(row["lat"]), 3), round(float(row["lon"]), 3))
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    }
    places = {(round(x.lat, 3), round(x.lon, 3)) for x in (*made.metros, *made.sites)}
    assert len(places - cities) <= len(places) // 100


def test_nothing_is_nearer_than_light_in_fibre_allows(made):
    """0.82 ms for each 100 miles each way, computed here by the spherical law of cosines."""
    where = {x.site: x for x in made.sites}
    metro = {x.metro: x for x in made.metros}
    pairs = [(where[r.site], metro[r.metro], r.p99_us) for r in made.rtts]
    a, b = (np.radians([[p[i].lat, p[i].lon] for p in pairs]) for i in (0, 1))
    cosine = np.sin(a[:, 0]) * np.sin(b[:, 0]) + np.cos(a[:, 0]) * np.cos(b[:, 0]) * np.cos(
        a[:, 1] - b[:, 1]
    )
    miles = np.arccos(np.clip(cosine, -1, 1)) * 3958.7613
    light_us = 2 * 820 * miles / 100
    assert (np.array([p[2] for p in pairs]) >= light_us - 1).all()
    assert max(p[2] for p in pairs) <= 250_000


def test_the_fit_stated_is_a_line_without_jumps_near_the_published_one():
    for (km, ms, slope), (next_km, next_ms, _) in zip(
        world_rtt.FIT, world_rtt.FIT[1:], strict=False
    ):
        assert ms + slope * (next_km - km) / 1000 == pytest.approx(next_ms, abs=0.01)
    far = world_rtt.fitted_ms(np.array([1000.0, 5000.0]))
    # Ordinary least squares over the same pairs: 13.43 ms + 17.569 ms per 1,000 km.
    assert far == pytest.approx([13.43 + 17.569, 13.43 + 5 * 17.569], rel=0.15)


def test_every_metro_reaches_many_sites(made):
    reached = Counter(rtt.metro for rtt in made.rtts)
    assert min(reached[metro.metro] for metro in made.metros) >= 10
    near = Counter(rtt.metro for rtt in made.rtts if rtt.p99_us <= 15_000)
    people = sum(metro.population for metro in made.metros)
    served = sum(metro.population for metro in made.metros if near[metro.metro] >= 2)
    assert served / people > 0.5


def test_hourly_prices_are_published_ones():
    rows = world_prices.facts()
    assert len(rows) >= 30
    assert len({row["vendor"] for row in rows}) >= 6
    for row in rows:
        assert row["page"].startswith("https://")
        assert row["dated"].startswith("2026")
        assert row["hardware"] in HARDWARE
    path = SHARED / "prices" / "gpu_offers_by_site.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here: prices are compared where it is")
    counted = {
        (row["vendor"], row["instance_type"], row["region"]): float(row["usd_gpu_hr"])
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    }
    lambda_price = {vendor_type[:2]: price for vendor_type, price in counted.items()}
    compared = 0
    for row in rows:
        price = counted.get((row["vendor"], row["instance"], row["place"]))
        if price is None and row["place"] == "any":
            price = lambda_price.get((row["vendor"], row["instance"]))
        if price is not None:
            assert float(row["usd_per_accelerator_hour"]) == pytest.approx(price, rel=1e-3), row
            compared += 1
    assert compared >= 20


def test_a_place_in_a_carriers_network_is_dearer_than_a_local_zone_than_a_region():
    price = [
        world_prices.nusd_per_hour("neocloud", "l40s", tier, "EU")
        for tier in ("regional", "metro_colo", "telco_mec")
    ]
    assert price == sorted(price)
    assert price[1] / price[0] == pytest.approx(1.10)
    assert price[2] / price[0] == pytest.approx(1.43)


def test_tables_of_the_operators_are_complete_and_every_load_fits_its_box():
    assert set(BOXES) == set(ENGINES) == set(POWER_KW) == set(TIERS)
    for boxes in BOXES.values():
        for box in boxes:
            for load in LOADS[box.hardware]:
                speed = estimate(
                    load.model, box.hardware, load.accelerators, load.precision, load.concurrency
                )
                assert speed.kv_tokens >= 16_384, (box, load)
    assert len({kind.name for kind in OPERATORS}) == len(OPERATORS) >= 8
    assert any(kind.group != kind.name for kind in OPERATORS)
    assert any(not kind.control for kind in OPERATORS)


def test_cards_fall_with_the_band_and_stand_above_many_asks(made, opening):
    """The price of latency: no nearer promise is cheaper, and most are dearer."""
    falls = 0
    for model in made.models:
        if model.model == made.real.model:
            continue
        row = sorted((x.band, x.card_out) for x in made.price_cards if x.model == model.model)
        prices = [price for _, price in row] + [model.card_out]
        assert prices == sorted(prices, reverse=True)
        falls += prices[0] > prices[-1]
        asks = [offer.ask_out for offer in opening if offer.model == model.model]
        assert sum(ask < prices[0] for ask in asks) > len(asks) / 10
    assert falls >= 6


def test_the_real_site_stands_in_the_world_and_gets_its_address_later(made):
    site = made.real_site("https://127.0.0.1:8443", "ab" * 32)
    known = next(entry for entry in made.sites if entry.site == made.real.site)
    assert msgspec.structs.replace(site, endpoint="", endpoint_sha256="") == known
    assert made.real.operator not in made.fleets
    assert any(r.site == made.real.site and r.metro == made.real.metro for r in made.rtts)
