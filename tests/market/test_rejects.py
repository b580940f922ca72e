"""Which commands are refused, and in which order the reasons are looked for (MARKET_FILE.md)."""

import pytest

from matching_core.reference.rejects import CHECKS
from schemas import commands as c
from schemas import events as e
from schemas.limits import AMOUNT_NUSD_MAX, BIDS_AT_REST_MAX, CAMPAIGNS_MAX, DEPOSITS_NUSD_MAX
from tests.market.book import SECOND_US, Book, reason, sold

REQUEST = {"origin": "metro", "tokens_in": 1, "tokens_out": 1}
TRANSFER = {"role": "buyer", "member": "X", "transfer": 2, "amount": 5}
COMPLETE = {"role": "buyer", "member": "X", "fill": 1, "tokens_in": 1, "tokens_out": 1}
OFFER = {"site": "s-A", "offer": 5}
CAMPAIGN = {"campaign": "new", "buyer": "X"}

# Commands that name something unknown, each otherwise acceptable in `_market`.
UNKNOWN = [
    ("deposit", TRANSFER | {"member": "A"}),
    ("deposit", TRANSFER | {"role": "operator"}),
    ("withdraw", TRANSFER | {"member": "nobody"}),
    ("price_card", {"model": "none", "band": 5, "card_in": 0, "card_out": 0}),
    ("site", {"site": "new", "operator": "X"}),
    ("resolve", {"fill": 2, "amount": 0}),
    ("site_trust", {"site": "none", "trust": 1}),
    ("rtt", {"site": "none", "metro": "metro", "p99_us": 1}),
    ("rtt", {"site": "s-A", "metro": "none", "p99_us": 1}),
    *(
        (kind, {"scope": scope, "name": "none", "by": "admin"})
        for kind in ("halt", "resume")
        for scope in ("operator", "site", "model", "buyer")
    ),
    ("halt", {"scope": "operator", "name": "X", "by": "admin"}),
    ("deal", {"deal": "new", "operator": "none", "buyers": []}),
    ("deal", {"deal": "new", "operator": "A", "buyers": ["X", "none"]}),
    ("adapter", {"adapter": "new", "model": "none"}),
    ("offer", OFFER | {"site": "none"}),
    ("offer", OFFER | {"model": "none"}),
    ("offer", OFFER | {"adapters": ["lora", "none"]}),
    ("offer", OFFER | {"adapters": ["lora-n"]}),
    ("offer", OFFER | {"deal": "none"}),
    ("offer", OFFER | {"deal": "d-B"}),
    ("refresh", {"site": "none", "offer": 1}),
    ("renew", {"site": "none", "ttl_us": 1}),
    ("offer_cancel", {"site": "none", "offer": 1}),
    ("offers_cancel", {"site": "none"}),
    ("start", {"operator": "none", "fill": 1}),
    ("start", {"operator": "B", "fill": 1}),
    ("start", {"operator": "A", "fill": 2}),
    ("decline", {"operator": "B", "fill": 1, "reason": "failed"}),
    ("campaign", CAMPAIGN | {"buyer": "none"}),
    ("campaign", CAMPAIGN | {"models": [{"model": "m"}, {"model": "none"}]}),
    ("campaign", CAMPAIGN | {"allow_operators": ["A", "none"]}),
    ("campaign", CAMPAIGN | {"deny_operators": ["X"]}),
    ("campaign_end", {"buyer": "none", "campaign": "c"}),
    ("campaign_end", {"buyer": "X", "campaign": "none"}),
    ("bid", REQUEST | {"buyer": "none", "bid": 9, "campaign": "c"}),
    ("bid", REQUEST | {"buyer": "Y", "bid": 9, "campaign": "only-X"}),
    ("bid", REQUEST | {"buyer": "X", "bid": 9, "campaign": "c", "origin": "none"}),
    ("bid", REQUEST | {"buyer": "X", "bid": 9, "campaign": "c", "adapter": "none"}),
    ("bid_cancel", {"buyer": "none", "bid": 1}),
    ("bids_cancel", {"buyer": "none"}),
    ("release", {"buyer": "Y", "fill": 1}),
    ("complete", COMPLETE | {"member": "Y"}),
    ("complete", COMPLETE | {"role": "operator", "member": "X"}),
]  # fmt: skip


