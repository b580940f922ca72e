"""The public feeds: what traded without names, what is where without asks."""

import numpy as np
import pytest

from exchange.follower import feeds
from exchange.follower.feeds import PublicBook, capacity_class, tape
from matching_core.inspect import BOOK_ROW
from schemas.lists import BANDS_MS
from schemas.records import BOOK_RECORD, TAPE_RECORD
from tests.follower.rows import event

METROS = 3
FAR = 300_000


def offer(site, model, available=1, hardware=0, ttft_us=1_000, cold_start_us=0, deal=0):
    row = np.zeros(1, BOOK_ROW)
    row["site"], row["model"], row["available"], row["hardware"] = site, model, available, hardware
    row["ttft_us"], row["cold_start_us"], row["deal"] = ttft_us, cold_start_us, deal
    row["ask_in"] = row["ask_out"] = row["ask_second"] = 987_654_321
    return row


def book_of(*offers):
    return np.concatenate([np.zeros(0, BOOK_ROW), *offers])


RTT = np.full((METROS + 1, 6), -1, np.int64)
RTT[1, 1:], RTT[2, 1:] = 3_000, FAR  # metro 3 reaches nothing
MARGIN = np.array([0, 0, 1_500, 0, 0, 0], np.int64)


class Reader:
    """Somebody who only hears the feed."""

    def __init__(self):
        self.book = PublicBook()
        self.seen = {}

    def hear(self, *offers, rtt=RTT):
        rows = self.book.changes(book_of(*offers), rtt, MARGIN, 77)
        for row in rows:
            key = (int(row["site"]), int(row["model"]), int(row["metro"]))
            value = (int(row["capacity"]), int(row["hardware"]), BANDS_MS[row["band"]])
            self.seen.pop(key, None)
            if value[0]:
                self.seen[key] = value
        return len(rows)


def test_a_listener_knows_the_book_from_changes_alone():
    reader = Reader()
    reader.hear(offer(1, 1, 3, hardware=2), offer(1, 1, 1, hardware=5, ttft_us=20_000), offer(2, 1))
    assert reader.seen == {
        (1, 1, 1): (2, 1 << 2 | 1 << 5, 5), (1, 1, 2): (2, 1 << 2 | 1 << 5, 0),
        (2, 1, 1): (1, 1, 10), (2, 1, 2): (1, 1, 0),
    }  # fmt: skip
    reader.hear(offer(1, 1, 300, hardware=2, cold_start_us=6_000))
    assert reader.seen == {(1, 1, 1): (5, 4, 10), (1, 1, 2): (5, 4, 0)}
    near = RTT.copy()
    near[2, 1] = 40_000
    near[1, 1] = -1
    reader.hear(offer(1, 1, 300, hardware=2), rtt=near)
    assert reader.seen == {(1, 1, 2): (5, 4, 50)}
    reader.hear()
    assert reader.seen == {}


def test_terms_between_two_members_and_empty_offers_are_no_public_matter():
    reader = Reader()
    reader.hear(offer(1, 1, deal=3), offer(2, 1, available=0))
    assert reader.seen == {}


def test_new_metros_sites_and_models_find_their_place():
    reader = Reader()
    reader.hear(offer(1, 1))
    wide = np.full((METROS + 3, 9), 2_000, np.int64)
    rows = reader.book.changes(book_of(offer(8, 2)), wide, np.zeros(9, np.int64), 1)
    assert {int(m) for m in rows[rows["site"] == 8]["metro"]} == {1, 2, 3, 4, 5}


def test_who_comes_late_hears_everything_within_a_round_and_no_tick_says_too_much(monkeypatch):
    monkeypatch.setattr(feeds, "ROWS_PER_TICK_MAX", 40)
    offers = [offer(site, model) for site in range(1, 6) for model in range(1, 21)]
    reader = Reader()
    for _ in range(20):
        assert reader.hear(*offers) <= 40
    assert len(reader.seen) == 200
    reader.seen.clear()
    for _ in range(feeds.REFRESH_TICKS):
        reader.hear(*offers)
    assert len(reader.seen) == 200


@pytest.mark.parametrize(
    "slots,kind", [(0, 0), (1, 1), (3, 1), (4, 2), (15, 2), (16, 3), (255, 4), (256, 5), (10**6, 5)]
)
def test_capacity_is_told_in_powers_of_four(slots, kind):
    assert capacity_class(np.array([slots]))[0] == kind


def test_the_tape_has_no_names_and_shows_its_gaps():
    """Its fields are the ones MARKET.md §8 lists; the number of its first record is a fill's."""
    assert set(TAPE_RECORD.names or ()) == {
        "seq", "at", "price", "index", "model", "tokens_in", "tokens_out", "country", "band",
        "tier", "hardware", "precision", "contested", "reserved",
    }  # fmt: skip
    assert not {"ask_in", "ask_out", "ask_second", "operator"} & set(BOOK_RECORD.names or ())
    rows = np.concatenate(
        [
            event(
                "fill", 4, fill=9, price=5, attributes=(3 * 26 + 4 + 1) << 32 | 6 << 48 | 1 << 52
            ),
            event("settled", 4, index=1, fill=2),
            event("fill", 5, fill=10, price=7),
        ]
    )
    first, records = tape(rows)
    assert first == 9
    assert records["country"].tolist() == [b"DE", b""]
    assert records["price"].tolist() == [5, 7]
    assert records["band"].tolist() == [6, 0]
    assert records["contested"].tolist() == [1, 0]
    assert len(tape(rows[1:2])[1]) == 0
