"""After the fill (MARKET.md §8): the table of states row by row, figures, rent and payment."""

import pytest

from schemas import events as e
from tests.market.book import SECOND_NS, SECOND_US, Book, fills, one_fill, sold

PRICE = 1000


def _filled(book, *, rent=0, card_second=0, quantity=1, **rules):
    """A fill (or more) of X at A, price 1000, 10 + 10 tokens at equal cards, lease of 5 s."""
    book.world(card=0)
    book.ok("model", model="m", card_in=50_000, card_out=50_000, card_second=card_second)
    book.ok("rules", rent_ppm_per_s=rent, **rules)
    book.offer("A", 0, slots=quantity)
    made = fills(
        book.bid("X", PRICE, tokens_in=10, tokens_out=10, lease_us=5_000_000, quantity=quantity)
    )
    assert [fill.price for fill in made] == [PRICE] * quantity
    return book


def _complete(book, role, tokens_out, tokens_in=10, fill=1):
    member = {"buyer": "X", "operator": "A"}[role]
    return book.ok(
        "complete", role=role, member=member, fill=fill, tokens_in=tokens_in, tokens_out=tokens_out
    )


def _paid(events):
    """Return what the only event, a settlement, says of the money, and by whom."""
    (event,) = events
    assert isinstance(event, e.Settled)
    assert event.paid + event.refund == PRICE
    return (event.paid, event.fee, event.earned, event.withheld, event.by)


# ----------------------------------------------------------------------------- leased
def test_a_lease_that_nobody_used_is_released_and_the_rent_withheld(book):
    _filled(book, rent=10_000)  # 1 % a second for 5 s
    assert book.wait(4_999_999) == []
    (released,) = book.wait(1)
    assert isinstance(released, e.Released)
    assert (released.paid, released.refund) == (50, 950)


def test_rent_has_a_part_by_price_and_a_part_by_the_cards_second(book):
    _filled(book, rent=10_000, card_second=3)
    (released,) = book.wait(5_000_000)
    assert isinstance(released, e.Released)
    assert released.paid == 50 + 15


def test_rent_is_never_above_the_price(book):
    book.world(card=3)
    book.ok("rules", rent_ppm_per_s=1)
    book.offer("A", 0)
    assert one_fill(book.bid("X", 1000, lease_us=5_000_000)).price == 15
    (released,) = book.wait(5_000_000)  # 15 for the seconds, and 1 more, rounded up, by price
    assert isinstance(released, e.Released)
    assert (released.paid, released.refund) == (15, 0)


def test_a_release_ends_the_lease_within_two_seconds(book):
    _filled(book, rent=10_000)
    book.at += SECOND_NS
    (releasing,) = book.ok("release", buyer="X", fill=1)
    assert isinstance(releasing, e.Releasing)
    assert releasing.lease_until == book.at + 2 * SECOND_NS
    book.at += SECOND_NS
    (again,) = book.ok("release", buyer="X", fill=1)  # never later than it was
    assert isinstance(again, e.Releasing)
    assert again.lease_until == book.at + SECOND_NS
    (released,) = book.wait(SECOND_US)
    assert isinstance(released, e.Released)
    assert released.paid == 30  # held for 3 s


def test_a_release_never_prolongs_a_lease(book):
    _filled(book)
    book.wait(4 * SECOND_US)
    (releasing,) = book.ok("release", buyer="X", fill=1)
    assert isinstance(releasing, e.Releasing)
    assert releasing.lease_until == book.at + SECOND_NS


def test_a_start_on_its_way_still_wins_over_a_release(book):
    _filled(book)
    book.ok("release", buyer="X", fill=1)
    assert book.ok("start", operator="A", fill=1) == []
    assert book.wait(10 * SECOND_US) == []
    assert book.rejected("release", buyer="X", fill=1) == "state"


def test_a_declined_fill_returns_the_whole_hold_and_no_slot(book):
    _filled(book, rent=10_000)
    book.wait(SECOND_US)
    (declined,) = book.ok("decline", operator="A", fill=1, reason="overloaded")
    assert declined == e.Declined(seq=declined.seq, at=book.at, fill=1, reason="overloaded")
    (unfilled,) = book.bid("X", 5, tokens_out=1)
    assert isinstance(unfilled, e.Unfilled)
    assert unfilled.reason == "no_capacity"  # the operator's next report frees it
    assert book.rejected("withdraw", role="buyer", member="X", transfer=2, amount=10**12 + 1) == (
        "funds"
    )
    book.ok("withdraw", role="buyer", member="X", transfer=2, amount=10**12)


def test_a_started_fill_can_be_declined_until_the_operator_completes(book):
    _filled(book, quantity=2)
    for fill in (1, 2):
        book.ok("start", operator="A", fill=fill)
        _complete(book, "buyer", 10, fill=fill)
    assert len(book.ok("decline", operator="A", fill=1, reason="failed")) == 1
    assert len(_complete(book, "operator", 10, fill=2)) == 1
    assert book.rejected("decline", operator="A", fill=2, reason="failed") == "state"