def _market(book):
    """A market with fill 1 of X at A, leased, and a campaign that only X has."""
    book.world(operators="AB", buyers="XY")
    book.ok("model", model="n")
    book.ok("adapter", adapter="lora", model="m")
    book.ok("adapter", adapter="lora-n", model="n")
    book.ok("deal", deal="d-B", operator="B", buyers=[])
    book.ok("campaign", buyer="X", campaign="only-X")
    book.offer("A", 1)
    assert len(sold(book.bid("X", 10))) == 1
    return book


@pytest.mark.parametrize("kind,fields", UNKNOWN)
def test_what_names_something_unknown_is_rejected_unknown(book, kind, fields):
    assert _market(book).rejected(kind, **fields) == "unknown"


def test_every_command_that_can_name_something_unknown_has_a_case():
    tried = {c.COMMAND_OF_NAME[kind] for kind, _ in UNKNOWN}
    assert tried == {kind for kind, checks in CHECKS.items() if "unknown" in checks}


def test_a_campaigns_name_is_free_again_when_it_ended(book):
    book.world()
    assert book.rejected("campaign", buyer="X", campaign="c") == "exists"
    book.ok("campaign", buyer="X", campaign="d")
    book.rest("X", 5)
    book.rest("X", 5, campaign="d")
    book.rest("X", 5)
    ended = book.ok("campaign_end", buyer="X", campaign="c")
    assert [(x.bid, x.reason) for x in ended if isinstance(x, e.Unfilled)] == [
        (1, "cancelled"), (3, "cancelled"),
    ]  # fmt: skip
    book.ok("campaign", buyer="X", campaign="c", latency_budget_us=1)
    assert book.rejected("campaign", buyer="X", campaign="c") == "exists"


def test_bid_numbers_increase_per_agent_and_a_rejected_bid_uses_none(book):
    book.world()
    book.bid("X", 1, bid=7)
    assert book.rejected("bid", buyer="X", bid=7, campaign="c", **REQUEST) == "duplicate"
    assert book.rejected("bid", buyer="X", bid=6, campaign="c", **REQUEST) == "duplicate"
    book.bid("X", 1, bid=3, agent=1)
    book.bid("Y", 1, bid=3)
    book.ok("halt", scope="buyer", name="X", by="risk")
    assert book.rejected("bid", buyer="X", bid=8, campaign="c", **REQUEST) == "halted"
    assert book.rejected("bid", buyer="X", bid=8, campaign="none", **REQUEST) == "unknown"
    book.ok("resume", scope="buyer", name="X", by="risk")
    assert reason(book.bid("X", 1, bid=8)) == "no_model"
    # A bid that ends for lack of funds was accepted and used its number.
    assert reason(book.bid("X", 2**48, bid=9)) == "insufficient_funds"
    assert book.rejected("bid", buyer="X", bid=9, campaign="c", **REQUEST) == "duplicate"


def test_transfers_increase_over_both_directions_per_account(book):
    book.world()
    book.ok("withdraw", role="buyer", member="X", transfer=5, amount=1)
    assert book.rejected("deposit", role="buyer", member="X", transfer=5, amount=1) == "duplicate"
    big = {"role": "buyer", "member": "X", "amount": AMOUNT_NUSD_MAX}
    assert book.rejected("withdraw", transfer=6, **big) == "funds"
    book.ok("deposit", role="buyer", member="X", transfer=6, amount=1)
    book.ok("deposit", role="operator", member="A", transfer=1, amount=3)
    book.ok("withdraw", role="operator", member="A", transfer=2, amount=3)
    assert book.rejected("withdraw", role="operator", member="A", transfer=3, amount=1) == "funds"


