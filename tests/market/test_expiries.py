"""What happens at the start of a command, in which order, and with which now (MARKET.md §6)."""

from schemas import events as e
from tests.market.book import SECOND_US, one_fill, sold


def _kinds(events):
    return [type(event).__struct_config__.tag for event in events]


def test_an_offer_is_gone_at_its_last_nanosecond(book):
    book.world()
    book.offer("A", 1, ttl_us=5)
    book.at += 4999
    assert len(sold(book.bid("X", 10, tokens_out=1))) == 1
    book.ok("renew", site="s-A", ttl_us=1)
    book.at += 1000
    events = book.bid("X", 10)
    assert _kinds(events) == ["offer_expired", "unfilled"]


def test_what_expires_happens_before_a_command_that_is_then_rejected(book):
    book.world()
    book.offer("A", 1, ttl_us=5)
    book.rest("X", 0)
    book.at += 60_000_000_000
    events = book.send("bid_cancel", buyer="X", bid=1)
    assert _kinds(events) == ["offer_expired", "unfilled", "rejected"]
    assert {event.at for event in events} == {book.at}


def test_offers_expire_by_due_time_then_priority(book):
    book.world(operators="ABC")
    book.offer("B", 1, ttl_us=7)
    book.offer("A", 1, ttl_us=7)
    book.offer("C", 1, ttl_us=6)
    book.ok("refresh", site="s-B", offer=1, ttl_us=7)  # keeps its priority
    expired = book.wait(10)
    assert [event.site for event in expired if isinstance(event, e.OfferExpired)] == [
        "s-C", "s-B", "s-A",
    ]  # fmt: skip


def test_resting_bids_expire_by_due_time_then_arrival(book):
    book.world(buyers="XYZ")
    book.bid("Y", 1, rest_us=9)
    book.bid("X", 1, rest_us=9)
    book.bid("Z", 1, rest_us=8, quantity=3)
    expired = book.wait(9)
    assert [(x.buyer, x.quantity, x.reason) for x in expired if isinstance(x, e.Unfilled)] == [
        ("Z", 3, "expired"), ("Y", 1, "expired"), ("X", 1, "expired"),
    ]  # fmt: skip


def test_everything_that_is_due_at_once_comes_in_the_order_of_the_rules(book):
    """Offers, bids, leases, the slots they free, settlements and deliveries, then disputes."""
    book.world(operators="ABC")
    book.ok("rules", settle_us=2_000_000, deliver_us=2_000_000, dispute_us=2_000_000,
            tolerance_ppm=0)  # fmt: skip
    book.offer("B", 1, slots=3)
    book.bid("X", 10, quantity=3)  # fills 1, 2, 3
    book.offer("A", 1)
    book.bid("X", 10)  # fill 4
    book.offer("C", 1, slots=0, ttl_us=SECOND_US)
    for fill in (1, 2, 3):
        book.ok("start", operator="B", fill=fill)
    book.ok("complete", role="buyer", member="X", fill=1, tokens_in=0, tokens_out=0)
    book.ok("complete", role="operator", member="B", fill=1, tokens_in=0, tokens_out=1)  # disputed
    book.ok("complete", role="operator", member="B", fill=3, tokens_in=0, tokens_out=1)
    book.rest("Y", 10, lease_us=3)
    book.bid("Y", 10, rest_us=SECOND_US)
    events = book.wait(3 * SECOND_US)
    assert _kinds(events) == [
        "offer_expired", "unfilled", "released", "fill", "settled", "settled", "settled",
    ]  # fmt: skip
    fill = events[3]
    assert isinstance(fill, e.Fill)
    assert (fill.buyer, fill.bid, fill.operator, fill.resting) == ("Y", 1, "A", True)
    assert fill.lease_until == book.at + 3000  # now is the command's time, not when it was due
    settled = [(x.fill, x.by) for x in events if isinstance(x, e.Settled)]
    assert settled == [(2, "nobody"), (3, "operator"), (1, "default")]


def test_settlements_and_deliveries_come_together_by_due_time(book):
    book.world()
    book.ok("rules", settle_us=1_000_000, deliver_us=3_000_000)
    book.offer("A", 1, slots=2)
    book.bid("X", 10, quantity=2)
    book.ok("start", operator="A", fill=1)
    book.ok("start", operator="A", fill=2)
    book.wait(2_500_000)
    book.ok("complete", role="operator", member="A", fill=1, tokens_in=0, tokens_out=1)
    events = book.wait(2_000_000)
    assert [(x.fill, x.by) for x in events if isinstance(x, e.Settled)] == [
        (2, "nobody"), (1, "operator"),
    ]  # fmt: skip


def test_slots_that_leases_free_are_sold_once_per_offer_after_all_due_leases(book):
    """Two leases of one offer end together: the second resting bid is no loser, so no rival."""
    book.world(operators="AB", buyers="XYZ")
    book.offer("B", 1)
    book.offer("A", 1, slots=2)
    book.bid("Z", 20, quantity=3)
    book.rest("X", 10)
    book.rest("Y", 9)
    events = book.wait(SECOND_US)
    assert _kinds(events) == ["released"] * 3 + ["fill"] * 2
    # Offers by priority number: B's stood first, and X beats Y there; A's slots then find Y alone.
    assert sold(events) == [("B", "X", 10), ("A", "Y", 9)]


def test_a_freed_slot_goes_to_the_offer_that_now_has_the_name(book):
    book.world()
    book.offer("A", 1, offer=1)
    book.bid("Y", 20)
    book.ok("offer_cancel", site="s-A", offer=1)
    book.rest("X", 10)
    book.ok("offer", site="s-A", offer=1, ask_second=3, slots=1)  # taken: fill 1 is in flight
    events = book.wait(SECOND_US)
    assert _kinds(events) == ["released", "fill"]
    fill = events[1]
    assert isinstance(fill, e.Fill)
    assert (fill.cost, fill.ordinal) == (3, 2)


def test_a_renewal_a_deposit_an_rtt_and_a_resume_start_no_auction(book):
    book.world()
    book.ok("rtt", site="s-A", metro="metro", p99_us=None)
    book.offer("A", 1)
    book.rest("X", 10)
    assert book.ok("rtt", site="s-A", metro="metro", p99_us=1) == []
    assert book.ok("renew", site="s-A", ttl_us=SECOND_US) == []
    assert book.ok("deposit", role="buyer", member="X", transfer=2, amount=5) == []
    assert book.ok("halt", scope="model", name="m", by="risk") == []
    assert book.ok("resume", scope="model", name="m", by="risk") == []
    assert one_fill(book.ok("refresh", site="s-A", offer=1)).resting


def test_the_clock_alone_changes_nothing(book):
    book.world()
    book.offer("A", 1)
    book.rest("X", 0)
    assert book.wait(0) == []
    assert book.wait(1) == []
