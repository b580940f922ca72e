"""The yield policy that both adapters share: from an engine's cost and room to its offers.

    engine ── class of context 1 ── tranche: to the target (70 %)   ask            number first_offer
           │                     └─ tranche: the rest               ask × dearer   number first_offer + 1
           └─ class of context 2 ── …                                              number first_offer + 2

Slots are allotted by concurrency and KV cache; what is busy or sold is taken off by `schemas.report`.
A tranche without any slot allotted is not offered; one that is sold out stands with 0 slots, so that
it keeps its priority.
"""

from typing import Final

from schemas import limits
from schemas.commands import Offer
from schemas.report import Tranche, report_engine
from ssp_adapters.contract import EngineState, FleetState, OfferFills, Policy

_NS_PER_MINUTE: Final = 60 * 10**9
_MINUTES_PER_DAY: Final = 24 * 60
_NO_FILLS: Final[dict[tuple[str, int], OfferFills]] = {}


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def local_hour(now_ns: int, utc_offset_minutes: int) -> int:
    """Return the hour 0 … 23 at the site."""
    return (now_ns // _NS_PER_MINUTE + utc_offset_minutes) % _MINUTES_PER_DAY // 60


def allot(engine: EngineState) -> tuple[int, ...]:
    """Return the slots of each class of context: by its share, as far as the KV cache holds them.

    Where it does not hold all, every class is scaled alike, which keeps the operator's mix, and what
    rounding leaves over goes to the shortest contexts first. So Σ slots × limit ≤ tokens free.
    """
    limit = [entry.context_limit for entry in engine.context_classes]
    wanted = [
        engine.concurrency * entry.share_ppm // limits.PPM for entry in engine.context_classes
    ]
    left = max(0, engine.kv_tokens - engine.kv_tokens_elsewhere)
    need = sum(slots * tokens for slots, tokens in zip(wanted, limit, strict=True))
    if need <= left:
        return tuple(wanted)
    slots = [count * left // need for count in wanted]
    left -= sum(count * tokens for count, tokens in zip(slots, limit, strict=True))
    for place in sorted(range(len(slots)), key=lambda place: (limit[place], place)):
        more = min(wanted[place] - slots[place], left // limit[place])
        slots[place] += more
        left -= more * limit[place]
    return tuple(slots)


def _utilisation_ppm(engine: EngineState, fills: dict[tuple[str, int], OfferFills]) -> int:
    if not engine.concurrency:
        return limits.PPM
    open_count = sum(
        fill.state != "ended"
        for number in engine.offer_numbers
        if (entry := fills.get((engine.site, number))) is not None
        for fill in entry.fills
        if fill.ordinal > entry.settled_up_to
    )
    busy = engine.elsewhere + open_count
    return min(limits.PPM, busy * limits.PPM // engine.concurrency)


def asks(
    engine: EngineState, policy: Policy, utilisation_ppm: int, hour: int, *, dearer: bool
) -> tuple[int, int, int]:
    """Return (ask_in, ask_out, ask_second): rounded up, so that no ask is below what it stands for."""
    step_ppm = limits.PPM
    for step in policy.by_utilisation:
        if utilisation_ppm >= step.from_ppm:
            step_ppm = step.ask_ppm
    multiple = policy.ask_ppm * policy.by_hour_ppm[hour] * step_ppm
    multiple *= policy.dearer_ppm if dearer else limits.PPM

    def ask(cost: int, limit: int) -> int:
        wanted = _ceil_div(cost * multiple, limits.PPM**4)
        floor = _ceil_div(cost * policy.floor_ppm, limits.PPM)
        return min(max(wanted, floor), limit)

    return (
        ask(engine.cost_in, limits.UNIT_PRICE_PUSD_MAX),
        ask(engine.cost_out, limits.UNIT_PRICE_PUSD_MAX),
        ask(engine.cost_second, limits.SECOND_PRICE_NUSD_MAX),
    )


def engine_offers(
    engine: EngineState,
    policy: Policy,
    now_ns: int,
    fills: dict[tuple[str, int], OfferFills] = _NO_FILLS,
) -> tuple[Offer, ...]:
    """Return the offers of one engine, numbered as drawn at the top of this file."""
    if engine.draining:
        return ()
    utilisation_ppm = _utilisation_ppm(engine, fills)
    hour = local_hour(now_ns, engine.utc_offset_minutes)
    # number, dearer, context_limit, allotted; all cheap tranches first: outside load is charged in
    # this order, so a site that is busy anyway is left with its dear slots.
    ladder: list[tuple[int, bool, int, int]] = []
    classes = list(zip(engine.context_classes, allot(engine), strict=True))
    for dearer in (False, True):
        for index, (entry, slots) in enumerate(classes):
            cheap = _ceil_div(slots * policy.target_ppm, limits.PPM)
            allotted = slots - cheap if dearer else cheap
            if allotted:
                number = engine.first_offer + 2 * index + dearer
                ladder.append((number, dearer, entry.context_limit, allotted))
    tranches = []
    for number, _, _, allotted in ladder:
        known = fills.get((engine.site, number))
        tranches.append(
            Tranche(number, allotted, known.fills, known.settled_up_to)
            if known is not None
            else Tranche(number, allotted)
        )
    result = []
    for (number, dearer, context_limit, _), told in zip(
        ladder, report_engine(tranches, engine.elsewhere), strict=True
    ):
        ask_in, ask_out, ask_second = asks(engine, policy, utilisation_ppm, hour, dearer=dearer)
        result.append(
            Offer(
                at=0,
                site=engine.site,
                offer=number,
                model=engine.model,
                hardware=engine.hardware,
                precision=engine.precision,
                contract=engine.contract,
                ask_in=ask_in,
                ask_out=ask_out,
                ask_second=ask_second,
                slots=told.slots,
                fills_seen=told.fills_seen,
                ttft_us=engine.ttft_us,
                prefill_ns_per_token=engine.prefill_ns_per_token,
                tokens_per_second=engine.tokens_per_second,
                context_limit=context_limit,
                cold_start_us=engine.cold_start_us,
                adapters=engine.adapters,
                adapter_load_us=engine.adapter_load_us,
                capabilities=engine.capabilities,
                deal=policy.deal,
                ttl_us=policy.ttl_us,
            )
        )
    return tuple(sorted(result, key=lambda offer: offer.offer))


def offers(fleet: FleetState, policy: Policy, now_ns: int) -> tuple[Offer, ...]:
    """Return every offer that should stand now, in order of (site, number), `at` = 0."""
    fills = {(entry.site, entry.offer): entry for entry in fleet.fills}
    result = [
        offer for engine in fleet.engines for offer in engine_offers(engine, policy, now_ns, fills)
    ]
    return tuple(sorted(result, key=lambda offer: (offer.site, offer.offer)))
