"""The demo's demand: a trace read as it is, a generator with its statistics, buyers with reasons."""

import gzip
import itertools
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dsp_sdk.demo import demand, demand_trace
from dsp_sdk.demo.demand_buyers import (
    BUYERS,
    PATTERNS,
    REAL_BUYER,
    REAL_TOKENS_IN,
    REAL_TOKENS_OUT,
)
from schemas.commands import Campaign, Metro
from schemas.jurisdictions import SET_OF_NAME

TRACE = Path(__file__).parents[3] / "shared" / "data" / "traces" / "azure_llm_2023.csv.gz"


def metro(name: str, country: str, population: int) -> Metro:
    return Metro(at=0, metro=name, lat=0, lon=0, country=country, population=population)


METROS = (
    metro("berlin-de", "DE", 4), metro("paris-fr", "FR", 10), metro("dallas-us", "US", 6),
    metro("lagos-ng", "NG", 16), metro("zurich-ch", "CH", 1),
)  # fmt: skip


def trace() -> list[demand_trace.Request]:
    if not TRACE.exists():
        pytest.skip(f"{TRACE} is not here: the trace is read where it is")
    with gzip.open(TRACE, "rt", encoding="utf-8") as file:
        return demand_trace.read_trace(file, TRACE.name)


def statistics(requests: list[demand_trace.Request], end_us: int) -> dict[str, dict[str, float]]:
    result = {}
    for service in ("conv", "code"):
        mine = [r for r in requests if r.service == service and r.t_us < end_us]
        window_us = demand_trace.WINDOW_S * demand_trace.US_PER_S
        counts = np.bincount([r.t_us // window_us for r in mine], minlength=end_us // window_us)
        tokens = np.array([(r.input_tokens, r.output_tokens) for r in mine])
        result[service] = {
            "per_window": counts.mean(),
            "dispersion": counts.var() / counts.mean(),
            "in_mean": tokens[:, 0].mean(),
            "out_mean": tokens[:, 1].mean(),
            "in_median": float(np.median(tokens[:, 0])),
            "out_median": float(np.median(tokens[:, 1])),
        }
    return result


def test_the_real_trace_is_read_as_it_is():
    found = trace()
    assert len(found) == 28_185
    assert found[0] == demand_trace.Request(0, "conv", 374, 44)
    assert found[-1].t_us == pytest.approx(3_513_247_000, abs=10_000)


def test_generator_and_trace_agree():
    """Means within a sixth, dispersion (a heavy tail over one hour) within a factor of two."""
    recorded = statistics(trace(), 3_510_000_000)
    made = list(itertools.takewhile(lambda r: r.t_us < 7_200_000_000, demand_trace.generate(7)))
    drawn = statistics(made, 7_200_000_000)
    for service, expected in recorded.items():
        for key, value in expected.items():
            low, high = (0.5, 2.0) if key == "dispersion" else (0.84, 1.2)
            assert low < drawn[service][key] / value < high, (service, key, drawn[service], value)


def test_generated_requests_come_in_order_for_ever_and_by_seed():
    first = list(itertools.islice(demand_trace.generate(1), 5_000))
    assert first == sorted(first, key=lambda r: r.t_us)
    assert first == list(itertools.islice(demand_trace.generate(1), 5_000))
    assert first != list(itertools.islice(demand_trace.generate(2), 5_000))
    assert all(r.input_tokens >= 1 and r.output_tokens >= 1 for r in first)


@pytest.mark.parametrize(
    "lines,where",
    [
        ([], "t:1"),
        (["a,b"], "t:1"),
        (["t_s,service,input_tokens,output_tokens"], "no requests"),
        (["t_s,service,input_tokens,output_tokens", "0,conv,1"], "t:2"),
        (["t_s,service,input_tokens,output_tokens", "x,conv,1,1"], "t:2"),
        (["t_s,service,input_tokens,output_tokens", "nan,conv,1,1"], "t:2"),
        (["t_s,service,input_tokens,output_tokens", "1,conv,1,1", "0,conv,1,1"], "t:3"),
        (["t_s,service,input_tokens,output_tokens", "1,conv,0,0"], "t:2"),
        (["t_s,service,input_tokens,output_tokens", "1,conv,-1,5"], "t:2"),
    ],
)
def test_a_malformed_trace_names_its_line(lines, where):
    with pytest.raises(demand_trace.TraceError, match=where):
        demand_trace.read_trace(lines, "t")


def test_a_replayed_trace_goes_on_where_it_ended():
    short = [demand_trace.Request(0, "conv", 5, 5), demand_trace.Request(90, "code", 6, 6)]
    again = list(itertools.islice(demand_trace.replay(short), 6))
    assert [r.t_us for r in again] == sorted(r.t_us for r in again)
    assert [r.input_tokens for r in again] == [5, 6] * 3


def arrivals(seconds: float, seed: int = 1) -> list[demand.Arrival]:
    found = demand.arrivals(
        seed=seed, metros=METROS, home_metro="berlin-de", requests=demand_trace.generate(seed)
    )
    return list(demand.until(found, seconds))


def test_sixty_times_as_fast_is_nearly_five_hundred_bids_a_second():
    found = arrivals(30)
    assert 350 < len(found) / 30 < 650
    assert [a.t_ns for a in found] == sorted(a.t_ns for a in found)
    assert demand.speed_of_rate(481.3) == pytest.approx(60, rel=0.01)


def test_the_same_seed_asks_for_the_same_things():
    assert arrivals(2) == arrivals(2)
    assert arrivals(2) != arrivals(2, seed=2)


def test_every_campaign_is_asked_for_from_the_places_its_users_live_in():
    found = arrivals(20)
    campaigns = {(c.buyer, c.campaign) for plan in BUYERS for c in plan.campaigns}
    assert {(a.buyer, a.campaign) for a in found} == campaigns
    origins: dict[str, Counter[str]] = defaultdict(Counter)
    for arrival in found:
        origins[arrival.campaign][arrival.origin] += 1
    assert origins["chat"].keys() == {"berlin-de", "paris-fr"}
    assert origins["chat"]["paris-fr"] > origins["chat"]["berlin-de"]
    assert set(origins["batch"]) == {m.metro for m in METROS}
    assert set(origins["notes"]) == {"berlin-de"}


def test_a_request_comes_every_two_seconds_that_only_the_real_site_can_serve():
    mine = [a for a in arrivals(20) if a.buyer == REAL_BUYER]
    assert len(mine) == 10
    assert {b.t_ns - a.t_ns for a, b in itertools.pairwise(mine)} == {2 * 10**9}
    assert all(a.tokens_in <= REAL_TOKENS_IN == 64 for a in mine)
    assert all(a.tokens_out <= REAL_TOKENS_OUT == 32 for a in mine)
    plan = next(plan for plan in BUYERS if plan.buyer == REAL_BUYER)
    assert [m.model for m in plan.campaigns[0].models] == ["smollm2-135m"]
    assert plan.campaigns[0].latency_budget_us == 5_000_000


def test_campaigns_are_well_formed_and_say_what_their_goals_say():
    for plan in BUYERS:
        assert plan.goal
        for campaign in plan.campaigns:
            assert campaign.buyer == plan.buyer
            assert msgspec.json.decode(msgspec.json.encode(campaign), type=Campaign) == campaign
    by_name = {c.campaign: c for plan in BUYERS for c in plan.campaigns}
    area, union = (SET_OF_NAME[name].countries for name in ("EEA", "EU"))
    assert by_name["chat"].residency == by_name["chat"].data_residency == area
    assert by_name["files"].sovereignty == union
    assert by_name["voice"].latency_budget_us == 30_000
    unit_prices = {name: campaign.max_unit_price for name, campaign in by_name.items()}
    assert min(unit_prices, key=unit_prices.__getitem__) == "batch"


def test_every_request_of_both_services_finds_a_campaign_of_its_size():
    for service in ("conv", "code"):
        for tokens in (0, 1, 400, 401, 2**23):
            assert any(
                p.service == service and p.tokens_in_min <= tokens <= p.tokens_in_max
                for p in PATTERNS
            ), (service, tokens)


def test_longer_prompts_get_longer_budgets():
    assistant = next(p for p in PATTERNS if p.campaign == "assistant")
    assert [assistant.budget_us(n) for n in (300, 800, 2_500)] == [None, 250_000, 1_000_000]


def test_a_world_without_a_place_for_a_campaign_is_refused():
    with pytest.raises(ValueError, match="EEA"):
        next(
            demand.arrivals(
                seed=1, metros=(METROS[3],), home_metro="lagos-ng",
                requests=demand_trace.generate(1),
            )
        )  # fmt: skip
