"""The contract of an adapter: two pure functions between an operator's fleet and its offers.

    read(samples) → FleetState                      what was observed, in the market's units
    offers(fleet, policy, now_ns) → (Offer, …)      what to sell, complete, with `at` = 0

An adapter (`ADAPTER: Adapter` in its package) has no I/O, no clock and no memory. The runner does the
rest: it collects `Samples` (files, HTTP answers, and the fills it was told of), calls the two, checks
the result with `overcommitted`, compares it with what stands, and sends `offer` for what is new or has
other terms, `refresh` where only the figures of a refresh moved, `renew` for what is unchanged.

So a new adapter is mostly data: `tests/adapters/cases/NAME/{exemplary,supplemental}/*.json`, one case
per file: `{"samples": …, "policy": …, "now_ns": …}` and what must come out, `{"offers": […]}` or
`{"error": "SOURCE:LINE: field: why"}`. Exemplary cases are what an operator would copy; supplemental
ones hold odd and broken input. The fixtures stay out of the wheel.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Protocol

from msgspec import Meta, Struct, field

from schemas import limits
from schemas.commands import (
    AdapterNames,
    Capabilities,
    ContextLimit,
    Contract,
    Count,
    Hardware,
    LatencyUs,
    Name,
    Offer,
    OfferNumber,
    Ppm,
    Precision,
    PrefillNs,
    SecondPrice,
    Slots,
    TokensPerSecond,
    TtlUs,
    UnitPrice,
)
from schemas.partition import Partition, check_partition
from schemas.report import KnownFill

# An engine's offers are numbered from its `first_offer`, two tranches to a class of context. The
# numbers are spoken for even when unused: an offer's number must not depend on its neighbours.
OFFERS_PER_ENGINE: Final = 16
CONTEXT_CLASSES_MAX: Final = OFFERS_PER_ENGINE // 2

# A multiple of something in parts per million; 10,000 times is a typo.
Multiple = Annotated[int, Meta(ge=0, le=10_000 * limits.PPM)]


class AdapterError(ValueError):
    """Say what in which sample cannot be read: `SOURCE:LINE: field: why` (line 0: left out)."""

    def __init__(self, source: str, line: int, field: str, why: str) -> None:
        place = f"{source}:{line}" if line else source
        super().__init__(f"{place}: {field}: {why}")
        self.source = source
        self.line = line
        self.field = field


# ----------------------------------------------------------------------------- what was observed
class Sample(Struct, frozen=True, kw_only=True):
    """One captured text: a file's or an HTTP answer's, named so that an error can point at it."""

    source: str
    text: str
    at_ns: int = 0


class OfferFills(Struct, frozen=True, kw_only=True):
    """The fills of one offer as far as its site knows them (`schemas.report`)."""

    site: Name
    offer: OfferNumber
    fills: tuple[KnownFill, ...] = ()
    settled_up_to: int = 0


class Samples(Struct, frozen=True, kw_only=True):
    """All that an adapter is given: texts, and the runner's record of fills."""

    documents: tuple[Sample, ...] = ()
    fills: tuple[OfferFills, ...] = ()


# ----------------------------------------------------------------------------- what it means
class ContextClass(Struct, frozen=True, kw_only=True):
    """A part of an engine's slots that holds requests of up to `context_limit` tokens."""

    context_limit: ContextLimit
    share_ppm: Ppm


class EngineState(Struct, frozen=True, kw_only=True):
    """One inference server at a site, in the market's units.

    `cost_*`: what a token (pico-dollars) or a second of lease (nano-dollars) costs the operator; the
    policy makes asks of it. `concurrency`: requests it runs at once; `elsewhere`: those now busy that
    no fill of this exchange brought. `kv_tokens`: tokens its KV cache holds; `kv_tokens_elsewhere`:
    those taken likewise. Shares of `context_classes` add up to at most one million.
    """

    site: Name
    engine: Name
    first_offer: OfferNumber
    model: Name
    hardware: Hardware
    precision: Precision = "other"
    contract: Contract = "on_demand"
    cost_in: UnitPrice
    cost_out: UnitPrice
    cost_second: SecondPrice = 0
    concurrency: Slots
    elsewhere: Count = 0
    kv_tokens: Count
    kv_tokens_elsewhere: Count = 0
    context_classes: Annotated[
        tuple[ContextClass, ...], Meta(min_length=1, max_length=CONTEXT_CLASSES_MAX)
    ]
    ttft_us: LatencyUs
    prefill_ns_per_token: PrefillNs
    tokens_per_second: TokensPerSecond
    cold_start_us: LatencyUs = 0
    adapters: AdapterNames = ()
    adapter_load_us: LatencyUs = 0
    capabilities: Capabilities = ()
    utc_offset_minutes: Annotated[int, Meta(ge=-14 * 60, le=14 * 60)] = 0
    draining: bool = False

    @property
    def offer_numbers(self) -> range:
        """The numbers that belong to this engine at its site."""
        return range(self.first_offer, self.first_offer + OFFERS_PER_ENGINE)


