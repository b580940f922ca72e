"""The yield policy over arbitrary engines: it never sells more than there is, nor below the floor."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import limits
from schemas.report import KnownFill
from ssp_adapters import yield_policy
from ssp_adapters.contract import (
    ContextClass,
    EngineState,
    FleetState,
    OfferFills,
    Policy,
    UtilisationStep,
    overcommitted,
)

PPM = limits.PPM

# Small numbers, so that full, empty and one-slot tranches are common.
classes = st.lists(
    st.builds(ContextClass, context_limit=st.integers(1, 40), share_ppm=st.integers(0, PPM // 3)),
    min_size=1,
    max_size=3,
).map(tuple)
engines = st.builds(
    EngineState,
    site=st.just("m/s"),
    engine=st.just("e"),
    first_offer=st.just(17),
    model=st.just("x"),
    hardware=st.just("l4"),
    cost_in=st.integers(0, 1000),
    cost_out=st.integers(0, 1000),
    concurrency=st.integers(0, 12),
    elsewhere=st.integers(0, 14),
    kv_tokens=st.integers(0, 200),
    kv_tokens_elsewhere=st.integers(0, 60),
    context_classes=classes,
    ttft_us=st.just(1),
    prefill_ns_per_token=st.just(1),
    tokens_per_second=st.just(1),
)
policies = st.builds(
    Policy,
    ask_ppm=st.integers(0, 3 * PPM),
    floor_ppm=st.integers(0, 2 * PPM),
    target_ppm=st.integers(0, PPM),
    dearer_ppm=st.integers(PPM, 2 * PPM),
)
fills = st.lists(
    st.builds(
        OfferFills,
        site=st.just("m/s"),
        offer=st.integers(17, 22),
        fills=st.lists(
            st.builds(
                KnownFill, st.integers(1, 6), st.sampled_from(("leased", "started", "ended"))
            ),
            max_size=4,
        ).map(tuple),
    ),
    max_size=4,
).map(tuple)


@given(engine=engines, policy=policies, known=fills, now_ns=st.integers(0, 10**18))
def test_offers_never_promise_more_than_the_engine_has_nor_sell_below_the_floor(
    engine, policy, known, now_ns
):
    fleet = FleetState(engines=(engine,), fills=known)
    offers = yield_policy.offers(fleet, policy, now_ns)
    assert not overcommitted(fleet, offers)
    for offer in offers:
        assert offer.ask_in * PPM >= engine.cost_in * policy.floor_ppm
        assert offer.ask_out * PPM >= engine.cost_out * policy.floor_ppm
    numbers = [offer.offer for offer in offers]
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) <= set(engine.offer_numbers)


@given(engine=engines, policy=policies)
def test_the_first_tranche_reaches_the_target_and_is_never_the_dearer_one(engine, policy):
    idle = replace(engine, elsewhere=0)
    offers = yield_policy.engine_offers(idle, policy, 0)
    for place, slots in enumerate(yield_policy.allot(idle)):
        pair = [o for o in offers if o.offer in {17 + 2 * place, 18 + 2 * place}]
        assert sum(o.slots for o in pair) == slots
        cheap = [o for o in pair if o.offer == 17 + 2 * place]
        assert sum(o.slots for o in cheap) == -(-slots * policy.target_ppm // PPM)
        if len(pair) == 2:
            assert pair[0].ask_in <= pair[1].ask_in


def test_the_ask_follows_utilisation_in_steps_and_the_sites_own_clock():
    engine = EngineState(
        site="m/s", engine="e", first_offer=1, model="x", hardware="l4", cost_in=1000,
        cost_out=2000, concurrency=10, kv_tokens=10_000,
        context_classes=(ContextClass(context_limit=100, share_ppm=PPM),), ttft_us=1,
        prefill_ns_per_token=1, tokens_per_second=1, utc_offset_minutes=90,
    )  # fmt: skip
    policy = Policy(
        ask_ppm=PPM,
        by_hour_ppm=(PPM,) * 9 + (2 * PPM,) + (PPM,) * 14,
        by_utilisation=(
            UtilisationStep(from_ppm=0, ask_ppm=PPM),
            UtilisationStep(from_ppm=500_000, ask_ppm=3 * PPM),
        ),
    )
    hour_ns = 3_600 * 10**9

    def ask(elsewhere: int, now_ns: int) -> int:
        busy = replace(engine, elsewhere=elsewhere)
        return yield_policy.engine_offers(busy, policy, now_ns)[0].ask_in

    assert [ask(busy, 0) for busy in (0, 4, 5, 9)] == [1000, 1000, 3000, 3000]
    # 90 minutes east, nine o'clock there is half past seven in UTC.
    assert [ask(0, 7 * hour_ns), ask(0, 7 * hour_ns + hour_ns // 2), ask(0, 9 * hour_ns)] == [
        1000, 2000, 1000,
    ]  # fmt: skip


def test_a_draining_engine_offers_nothing():
    engine = EngineState(
        site="m/s", engine="e", first_offer=1, model="x", hardware="l4", cost_in=1, cost_out=1,
        concurrency=10, kv_tokens=10_000, draining=True,
        context_classes=(ContextClass(context_limit=100, share_ppm=PPM),), ttft_us=1,
        prefill_ns_per_token=1, tokens_per_second=1,
    )  # fmt: skip
    assert yield_policy.engine_offers(engine, Policy(), 0) == ()


def test_an_offer_of_no_engine_is_overcommitted():
    engine = EngineState(
        site="m/s", engine="e", first_offer=1, model="x", hardware="l4", cost_in=1, cost_out=1,
        concurrency=10, kv_tokens=10_000,
        context_classes=(ContextClass(context_limit=100, share_ppm=PPM),), ttft_us=1,
        prefill_ns_per_token=1, tokens_per_second=1,
    )  # fmt: skip
    fleet = FleetState(engines=(engine,))
    offers = yield_policy.offers(fleet, Policy(), 0)
    stray = replace(offers[0], offer=40)
    assert [fault.offers[0][1] for fault in overcommitted(fleet, (*offers, stray))] == [40]
