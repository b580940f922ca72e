"""The table of MARKET.md §5: each rule alone keeps a bid from filling, under its name and no other.

A row: what is special about campaign, bid, offer, site or operator so that exactly one rule fails,
and the nearest case that passes.
"""

from typing import Any

import pytest

from schemas.reasons import ELIGIBILITY_RULES
from tests.market.book import Book, reason, sold

# rule: [(what fails, what passes)]; keys of a case: campaign, bid, offer, site, operator, trust, rtt
FAILS: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "no_model": [
        ({"offer": {"model": "other"}}, {}),
        ({"offer": {"deal": "d-Y"}}, {"offer": {"deal": "d-X"}}),
    ],
    "no_capacity": [({"offer": {"slots": 0}}, {"offer": {"slots": 1}})],
    "cold": [
        ({"offer": {"cold_start_us": 1}},
         {"offer": {"cold_start_us": 1}, "campaign": {"accept_cold": True}}),
        ({"bid": {"adapter": "lora"}}, {"bid": {"adapter": "lora"}, "offer": {"adapters": ["lora"]}}),
        ({"bid": {"adapter": "lora"}, "offer": {"adapter_load_us": 1}},
         {"bid": {"adapter": "lora"}, "offer": {"adapter_load_us": 1},
          "campaign": {"accept_cold": True}}),
        ({"bid": {"adapter": "lora-other"}, "offer": {"adapter_load_us": 1},
          "campaign": {"accept_cold": True}},
         {"bid": {"adapter": "lora"}, "offer": {"adapter_load_us": 1},
          "campaign": {"accept_cold": True}}),
        ({"bid": {"adapter": "lora"}, "offer": {"adapters": ["lora"], "cold_start_us": 1}},
         {"bid": {"adapter": "lora"}, "offer": {"adapters": ["lora"]}}),
    ],
    "own": [({"operator": {"group": "X"}}, {"operator": {"group": "Z"}})],
    "residency": [
        ({"campaign": {"residency": ["DE", "FR"]}, "site": {"country": "US"}},
         {"campaign": {"residency": ["DE", "FR"]}, "site": {"country": "FR"}}),
        ({"campaign": {"residency": ["DE"]}}, {}),
    ],
    "data_residency": [
        ({"campaign": {"data_residency": ["DE"]}, "site": {"data_countries": ["DE", "US"]}},
         {"campaign": {"data_residency": ["DE", "US"]}, "site": {"data_countries": ["DE", "US"]}}),
        ({"campaign": {"data_residency": ["DE"]}}, {"site": {"data_countries": ["US"]}}),
    ],
    "sovereignty": [
        ({"campaign": {"sovereignty": ["DE"]}, "operator": {"control": ["DE", "US"]}},
         {"campaign": {"sovereignty": ["DE"]}, "operator": {"control": ["DE"]}}),
        ({"campaign": {"sovereignty": ["DE"]}}, {"operator": {"control": ["US"]}}),
    ],
    "certification": [
        ({"campaign": {"certifications": ["hipaa", "soc2"]}, "site": {"certifications": ["soc2"]}},
         {"campaign": {"certifications": ["soc2"]}, "site": {"certifications": ["hipaa", "soc2"]}}),
    ],
    "tier": [({"campaign": {"tiers": ["cdn_pop"]}}, {"campaign": {"tiers": ["metro_colo"]}})],
    "operator": [
        ({"campaign": {"allow_operators": ["B"]}}, {"campaign": {"allow_operators": ["B", "A"]}}),
        ({"campaign": {"deny_operators": ["A"]}}, {"campaign": {"deny_operators": ["B"]}}),
        ({"campaign": {"allow_operators": ["A"], "deny_operators": ["A"]}}, {}),
    ],
    "trust": [
        ({"campaign": {"min_trust": 2}, "trust": {"trust": 1}},
         {"campaign": {"min_trust": 2}, "trust": {"trust": 2}}),
    ],
    "capability": [
        ({"campaign": {"capabilities": ["tools"]}, "offer": {"capabilities": ["vision"]}},
         {"campaign": {"capabilities": ["tools"]}, "offer": {"capabilities": ["tools", "vision"]}}),
    ],
    "hardware": [({"campaign": {"hardware": ["t4"]}}, {"campaign": {"hardware": ["t4", "h100"]}})],
    "precision": [({"campaign": {"precisions": ["fp8"]}}, {"campaign": {"precisions": ["other"]}})],
    "contract": [({"campaign": {"contracts": ["spot"]}}, {"campaign": {"contracts": ["on_demand"]}})],
    "speed": [
        ({"campaign": {"min_tokens_per_second": 5}, "offer": {"tokens_per_second": 4}},
         {"campaign": {"min_tokens_per_second": 5}, "offer": {"tokens_per_second": 5}}),
    ],
    "peering": [
        ({"campaign": {"peering": True}, "bid": {"origin_asn": 1}, "site": {"asns": [2]}},
         {"campaign": {"peering": True}, "bid": {"origin_asn": 2}, "site": {"asns": [2]}}),
        ({"campaign": {"peering": True}, "site": {"asns": [2]}}, {"bid": {"origin_asn": 1}}),
    ],
    "context": [
        ({"bid": {"tokens_in": 3, "tokens_out": 2}, "offer": {"context_limit": 4}},
         {"bid": {"tokens_in": 3, "tokens_out": 1}, "offer": {"context_limit": 4}}),
    ],
    "latency": [
        ({"bid": {"latency_budget_us": 9}}, {"bid": {"latency_budget_us": 10}}),
        ({"rtt": {"p99_us": None}}, {"rtt": {"p99_us": 0}}),
        ({"bid": {"origin": "nowhere"}}, {}),
        ({"offer": {"ttft_us": 991}}, {"offer": {"ttft_us": 990}}),
        ({"trust": {"latency_margin_us": 991}}, {"trust": {"latency_margin_us": 990}}),
        ({"bid": {"tokens_in": 3}, "offer": {"prefill_ns_per_token": 330_334}},
         {"bid": {"tokens_in": 3}, "offer": {"prefill_ns_per_token": 330_333}}),
        ({"offer": {"cold_start_us": 991}, "campaign": {"accept_cold": True}},
         {"offer": {"cold_start_us": 990}, "campaign": {"accept_cold": True}}),
        ({"offer": {"adapter_load_us": 991}, "bid": {"adapter": "lora"},
          "campaign": {"accept_cold": True}},
         {"offer": {"adapter_load_us": 991, "adapters": ["lora"]}, "bid": {"adapter": "lora"}}),
    ],
    "price": [
        ({"offer": {"ask_second": 11}}, {"offer": {"ask_second": 10}}),
        ({"campaign": {"models": [{"model": "m", "markdown": 9}]}},
         {"campaign": {"models": [{"model": "m", "markdown": 8}]}}),
        ({"campaign": {"time_value": 801}}, {"campaign": {"time_value": 800}}),  # 10 µs cost 8, or 9
        ({"bid": {"max_price": 1}}, {"bid": {"max_price": 2}}),
    ],
}  # fmt: skip
ROWS = [(rule, *case) for rule, cases in FAILS.items() for case in cases]