def test_an_operator_that_completed_cannot_decline(book):
    _filled(book)
    book.ok("start", operator="A", fill=1)
    _complete(book, "operator", 10)
    assert book.rejected("decline", operator="A", fill=1, reason="failed") == "state"


def test_an_operators_complete_starts_a_leased_fill(book):
    _filled(book)
    assert (
        book.rejected("complete", role="buyer", member="X", fill=1, tokens_in=1, tokens_out=1)
        == "state"
    )
    assert _complete(book, "operator", 5) == []
    assert book.rejected("start", operator="A", fill=1) == "state"
    assert _paid(_complete(book, "buyer", 5)) == (750, 0, 750, 0, "both")


# ----------------------------------------------------------------------------- started
@pytest.mark.parametrize(
    "tolerance,buyer,operator,expected",
    [
        (0, 10, 10, (1000, 0, 1000, 0, "both")),
        (0, 6, 6, (800, 0, 800, 0, "both")),
        (58_823, 6, 7, None),  # 850 × 58,823 ppm = 49.99…, less than 50 rounded down
        (58_824, 6, 7, (825, 0, 825, 0, "both")),
        (1_000_000, 0, 10, (750, 0, 750, 0, "both")),
        (10_000, 99, 10, (1000, 0, 1000, 0, "both")),  # a figure is never above the price
    ],
)
def test_both_completed(book, tolerance, buyer, operator, expected):
    _filled(book, tolerance_ppm=tolerance)
    book.ok("start", operator="A", fill=1)
    _complete(book, "buyer", buyer)
    events = _complete(book, "operator", operator)
    if expected is None:
        assert isinstance(events[0], e.Disputed)
    else:
        assert _paid(events) == expected


def test_half_of_an_odd_sum_is_rounded_down_and_the_fee_too(book):
    _filled(book, tolerance_ppm=1_000_000, take_rate_ppm=3_500)
    book.ok("model", model="m", card_in=1, card_out=1)  # a fill keeps the card of its moment
    book.ok("rules", take_rate_ppm=1_000_000)  # and its rules
    book.ok("start", operator="A", fill=1)
    _complete(book, "buyer", 10, tokens_in=10)
    # 1000 and 550: half 775; 775 × 3,500 ppm = 2.7
    assert _paid(_complete(book, "operator", 1)) == (775, 2, 773, 0, "both")


def test_no_token_at_all_is_worth_nothing_whatever_was_declared(book):
    _filled(book, settle_us=1)
    book.ok("start", operator="A", fill=1)
    _complete(book, "operator", 0, tokens_in=0)
    assert _paid(book.wait(1)) == (0, 0, 0, 0, "operator")


def test_input_alone_counts_as_declared(book):
    """The input was the buyer's choice: one token in, or all of them, is the declared input."""
    _filled(book, settle_us=1)
    book.ok("start", operator="A", fill=1)
    _complete(book, "operator", 0, tokens_in=1)
    assert _paid(book.wait(1)) == (500, 0, 500, 0, "operator")


def test_where_the_declared_work_has_no_card_the_figure_is_the_price(book):
    book.world(card=0)
    book.ok("rules", rent_ppm_per_s=0, settle_us=1)
    book.offer("A", PRICE)
    assert sold(book.bid("X", PRICE)) == [("A", "X", PRICE)]
    book.ok("start", operator="A", fill=1)
    _complete(book, "buyer", 1)
    assert _paid(book.wait(1)) == (PRICE, 0, PRICE, 0, "buyer")


@pytest.mark.parametrize("role", ["buyer", "operator"])
def test_the_side_that_spoke_decides_when_the_other_stays_silent(book, role):
    _filled(book, settle_us=7_000_000)
    book.ok("start", operator="A", fill=1)
    book.wait(SECOND_US)
    _complete(book, role, 5)
    assert book.rejected(
        "complete", role=role, member={"buyer": "X", "operator": "A"}[role], fill=1,
        tokens_in=1, tokens_out=1,
    ) == "state"  # fmt: skip
    assert book.wait(7 * SECOND_US - 1) == []
    assert _paid(book.wait(1)) == (750, 0, 750, 0, role)


def test_what_nobody_completed_is_settled_at_the_rent(book):
    """A settlement before the lease's end is charged to the lease's end: 1 % × 5 s."""
    _filled(book, rent=10_000, deliver_us=2_000_000)
    book.ok("start", operator="A", fill=1)
    assert book.wait(2 * SECOND_US - 1) == []
    assert _paid(book.wait(1)) == (50, 0, 0, 50, "nobody")


