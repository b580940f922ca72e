"""D1 with the whole exchange: `kill -9` at random moments under load, and every answer still stands."""

import itertools
import random
import time

import numpy as np
import pytest

from exchange.apply import frame_records
from exchange.journal.record import Kind
from schemas import records
from schemas.events import Fill
from schemas.session.client import WindowFullError
from tests.doors.served import Driver, Served, bid_row
from tests.fakes.house import offer

KILLS, KILLS_LONG = 8, 1_000
# Longer than any restart here takes to be found again: this is about the journal, not about silence.
CANCEL_AFTER_US = 60_000_000

pytestmark = [pytest.mark.alone, pytest.mark.timeout(7200)]


class Load:
    """A buyer that bids and an operator that offers, as fast as their windows allow."""

    def __init__(self, buyer, operator, campaign, rng):
        self.buyer, self.operator, self.campaign, self.rng = buyer, operator, campaign, rng
        self.bids = 0

    def step(self):
        try:
            if self.rng.random() < 0.2:
                self.operator.send(records.OFFER, offer(number=1 + self.bids % 3, slots=50))
            rows = [self._bid() for _ in range(self.rng.randint(1, 20))]
            self.buyer.send(records.BID, *rows)
        except WindowFullError:
            self.pump()
        self.pump()

    def pump(self, wait_ms=0):
        self.buyer.pump(wait_ms)
        self.operator.pump(wait_ms)

    def _bid(self):
        self.bids += 1
        return bid_row(self.campaign, self.bids, quantity=self.rng.randint(1, 3))


def test_every_answer_stands_after_kill_9(tmp_path, long):
    """One folder lives through all kills. After them all, judged from the journal alone: what was
    answered is there, same number, same bytes, same fills; what was not answered is there whole (the
    rest was sent again, and answered); sessions were resumed each time and their numbers went on.
    """
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    kills = KILLS_LONG if long else KILLS
    with Served(tmp_path / "data") as served:
        bundles = served.found_town()
        session = {"cancel_after_us": CANCEL_AFTER_US}
        with (
            Driver(bundles["acme"], **session) as buyer,
            Driver(bundles["lantern"], streams=("lantern/one",), **session) as operator,
        ):
            load = Load(buyer, operator, 1, rng)
            for kill in range(1, kills + 1):
                end = time.monotonic() + rng.uniform(0.02, 0.4)
                while time.monotonic() < end:
                    load.step()
                served.kill()
                served.start()
                for driver in (buyer, operator):
                    driver.redial()
                    driver.quiet(sessions=1 + kill)
                    assert driver.opened[-1].resumed
                    assert len(driver.opened) == 1 + kill, (
                        "a kill that nobody noticed, or a session lost"
                    )
            judge(served, {"acme": buyer, "lantern": operator})
    # Stopped in order, and started once more: the same state again.
    market, _, _ = served.replayed()
    market.audit()


def judge(served, drivers):
    _, registry, events = served.replayed()
    journal = served.journal()
    numbers = [(record.seq, record.count) for record in journal]
    assert all(seq + count == after for (seq, count), (after, _) in itertools.pairwise(numbers))
    answered = unanswered = 0
    for member, driver in drivers.items():
        index = registry.by_name[member, 0].index
        kept = {
            (record.epoch, record.message): record
            for record in journal
            if record.kind == Kind.FRAME and record.agent == index and record.message
        }
        assert not driver.refused
        for sent, (kind, batch) in driver.sent.items():
            record = kept.pop(sent, None)
            answer = driver.answers.get(sent)
            if answer is None:
                unanswered += 1
                assert sent in driver.unknown
                assert record is not None, f"said to be a duplicate, and never applied: {sent}"
            else:
                answered += 1
                assert record is not None, f"answered and lost: {sent}"
                expected = np.arange(record.seq, record.seq + record.count)
                if kind == records.BID:
                    assert answer.statuses["number"].tolist() == expected.tolist()
                    same_fills(answer, record, events)
            # Whole, and as it was sent.
            found_kind, found = frame_records(record.payload)
            assert found_kind == kind
            assert found.tobytes() == batch.tobytes()
        assert not kept, "records that nobody sent"
    assert answered > 20
    print(f"{answered} answered, {unanswered} with an outcome to ask for")


def same_fills(answer, record, events):
    told = {(int(f["seq"]), int(f["fill"]), int(f["price"])) for f in answer.fills}
    made = {
        (event.seq, event.fill, event.price)
        for seq in range(record.seq, record.seq + record.count)
        for event in events.get(seq, ())
        if isinstance(event, Fill)
    }
    assert told == made


def test_after_a_kill_what_was_answered_can_be_queried_and_the_market_goes_on(tmp_path):
    """Goal: numbers resume, an open fill is still there to be started and completed, money is kept."""
    with Served(tmp_path / "data") as served:
        bundles = served.found_town()
        session = {"cancel_after_us": CANCEL_AFTER_US}
        with (
            Driver(bundles["acme"], **session) as buyer,
            Driver(bundles["lantern"], streams=("lantern/one",), **session) as operator,
        ):
            operator.send(records.OFFER, offer())
            operator.quiet()
            first = buyer.send(records.BID, bid_row(1, 1, lease_us=60_000_000))
            buyer.quiet()
            fill = int(buyer.answers[buyer.epoch, first].fills["fill"][0])
            served.kill()
            served.start()
            for driver in (buyer, operator):
                driver.quiet(sessions=2)
            assert buyer.opened[-1].established.last_message == first
            assert buyer.opened[-1].established.last_bid == 1
            (site,) = operator.opened[-1].established.sites
            assert site.offers == ((1, 1, (fill,)),)
            started = operator.send(records.START, {"fill": fill})
            ended = operator.send(records.COMPLETE, {"fill": fill, "tokens_in": 10})
            operator.quiet()  # before it started, nobody can say it ended
            by_buyer = buyer.send(records.COMPLETE, {"fill": fill, "tokens_in": 10})
            buyer.quiet()
            for driver, number in ((operator, started), (operator, ended), (buyer, by_buyer)):
                codes = driver.answers[driver.epoch, number].statuses["code"].tolist()
                assert codes == [0]
    market, _, _ = served.replayed()
    assert market.fill_state(fill).state == "ended"
    market.audit()