def test_all_deposits_less_all_withdrawals_have_a_limit(book):
    book.ok("operator", operator="A")
    book.ok("buyer", buyer="X")
    for transfer in (1, 2, 3):
        book.ok("deposit", role="operator", member="A", transfer=transfer, amount=AMOUNT_NUSD_MAX)
    rest = DEPOSITS_NUSD_MAX - 3 * AMOUNT_NUSD_MAX
    book.ok("deposit", role="buyer", member="X", transfer=1, amount=rest - 1)
    over = {"role": "buyer", "member": "X", "transfer": 2}
    assert book.rejected("deposit", amount=2, **over) == "limit"
    book.ok("deposit", amount=1, **over)
    assert book.rejected("deposit", role="operator", member="A", transfer=4, amount=1) == "limit"
    book.ok("withdraw", role="buyer", member="X", transfer=3, amount=1)
    book.ok("deposit", role="operator", member="A", transfer=4, amount=1)


def test_a_buyer_rests_no_more_than_64_bids_even_if_the_next_would_fill(book):
    book.world()
    for _ in range(BIDS_AT_REST_MAX):
        book.rest("X", 1, quantity=2)
    book.offer("A", 5)
    over = REQUEST | {"buyer": "X", "bid": 65, "campaign": "c", "max_price": 9}
    assert book.rejected("bid", rest_us=1, agent=3, **over) == "limit"
    assert len(sold(book.bid("Y", 9, rest_us=1))) == 1  # the limit is a buyer's
    assert reason(book.ok("bid", **over)) == "no_capacity"  # what does not rest is not limited
    book.ok("bid_cancel", buyer="X", bid=1)
    assert isinstance(book.ok("bid", rest_us=1, **over | {"bid": 66})[0], e.Resting)


def test_a_buyer_has_no_more_than_1024_campaigns_standing(engine):
    book = Book(engine).world(buyers="XY")
    for number in range(CAMPAIGNS_MAX - 1):
        book.ok("campaign", buyer="X", campaign=f"c{number}")
    assert book.rejected("campaign", buyer="X", campaign="over") == "limit"
    assert book.rejected("campaign", buyer="X", campaign="c0") == "exists"
    book.ok("campaign", buyer="Y", campaign="over")
    book.ok("campaign_end", buyer="X", campaign="c0")
    book.ok("campaign", buyer="X", campaign="over")


def test_fills_seen_is_no_more_than_the_fills_made_under_the_name(book):
    _market(book)
    assert book.rejected("offer", site="s-A", offer=1, fills_seen=2) == "fills_seen"
    assert book.rejected("offer", site="s-A", offer=2, fills_seen=1) == "fills_seen"
    # Looked for before whether the offer stands.
    assert book.rejected("refresh", site="s-A", offer=2, fills_seen=1) == "fills_seen"
    assert book.rejected("refresh", site="s-A", offer=2, fills_seen=0) == "state"
    book.ok("offer", site="s-A", offer=1, fills_seen=1)


def test_what_may_not_change_is_state(book):
    _market(book)
    assert book.rejected("site", site="s-A", operator="B") == "state"
    assert book.rejected("site", site="s-A", operator="none") == "unknown"
    assert book.rejected("deal", deal="d-B", operator="A", buyers=[]) == "state"
    assert book.rejected("deal", deal="d-B", operator="A", buyers=["none"]) == "unknown"
    assert book.rejected("adapter", adapter="lora", model="n") == "state"
    book.ok("site", site="s-A", operator="A", tier="central")
    book.ok("deal", deal="d-B", operator="B", buyers=["X"])
    book.ok("adapter", adapter="lora", model="m", weights_sha256="00")


@pytest.mark.parametrize("end", ["expired", "cancelled", "all cancelled", "never made"])
def test_an_offer_that_is_gone_is_state_until_the_next_offer(book, end):
    book.world()
    if end != "never made":
        book.offer("A", 1, offer=1, ttl_us=5)
    if end == "expired":
        book.wait(5)
    elif end == "cancelled":
        book.ok("offer_cancel", site="s-A", offer=1)
    elif end == "all cancelled":
        book.ok("offers_cancel", site="s-A")
    assert book.rejected("refresh", site="s-A", offer=1) == "state"
    assert book.rejected("offer_cancel", site="s-A", offer=1) == "state"
    book.ok("renew", site="s-A", ttl_us=SECOND_US)
    book.ok("offers_cancel", site="s-A")
    book.offer("A", 1, offer=1)
    book.ok("halt", scope="site", name="s-A", by="operator")  # halts do not matter
    book.ok("refresh", site="s-A", offer=1)
    book.ok("offer_cancel", site="s-A", offer=1)