def test_a_first_complete_ends_the_rent_and_the_delivery_deadline(book):
    _filled(book, rent=100_000, deliver_us=2_000_000, settle_us=50_000_000)
    book.ok("start", operator="A", fill=1)
    book.wait(SECOND_US)
    _complete(book, "operator", 0, tokens_in=0)
    assert _paid(book.wait(50 * SECOND_US)) == (100, 0, 0, 100, "operator")


def test_rent_above_the_figure_is_paid_and_withheld(book):
    _filled(book, rent=100_000, settle_us=1, take_rate_ppm=500_000)
    book.ok("start", operator="A", fill=1)
    book.wait(4 * SECOND_US)
    _complete(book, "operator", 0, tokens_in=0)
    assert _paid(book.wait(1)) == (400, 0, 0, 400, "operator")


# ----------------------------------------------------------------------------- disputed
def _disputed(book, **rules):
    _filled(book, tolerance_ppm=0, **rules)
    book.ok("start", operator="A", fill=1)
    _complete(book, "buyer", 2)
    (event,) = _complete(book, "operator", 10)
    assert isinstance(event, e.Disputed)
    assert (event.buyer_figure, event.operator_figure) == (600, 1000)
    return book


def test_a_dispute_can_be_resolved_at_any_amount_up_to_the_price(book):
    _disputed(book, rent=1_000_000, take_rate_ppm=100_000)
    assert book.rejected("resolve", fill=1, amount=PRICE + 1) == "state"
    assert _paid(book.ok("resolve", fill=1, amount=10)) == (10, 1, 9, 0, "exchange")


def test_a_dispute_that_nobody_resolved_costs_both(book):
    _disputed(book, take_rate_ppm=100_000, dispute_us=3_000_000)
    assert book.wait(3 * SECOND_US - 1) == []
    assert _paid(book.wait(1)) == (1000, 60, 540, 400, "default")


@pytest.mark.parametrize(
    "kind,fields",
    [
        ("start", {"operator": "A"}),
        ("decline", {"operator": "A", "reason": "failed"}),
        ("release", {"buyer": "X"}),
        ("complete", {"role": "buyer", "member": "X", "tokens_in": 1, "tokens_out": 1}),
        ("complete", {"role": "operator", "member": "A", "tokens_in": 1, "tokens_out": 1}),
    ],
)
def test_nothing_else_moves_a_dispute(book, kind, fields):
    _disputed(book)
    assert book.rejected(kind, fill=1, **fields) == "state"


@pytest.mark.parametrize(
    "kind,fields",
    [
        ("start", {"operator": "A"}),
        ("decline", {"operator": "A", "reason": "failed"}),
        ("release", {"buyer": "X"}),
        ("complete", {"role": "buyer", "member": "X", "tokens_in": 1, "tokens_out": 1}),
        ("resolve", {"amount": 0}),
    ],
)
def test_an_ended_fill_is_state_to_its_members_and_unknown_to_others(book, kind, fields):
    _filled(book)
    book.wait(6 * SECOND_US)
    assert book.rejected(kind, fill=1, **fields) == "state"
    assert book.rejected(kind, fill=2, **fields) == "unknown"
    swap = {"A": "B", "X": "Y"}
    others = {key: swap.get(str(value), value) for key, value in fields.items()}
    if others != fields:
        assert book.rejected(kind, fill=1, **others) == "unknown"


# ----------------------------------------------------------------------------- slots, §3
def test_slots_return_by_report_or_by_release_and_never_twice(engine):
    book = Book(engine).world()
    book.offer("A", 1, slots=2)
    assert len(sold(book.bid("X", 10, quantity=2))) == 2
    book.ok("start", operator="A", fill=1)
    assert sold(book.bid("Y", 10)) == []
    book.wait(SECOND_US)  # fill 2 is released
    assert sold(book.bid("Y", 10)) == [("A", "Y", 10)]
    # The report has seen fills 1 and 2 and says that one slot is free; fill 3 is beyond it.
    book.ok("refresh", site="s-A", offer=1, slots=1, fills_seen=2)
    assert sold(book.bid("Y", 10)) == []
    # An older report does not bring back what a newer one accounted for.
    book.ok("refresh", site="s-A", offer=1, slots=2, fills_seen=0)
    assert sold(book.bid("Y", 10)) == [("A", "Y", 10)]
    assert book.rejected("refresh", site="s-A", offer=1, fills_seen=5) == "fills_seen"
    # Two more fills, numbered 3 and 4, end; they had not been seen, so their slots return.
    book.wait(SECOND_US)
    assert len(sold(book.bid("Y", 10, quantity=3))) == 2


def test_the_fills_of_a_name_are_counted_for_ever(book):
    book.world()
    book.offer("A", 1, offer=1)
    assert one_fill(book.bid("X", 10)).ordinal == 1
    book.ok("offer_cancel", site="s-A", offer=1)
    book.ok("offer", site="s-A", offer=1, ask_second=1, slots=2)  # fill 1 is still in flight
    assert [fill.ordinal for fill in fills(book.bid("X", 10, quantity=2))] == [2]