def _bid_on(engine, case):
    book = Book(engine).world(operators="AB", buyers="XY")
    book.ok("model", model="other")
    book.ok("adapter", adapter="lora", model="m")
    book.ok("adapter", adapter="lora-other", model="other")
    book.ok("metro", metro="nowhere")
    for buyer in "XY":
        book.ok("deal", deal=f"d-{buyer}", operator="A", buyers=[buyer])
    book.ok("operator", operator="A", **case.get("operator", {}))
    book.ok("site", site="s-A", operator="A", **case.get("site", {}))
    book.ok("site_trust", site="s-A", **case.get("trust", {}))
    if "rtt" in case:
        book.ok("rtt", site="s-A", metro="metro", **case["rtt"])
    book.ok("campaign", campaign="special", buyer="X", **case.get("campaign", {}))
    book.offer("A", **({"ask": case.get("offer", {}).get("ask_second", 2)} | _rest(case)))
    return book.bid("X", **({"max_price": 10} | case.get("bid", {})), campaign="special")


def _rest(case):
    return {field: value for field, value in case.get("offer", {}).items() if field != "ask_second"}


def test_every_rule_has_a_row():
    assert tuple(FAILS) == ELIGIBILITY_RULES


@pytest.mark.parametrize("rule,fails,passes", ROWS)
def test_each_rule_alone_decides(engine, rule, fails, passes):
    assert reason(_bid_on(engine, fails)) == rule
    assert len(sold(_bid_on(engine, passes))) == 1


