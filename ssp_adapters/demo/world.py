"""The demo's world: made-up operators at real places, with real prices, by stated rules, from a seed.

    world(seed, sites) ─┬─ admin()      rules, operators, models, cards, metros, sites
                        ├─ verifier()   trust and margins, round trips (all marked as estimates)
                        └─ fleet(name)  what that operator's adapter reads: a price list and a policy

The offers are not in here: each operator's process runs the `price_list` adapter on its price list,
as a real operator would. The cards are the exchange's and therefore public: `world_cards.py` sets them
from the opening book. Names owned by a member begin with `MEMBER/` (site `metrocable/berlin-01`).
"""

import csv
import io
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.commands import (
    AnyCommand,
    Metro,
    Model,
    Offer,
    Operator,
    PriceCard,
    Rtt,
    Rules,
    Site,
    SiteTrust,
)  # fmt: skip
from ssp_adapters import price_list
from ssp_adapters.contract import Policy, Sample, Samples
from ssp_adapters.demo import world_cards
from ssp_adapters.demo.world_operators import (
    BOXES,
    ENGINES,
    LOADS,
    OPERATORS,
    POWER_KW,
    OperatorKind,
)  # fmt: skip
from ssp_adapters.demo.world_places import MetroPlace, Place, metros
from ssp_adapters.demo.world_prices import nusd_per_hour
from ssp_adapters.demo.world_rtt import ACCESS_MS, distance_km, estimate_p99_us
from ssp_adapters.price_list.facts import model_facts

SITES_DEFAULT: Final = 640
SITES_MIN: Final = 60
# A round trip above this is not worth a bid: edge sites sell nearness, big ones sell price.
USEFUL_US: Final = {
    "on_prem": 100_000, "telco_mec": 100_000, "metro_colo": 100_000, "cdn_pop": 100_000,
    "regional": 250_000, "central": 250_000,
}  # fmt: skip
TAKE_RATE_PPM: Final = 20_000
COUNTRY_UNKNOWN_PERCENT: Final = 10  # of sites whose operator says nothing of where data rests
_MARGINS_US: Final = (
    3_000,
    1_000,
    300,
    0,
)  # latency_margin_us by trust: what is checked needs less
_OFFERS_APART: Final = 16
# Private-use AS numbers (RFC 6996): four made-up access networks per country.
_ASN_FIRST: Final = 4_200_000_000
_ASNS_PER_COUNTRY: Final = 4

COLUMNS: Final = (
    "site", "offer", "model", "hardware", "accelerators", "precision", "usd_per_hour",
    "concurrency", "context", "capabilities", "utc_offset_minutes",
)  # fmt: skip

_T = TypeVar("_T")


class Fleet(NamedTuple):
    """What one operator's adapter runs from. `source` names the CSV in its errors."""

    operator: str
    sites: tuple[str, ...]
    source: str
    csv: str
    policy: Policy

    def samples(self) -> Samples:
        """Return the price list as the `price_list` adapter takes it."""
        return Samples(documents=(Sample(source=self.source, text=self.csv),))


class RealSite(NamedTuple):
    """The site that is served for real, by llama.cpp on this machine; its offers are its adapter's."""

    operator: str
    site: str
    metro: str
    model: str
    cost_in_pusd: int
    cost_out_pusd: int


class World(NamedTuple):
    """Everything there is before the first offer. All commands have `at` = 0."""

    seed: int
    rules: Rules
    operators: tuple[Operator, ...]
    models: tuple[Model, ...]
    price_cards: tuple[PriceCard, ...]
    metros: tuple[Metro, ...]
    sites: tuple[Site, ...]
    trusts: tuple[SiteTrust, ...]
    rtts: tuple[Rtt, ...]
    fleets: dict[str, Fleet]
    real: RealSite
    access_asns: dict[str, tuple[int, ...]]  # made-up access networks, by metro

    def admin(self) -> tuple[AnyCommand, ...]:
        """Return what the admin says, in an order in which each name is known before its use."""
        return (
            self.rules, *self.operators, *self.models, *self.price_cards, *self.metros, *self.sites,
        )  # fmt: skip

    def verifier(self) -> tuple[AnyCommand, ...]:
        """Return what the verifier says, after the admin."""
        return (*self.trusts, *self.rtts)

    def commands(self) -> tuple[AnyCommand, ...]:
        """Return all of it in order."""
        return (*self.admin(), *self.verifier())

    def fleet(self, operator: str) -> Fleet:
        """Return an operator's price list and policy; KeyError for the real site's operator."""
        return self.fleets[operator]

    def real_site(self, endpoint: str, endpoint_sha256: str) -> Site:
        """Return the real site's command with its address, for the admin to send once it is known."""
        known = next(site for site in self.sites if site.site == self.real.site)
        return Site(
            at=0, site=known.site, operator=known.operator, tier=known.tier, lat=known.lat,
            lon=known.lon, country=known.country, data_countries=known.data_countries,
            certifications=known.certifications, asns=known.asns, power_kw=known.power_kw,
            endpoint=endpoint, endpoint_sha256=endpoint_sha256,
        )  # fmt: skip