def test_a_bid_that_is_not_at_rest_cannot_be_cancelled(book):
    book.world()
    assert book.rejected("bid_cancel", buyer="X", bid=1) == "state"
    book.rest("X", 5, quantity=2)
    book.rest("X", 5, agent=2)
    book.rest("X", 5)
    assert book.rejected("bid_cancel", buyer="X", bid=1, agent=2) == "state"
    assert reason(book.ok("bid_cancel", buyer="X", bid=1)) == "cancelled"
    assert book.rejected("bid_cancel", buyer="X", bid=1) == "state"
    ended = book.ok("bids_cancel", buyer="X")
    assert [x.bid for x in ended if isinstance(x, e.Unfilled)] == [3]
    assert book.ok("bids_cancel", buyer="X") == []
    assert book.ok("bids_cancel", buyer="X", agent=99) == []


def test_a_halted_buyers_bids_end_in_order_of_arrival_and_return_what_they_held(book):
    book.world()
    book.rest("X", 5, quantity=3)
    book.rest("Y", 5)
    book.rest("X", 7, agent=1)
    ended = book.ok("halt", scope="buyer", name="X", by="operator")
    assert [(x.bid, x.quantity, x.reason) for x in ended if isinstance(x, e.Unfilled)] == [
        (1, 3, "halted"), (2, 1, "halted"),
    ]  # fmt: skip
    assert book.ok("halt", scope="buyer", name="X", by="risk") == []
    assert book.ok("halt", scope="buyer", name="X", by="risk") == []
    book.ok("resume", scope="buyer", name="X", by="operator")
    assert book.rejected("bid", buyer="X", bid=9, campaign="c", **REQUEST) == "halted"
    book.ok("withdraw", role="buyer", member="X", transfer=2, amount=10**12)
    assert len(sold(book.offer("A", 1))) == 1  # Y's


def test_funds_are_checked_for_all_units_at_once(book):
    book.world()
    book.ok("withdraw", role="buyer", member="X", transfer=2, amount=10**12 - 20)
    book.offer("A", 1, slots=9)
    assert reason(book.bid("X", 7, quantity=3)) == "insufficient_funds"
    assert reason(book.bid("X", 7, quantity=3, rest_us=5)) == "insufficient_funds"
    assert len(sold(book.bid("X", 10, quantity=2))) == 2
    assert reason(book.bid("X", 1)) == "insufficient_funds"


def test_units_that_rest_hold_their_ceiling_and_get_back_what_is_above_the_price(book):
    book.world(card=4)
    book.ok("withdraw", role="buyer", member="X", transfer=2, amount=10**12 - 20)
    book.rest("X", 10, quantity=2)
    assert book.rejected("withdraw", role="buyer", member="X", transfer=3, amount=1) == "funds"
    assert sold(book.offer("A", 1)) == [("A", "X", 4)]
    assert book.rejected("withdraw", role="buyer", member="X", transfer=3, amount=7) == "funds"
    book.ok("withdraw", role="buyer", member="X", transfer=3, amount=6)


def test_without_a_max_price_the_campaigns_unit_price_counts_over_all_tokens(book):
    book.world(card=1000)
    book.ok("campaign", buyer="X", campaign="u", max_unit_price=2_999)
    book.offer("A", 0)
    events = book.bid("X", campaign="u", tokens_in=3, tokens_out=2)
    assert sold(events) == [("A", "X", 14)]  # 2.999 × 5, rounded down


def test_an_older_at_is_no_command(book):
    book.world()
    book.at -= 1
    with pytest.raises(ValueError, match="at"):
        book.send("clock")
