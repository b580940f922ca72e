"""`bench explain`: it runs, counts every bid, and its answers repeat."""

from bench.explain import measure


def test_the_answers_repeat_and_every_bid_is_counted():
    """The digest is of the answers: whoever makes it faster shows that they are still the same."""
    first = measure(1_000, 200, 5, 60)
    again = measure(1_000, 200, 5, 60)
    assert first["explained"] == 60
    assert first["filled_count"] + first["unfilled_count"] == first["all_count"] == 60
    assert first["digest"] == again["digest"]
    assert first["all_p50_us"] > 0