def test_the_reason_is_the_furthest_that_any_live_offer_came(book):
    book.world(operators="ABC")
    book.offer("A", 2, slots=0)
    book.offer("B", 2, context_limit=1)
    book.offer("C", 2)
    assert reason(book.bid("X", 1, tokens_in=3)) == "price"
    book.ok("halt", scope="operator", name="C", by="admin")
    assert reason(book.bid("X", 1, tokens_in=3)) == "context"
    book.ok("offer_cancel", site="s-B", offer=1)
    assert reason(book.bid("X", 1, tokens_in=3)) == "no_capacity"
    book.ok("offers_cancel", site="s-A")
    assert reason(book.bid("X", 1, tokens_in=3)) == "no_model"


def test_the_reason_is_looked_for_after_the_bids_own_fills(book):
    book.world()
    book.offer("A", 2)
    events = book.bid("X", 10, quantity=3)
    assert sold(events) == [("A", "X", 10)]
    assert (events[-1].quantity, events[-1].reason) == (2, "no_capacity")


@pytest.mark.parametrize(
    "scope,name", [("exchange", ""), ("operator", "A"), ("site", "s-A"), ("model", "m")]
)
def test_nothing_of_a_live_offer_is_halted(book, scope, name):
    """A bid that rests stays at rest; only its buyer's halt ends it, only the exchange's refuses."""
    book.world()
    book.rest("Y", 10, quantity=1)
    book.ok("halt", scope=scope, name=name, by="risk")
    assert book.offer("A", 2) == []
    if scope == "exchange":
        assert book.rejected("bid", buyer="X", bid=1, campaign="c", **_request()) == "halted"
    else:
        assert reason(book.bid("X", 10)) == "no_model"
    assert book.ok("resume", scope=scope, name=name, by="admin") == []
    assert book.ok("refresh", site="s-A", offer=1) == []  # another authority's halt still stands
    assert book.ok("resume", scope=scope, name=name, by="risk") == []
    assert sold(book.ok("refresh", site="s-A", offer=1)) == [("A", "Y", 10)]


def _request():
    return {"origin": "metro", "tokens_in": 1, "tokens_out": 1}


def test_the_band_of_the_budget_decides_the_card(book):
    """A budget belongs to the smallest band whose bound is at least as large."""
    book.world(card=50)
    for band, card in ((5, 5), (10, 10), (250, 25), (0, 40)):
        book.ok("price_card", model="m", band=band, card_in=0, card_out=0, card_second=card)
    book.offer("A", 1, slots=20)
    cases = {
        10: 5, 5000: 5, 5001: 10, 10_000: 10, 10_001: 50, 30_000: 50, 100_001: 25, 250_000: 25,
        250_001: 40, 1_000_000_000: 40,
    }  # fmt: skip
    for budget_us, card in cases.items():
        assert sold(book.bid("X", 100, latency_budget_us=budget_us)) == [("A", "X", card)]
