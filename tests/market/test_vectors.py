"""The vectors of MARKET.md §10, each written as a market file. Card 20 unless said."""

from schemas import events as e
from tests.market.book import SECOND_US, fills, one_fill, sold


def test_vector_1_the_rival_of_another_owner_sets_the_price(book):
    book.world()
    book.offer("A", 2)
    book.offer("B", 5)
    fill = one_fill(book.bid("X", 10))
    assert (fill.operator, fill.price, fill.contested) == ("A", 5, True)
    assert (fill.cost, fill.score, fill.rival_score) == (2, 8, 5)


def test_vector_1_an_own_second_offer_changes_nothing(book):
    book.world()
    book.offer("A", 2)
    book.offer("A", 3)
    book.offer("B", 5)
    assert sold(book.bid("X", 10)) == [("A", "X", 5)]


def test_vector_2_what_a_model_is_worth_less_counts(book):
    book.world()
    book.ok("model", model="m7", card_second=20)
    models = [{"model": "m"}, {"model": "m7", "markdown": 7}]
    book.ok("campaign", buyer="X", campaign="two", models=models)
    book.offer("A", 2)
    book.offer("B", 1, model="m7")
    fill = one_fill(book.bid("X", 10, campaign="two"))
    assert (fill.operator, fill.score, fill.rival_score, fill.price) == ("A", 8, 2, 8)


def test_vector_3_one_group_does_not_compete_with_itself(book):
    book.world()
    book.ok("operator", operator="B", group="A")
    book.offer("A", 2)
    book.offer("B", 5)
    fill = one_fill(book.bid("X", 10))
    assert (fill.price, fill.contested, fill.rival_score) == (10, False, None)


def test_vector_3_the_card_anchors_what_has_no_rival(book):
    book.world(card=4)
    book.ok("operator", operator="B", group="A")
    book.offer("A", 2)
    book.offer("B", 5)
    assert sold(book.bid("X", 10)) == [("A", "X", 4)]


def test_vector_3_a_card_below_the_rival_decides_uncontested(book):
    book.world(card=4)
    book.offer("A", 2)
    book.offer("B", 5)
    fill = one_fill(book.bid("X", 10))
    assert (fill.price, fill.contested, fill.rival_score) == (4, False, 5)


def test_vector_4_an_ask_above_the_card_sells_only_to_bids_that_arrive(book):
    book.world(card=4)
    assert [type(event) for event in book.rest("X", 10)] == [e.Resting]
    assert book.offer("A", 6) == []
    assert sold(book.bid("Y", 10)) == [("A", "Y", 6)]


def test_vector_4_a_lone_ask_trades_at_the_ceiling_below_the_card(book):
    book.world()
    book.offer("A", 2)
    assert sold(book.bid("X", 10)) == [("A", "X", 10)]


def test_vector_5_resting_bids_compete_for_one_slot(book):
    book.world(card=5)
    book.rest("X", 10)
    book.rest("Y", 7)
    fill = one_fill(book.offer("A", 4))
    assert (fill.buyer, fill.price, fill.contested, fill.rival_score) == ("X", 7, True, 3)
    assert fill.resting


def test_vector_5_a_buyer_does_not_compete_with_itself(book):
    book.world(card=5)
    book.ok("buyer", buyer="Y", group="X")
    book.rest("X", 10)
    book.rest("Y", 7)
    assert sold(book.offer("A", 4)) == [("A", "X", 5)]


def test_vector_5_two_slots_for_two_bids_are_uncontested(book):
    book.world(card=5)
    book.rest("X", 10)
    book.rest("Y", 7)
    assert sold(book.offer("A", 4, slots=2)) == [("A", "X", 5), ("A", "Y", 5)]


def test_vector_6_a_deal_must_beat_the_open_price(book):
    book.world()
    book.ok("deal", deal="d", operator="A", buyers=["X"])
    book.offer("A", 3, deal="d")
    book.offer("A", 2)
    book.offer("B", 5)
    fill = one_fill(book.bid("X", 10))
    assert (fill.offer, fill.price, fill.contested, fill.rival_score) == (1, 3, False, None)


def test_vector_7_a_buyers_own_group_never_serves_it(book):
    book.world()
    book.ok("buyer", buyer="X", group="A")
    book.offer("A", 2)
    book.offer("B", 5)
    fill = one_fill(book.bid("X", 10))
    assert (fill.operator, fill.price, fill.contested, fill.rival_score) == ("B", 10, False, None)


def _vector_8(book, tolerance_ppm):
    book.world(card=0)
    book.ok("model", model="m", card_in=50_000, card_out=50_000)
    book.ok("rules", rent_ppm_per_s=0, tolerance_ppm=tolerance_ppm)
    book.offer("A", 0)
    (fill,) = fills(book.bid("X", 5000, tokens_in=10, tokens_out=10))
    assert fill.price == 1000
    book.ok("start", operator="A", fill=1)
    book.ok("complete", role="buyer", member="X", fill=1, tokens_in=10, tokens_out=6)
    return book.ok("complete", role="operator", member="A", fill=1, tokens_in=10, tokens_out=7)


def test_vector_8_within_the_tolerance_the_middle_is_paid(book):
    (settled,) = _vector_8(book, 60_000)
    assert isinstance(settled, e.Settled)
    assert (settled.paid, settled.earned, settled.withheld, settled.by) == (825, 825, 0, "both")
    assert settled.refund == 175


def test_vector_8_beyond_it_nobody_earns_on_the_difference(book):
    (disputed,) = _vector_8(book, 50_000)
    assert isinstance(disputed, e.Disputed)
    assert (disputed.buyer_figure, disputed.operator_figure) == (800, 850)
    (settled,) = fills_end = book.wait(86_400 * SECOND_US)[-1:]
    assert fills_end
    assert isinstance(settled, e.Settled)
    assert (settled.paid, settled.earned, settled.withheld) == (850, 800, 50)
    assert settled.by == "default"