class _Drawn(NamedTuple):
    """A site as drawn, before it is a command."""

    site: Site
    kind: OperatorKind
    place: Place
    trust: int


def _pick(draws: np.random.Generator, weighted: Sequence[tuple[_T, int]]) -> _T:
    """Draw one entry by its whole weight."""
    ticket = int(draws.integers(sum(weight for _, weight in weighted)))
    for entry, weight in weighted:
        ticket -= weight
        if ticket < 0:
            return entry
    raise AssertionError("the ticket is below the sum of the weights")


def _country_asns(countries: Sequence[str]) -> dict[str, tuple[int, ...]]:
    return {
        country: tuple(
            _ASN_FIRST + _ASNS_PER_COUNTRY * index + network for network in range(_ASNS_PER_COUNTRY)
        )
        for index, country in enumerate(sorted(set(countries)))
    }


def _shares(sites: int) -> dict[str, int]:
    """Split the sites over the operators by their shares, each at least one."""
    whole = sum(kind.share for kind in OPERATORS)
    counts = {kind.name: max(1, sites * kind.share // whole) for kind in OPERATORS}
    largest = max(OPERATORS, key=lambda kind: kind.share).name
    counts[largest] += sites - sum(counts.values())
    return counts


def _draw_sites(
    seed: int, kind: OperatorKind, count: int, places: Sequence[MetroPlace],
    asns: dict[str, tuple[int, ...]],
) -> list[_Drawn]:  # fmt: skip
    """Draw an operator's sites: metros by the root of their people, a suburb there, a tier."""
    draws = np.random.Generator(np.random.PCG64([seed, sum(map(ord, kind.name))]))
    home = [
        metro
        for metro in places
        if metro.city.region in kind.regions or metro.city.country in kind.countries
    ]
    weights = np.sqrt(np.array([metro.population for metro in home], dtype=np.float64))
    result: list[_Drawn] = []
    numbers: dict[str, int] = {}
    for index in draws.choice(len(home), size=count, p=weights / weights.sum()):
        metro = home[int(index)]
        tier = _pick(draws, kind.tiers)
        # Half of all sites stand in the main city, the others in its suburbs.
        inside = draws.integers(2) == 0 or len(metro.suburbs) == 1
        place = metro.city if inside else metro.suburbs[int(draws.integers(len(metro.suburbs)))]
        numbers[place.slug] = numbers.get(place.slug, 0) + 1
        country: str | None = place.country
        data: tuple[str, ...] = (place.country,)
        if kind.data_rests == "country_and_home":
            data = tuple(sorted({place.country, kind.control[0]}))
        elif kind.data_rests == "unknown":
            data = ()
            country = None if draws.integers(100) < COUNTRY_UNKNOWN_PERCENT else place.country
        networks = [asn for asn in asns[place.country] if draws.integers(2) == 1]
        site = Site(
            at=0,
            site=f"{kind.name}/{place.slug}-{numbers[place.slug]:02}",
            operator=kind.name,
            tier=tier,
            lat=place.lat,
            lon=place.lon,
            country=country,
            data_countries=data,
            certifications=kind.certifications,
            asns=tuple(networks),
            power_kw=POWER_KW[tier],
        )
        trust = kind.trust[int(draws.integers(len(kind.trust)))]
        result.append(_Drawn(site, kind, place, trust))
    return result


def _fleet(seed: int, kind: OperatorKind, drawn: Sequence[_Drawn]) -> Fleet:
    """Draw what stands at an operator's sites and write its price list."""
    draws = np.random.Generator(np.random.PCG64([seed, 1, sum(map(ord, kind.name))]))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for entry in drawn:
        low, high = ENGINES[entry.site.tier]
        for number in range(int(draws.integers(low, high + 1))):
            boxes = [(box, box.weight) for box in BOXES[entry.site.tier]]
            box = _pick(draws, boxes)
            load = _pick(draws, [(load, load.weight) for load in LOADS[box.hardware]])
            price = load.accelerators * nusd_per_hour(
                kind.style, box.hardware, entry.site.tier, entry.place.region
            )
            # What was negotiated differs from site to site by some percent.
            price = price * int(draws.integers(92, 109)) // 100
            dollars, nano = divmod(price, 10**9)
            rows.writerow(
                (
                    entry.site.site, 1 + _OFFERS_APART * number, load.model, box.hardware,
                    load.accelerators, load.precision, f"{dollars}.{nano:09}", load.concurrency,
                    load.context, " ".join(kind.capabilities), round(entry.place.lon * 4 / 30) * 30,
                )
            )  # fmt: skip
    policy = Policy(ask_ppm=kind.ask_percent * 10_000, dearer_ppm=1_300_000, ttl_us=10_000_000)
    return Fleet(
        operator=kind.name,
        sites=tuple(entry.site.site for entry in drawn),
        source=f"{kind.name}.csv",
        csv=text.getvalue(),
        policy=policy,
    )


def _rtt_us(
    seed: int, sites: Sequence[Site], metro_commands: Sequence[Metro]
) -> npt.NDArray[np.int64]:
    """Estimate the round trips that are worth a bid, shape (sites, metros); -1: not worth one."""
    draws = np.random.Generator(np.random.PCG64([seed, 2]))
    distance = distance_km(
        np.array([site.lat for site in sites]),
        np.array([site.lon for site in sites]),
        np.array([metro.lat for metro in metro_commands]),
        np.array([metro.lon for metro in metro_commands]),
    )
    access = np.array([ACCESS_MS[site.tier] for site in sites])
    p99_us = estimate_p99_us(distance, access, draws)
    useful = p99_us <= np.array([USEFUL_US[site.tier] for site in sites])[:, None]
    return np.where(useful, p99_us, -1)


def _rtts(
    rtt_us: npt.NDArray[np.int64], sites: Sequence[Site], metro_commands: Sequence[Metro]
) -> tuple[Rtt, ...]:
    return tuple(
        Rtt(
            at=0,
            site=sites[row].site,
            metro=metro_commands[column].metro,
            p99_us=int(rtt_us[row, column]),
            estimate=True,
        )
        for row, column in zip(*(axis.tolist() for axis in np.nonzero(rtt_us >= 0)), strict=True)
    )


def _real_site(places: Sequence[MetroPlace]) -> tuple[RealSite, Operator, Site]:
    metro = next(place for place in places if place.name == world_cards.REAL_METRO)
    operator = Operator(at=0, operator="lantern-lab", control=("DE",))
    site = Site(
        at=0,
        site="lantern-lab/berlin-01",
        operator="lantern-lab",
        tier="on_prem",
        lat=metro.city.lat,
        lon=metro.city.lon,
        country=metro.city.country,
        data_countries=(metro.city.country,),
        power_kw=1,
    )
    real = RealSite(
        "lantern-lab", site.site, metro.name, world_cards.REAL_MODEL,
        world_cards.REAL_COST_IN_PUSD, world_cards.REAL_COST_OUT_PUSD,
    )  # fmt: skip
    return real, operator, site


def opening_offers(fleets: Sequence[Fleet], now_ns: int = 0) -> tuple[Offer, ...]:
    """Return what the operators' adapters offer while nothing is sold yet."""
    return tuple(
        offer
        for fleet in fleets
        for offer in price_list.offers(price_list.read(fleet.samples()), fleet.policy, now_ns)
    )


def world(seed: int = 1, sites: int = SITES_DEFAULT) -> World:
    """Make the world of a seed with so many sites, the real one included (at least `SITES_MIN`)."""
    if sites < SITES_MIN:
        raise ValueError(f"sites: {sites} is below {SITES_MIN}, too few for twelve operators")
    places = metros()
    asns = _country_asns([place.country for metro in places for place in metro.suburbs])
    metro_commands = tuple(
        Metro(
            at=0, metro=metro.name, lat=metro.city.lat, lon=metro.city.lon,
            country=metro.city.country, population=metro.population,
        )
        for metro in places
    )  # fmt: skip
    drawn: list[_Drawn] = []
    fleets: dict[str, Fleet] = {}
    counts = _shares(sites - 1)
    for kind in OPERATORS:
        mine = _draw_sites(seed, kind, counts[kind.name], places, asns)
        drawn.extend(mine)
        fleets[kind.name] = _fleet(seed, kind, mine)
    real, real_operator, real_site = _real_site(places)
    site_commands = (*(entry.site for entry in drawn), real_site)
    rtt_us = _rtt_us(seed, site_commands, metro_commands)
    models, price_cards = world_cards.cards(
        opening_offers(tuple(fleets.values())),
        {site.site: row for site, row in zip(site_commands, rtt_us, strict=True)},
        np.array([metro.population for metro in metro_commands]),
        model_facts(),
    )
    return World(
        seed=seed,
        rules=Rules(at=0, take_rate_ppm=TAKE_RATE_PPM),
        operators=(
            *(
                Operator(at=0, operator=kind.name, group=kind.group, control=kind.control)
                for kind in OPERATORS
            ),
            real_operator,
        ),
        models=models,
        price_cards=price_cards,
        metros=metro_commands,
        sites=site_commands,
        trusts=tuple(
            SiteTrust(
                at=0,
                site=entry.site.site,
                trust=entry.trust,
                latency_margin_us=_MARGINS_US[entry.trust],
            )
            for entry in drawn
        ),
        rtts=_rtts(rtt_us, site_commands, metro_commands),
        fleets=fleets,
        real=real,
        access_asns={metro.name: asns[metro.city.country] for metro in places},
    )