class FleetState(Struct, frozen=True, kw_only=True):
    """All engines of an operator that one adapter sees, and the fills that are known of them."""

    engines: tuple[EngineState, ...]
    fills: tuple[OfferFills, ...] = ()


# ----------------------------------------------------------------------------- what is wanted
class UtilisationStep(Struct, frozen=True, kw_only=True):
    """From this utilisation on, the ask is multiplied so. Steps are coarse on purpose.

    A changed ask is a new `offer` and costs the standing one its place in ties (MARKET.md §3).
    """

    from_ppm: Ppm
    ask_ppm: Multiple


class Policy(Struct, frozen=True, kw_only=True):
    """How an operator turns cost into asks, and capacity into tranches.

    ask = cost × `ask_ppm` × hour's multiple × utilisation's multiple, of the second tranche times
    `dearer_ppm` too, never below cost × `floor_ppm`. `target_ppm` of each class of context is the
    first tranche: it fills a site to where the engine still answers in the time it states, the rest
    is sold dearer. `deal` names private terms ("" = open market).
    """

    ask_ppm: Multiple = 1_300_000
    floor_ppm: Multiple = 1_000_000
    target_ppm: Ppm = 700_000
    dearer_ppm: Multiple = 1_300_000
    by_hour_ppm: Annotated[tuple[Multiple, ...], Meta(min_length=24, max_length=24)] = (
        limits.PPM,
    ) * 24
    by_utilisation: tuple[UtilisationStep, ...] = field(
        default=(
            UtilisationStep(from_ppm=0, ask_ppm=limits.PPM),
            UtilisationStep(from_ppm=500_000, ask_ppm=1_100_000),
            UtilisationStep(from_ppm=850_000, ask_ppm=1_400_000),
        )
    )
    deal: str = ""
    ttl_us: TtlUs = 10_000_000


# ----------------------------------------------------------------------------- the two functions
class Adapter(Protocol):
    """What a package of `ssp_adapters` exports as `ADAPTER` (a module with both functions will do).

    One whose offers of a site follow from that site's engines and fills alone may say so by an attribute
    `BY_SITE = True`: the runner then asks for the sites where something happened, not twice a second
    for a fleet of hundreds.
    """

    def read(self, samples: Samples) -> FleetState:
        """Turn what was observed into a fleet's state. Raises `AdapterError`."""

    def offers(self, fleet: FleetState, policy: Policy, now_ns: int) -> tuple[Offer, ...]:
        """Return every offer that should stand now, in order of (site, number), `at` = 0."""


def overcommitted(fleet: FleetState, offers: Iterable[Offer]) -> tuple[Partition, ...]:
    """Return the engines whose offers promise more than they have; none is what must come out.

    An offer that belongs to no engine counts as an engine of nothing.
    """
    standing = tuple(offers)
    claimed: set[tuple[str, int]] = set()
    faults = []
    for engine in fleet.engines:
        mine = [o for o in standing if o.site == engine.site and o.offer in engine.offer_numbers]
        claimed.update((o.site, o.offer) for o in mine)
        faults.append(
            check_partition(
                mine,
                concurrency=max(0, engine.concurrency - engine.elsewhere),
                kv_tokens_free=max(0, engine.kv_tokens - engine.kv_tokens_elsewhere),
            )
        )
    orphans = [o for o in standing if (o.site, o.offer) not in claimed]
    faults.append(check_partition(orphans, concurrency=0, kv_tokens_free=0))
    return tuple(fault for fault in faults if not fault.ok)
