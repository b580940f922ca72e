"""The record of fills, and the plan of what to say, against the definition: the market itself."""

import random
from typing import Any

import msgspec
import pytest

from matching_core.reference import ReferenceMarket
from schemas import commands as c
from schemas import events as e
from schemas.report import Tranche, report_engine
from ssp_adapters.plan import Standing, make_plan
from ssp_adapters.reporting import FillBook
from tests.fakes import market as small

SLOTS = 3


@pytest.mark.parametrize("seed", range(60))
def test_no_slot_is_sold_twice_whatever_order_news_comes_in(seed):
    """Goal: open fills never exceed the engine's slots, and all slots come back. Method: a site
    that hears of events late and out of step with its reports, loses its memory now and then, and
    an exchange that sells whatever it believes is free. Few slots, so that it is always sold out.
    """
    draw = random.Random(seed)
    print(f"seed {seed}")
    market, book = ReferenceMarket(), FillBook()
    at = 0
    fills: dict[int, e.Fill] = {}
    news: list[Any] = []
    still_open: set[int] = set()
    running: set[int] = set()  # at the site, as the site itself knows
    over: set[int] = set()  # ended at the site, perhaps not yet at the exchange

    def say(command):
        nonlocal at
        at += 1_000_000
        events = market.apply(msgspec.structs.replace(command, at=at))
        for event in events:
            if isinstance(event, e.Fill):
                fills[event.fill] = event
                still_open.add(event.fill)
                news.append(event)
            elif isinstance(event, e.Released | e.Declined | e.Settled):
                still_open.discard(event.fill)
                news.append(event)
        return events

    class Commands:
        apply = staticmethod(say)

    small.found(Commands)
    say(small.campaign())

    def establish():
        made = len(fills)
        return book.establish(small.SITE, [(1, made, sorted(still_open))])

    def report(kind):
        sample = {(one.site, one.offer): one for one in book.samples()}.get((small.SITE, 1))
        tranche = (
            Tranche(1, SLOTS, sample.fills, sample.settled_up_to) if sample else Tranche(1, SLOTS)
        )
        (told,) = report_engine([tranche], 0)
        if kind == "offer":
            say(small.offer(slots=told.slots, fills_seen=told.fills_seen))
        else:
            say(
                c.Refresh(
                    at=0, site=small.SITE, offer=1, slots=told.slots,
                    fills_seen=told.fills_seen, ttft_us=1, prefill_ns_per_token=0,
                    tokens_per_second=0, ttl_us=60_000_000,
                )
            )  # fmt: skip

    report("offer")
    bid = 0
    for _ in range(400):
        match draw.randrange(9):
            case 0 | 1 | 2:
                bid += 1
                say(
                    c.Bid(
                        at=0, buyer=small.BUYER, bid=bid, campaign="chat", origin=small.METRO,
                        tokens_in=1, tokens_out=1, quantity=draw.choice((1, 2)),
                        lease_us=60_000_000,
                    )
                )  # fmt: skip
            case 3 | 4 if news:
                for _ in range(draw.randrange(1, 4)):
                    if news:
                        event = news.pop(0)
                        if isinstance(event, e.Fill):
                            book.fill(event.site, event.offer, event.ordinal, event.fill)
                        else:
                            book.closed(event.fill)
                            running.discard(event.fill)
            case 5 if still_open - running - over:
                fill = draw.choice(sorted(still_open - running - over))
                if not any(
                    isinstance(event, e.Rejected)
                    for event in say(c.Start(at=0, operator=small.OPERATOR, fill=fill))
                ):
                    running.add(fill)
                    book.started(fill)
            case 6 if running:
                fill = draw.choice(sorted(running))
                running.discard(fill)
                if draw.random() < 0.5:
                    say(c.Decline(at=0, operator=small.OPERATOR, fill=fill, reason="failed"))
                else:
                    say(
                        c.Complete(
                            at=0, role="operator", member=small.OPERATOR, fill=fill, tokens_in=1,
                            tokens_out=1, ttft_us=1,
                        )
                    )  # fmt: skip
                over.add(fill)
                book.ended(fill)
            case 7:
                report(draw.choice(("offer", "refresh", "refresh")))
            case 8 if draw.random() < 0.2:
                if draw.random() < 0.5:  # a new process: it knows what the session says, no more
                    book = FillBook()
                    for fill, known in establish():
                        assert not known
                        if fill in running:
                            book.started(fill)
                        elif fill in over:  # the runner asks, and declines what it does not run
                            book.ended(fill)
                else:
                    establish()
        # A fill that is over at the site may still be open at the exchange: it holds no slot.
        assert len(still_open - over) <= SLOTS
    for event in news:
        if isinstance(event, e.Fill):
            book.fill(event.site, event.offer, event.ordinal, event.fill)
        else:
            book.closed(event.fill)
    for fill in sorted(still_open):
        say(c.Decline(at=0, operator=small.OPERATOR, fill=fill, reason="failed"))
        book.ended(fill)
    report("refresh")
    got = sum(
        isinstance(event, e.Fill)
        for event in say(
            c.Bid(
                at=0, buyer=small.BUYER, bid=bid + 1, campaign="chat", origin=small.METRO,
                tokens_in=1, tokens_out=1, quantity=9,
            )
        )
    )  # fmt: skip
    assert got == SLOTS


def test_news_that_is_old_is_told_so():
    book = FillBook()
    assert book.establish("s", [(1, 5, [41, 44])]) == [(41, False), (44, False)]
    assert not book.fill("s", 1, 2, 40)  # made and ended before the session opened
    assert book.fill("s", 1, 3, 41)  # open then
    assert book.fill("s", 1, 6, 50)
    assert book.fill("s", 1, 6, 50)  # told twice, known once
    (sample,) = book.samples()
    assert (sample.settled_up_to, len(sample.fills), book.open()) == (3, 3, 3)
    book.ended(41)
    book.ended(44)
    (sample,) = book.samples()
    assert (sample.settled_up_to, len(sample.fills)) == (5, 1)
    # Ended here, unsettled there: after a reconnect it still holds no slot.
    assert book.establish("s", [(1, 6, [41, 44, 50])]) == [(41, True), (44, True), (50, True)]
    assert book.open() == 1
    for fill in (41, 44, 50):
        book.closed(fill)
    assert book.open() == 0
    assert not book._ended_here


def test_a_request_that_comes_before_its_event_is_counted_when_that_comes():
    book = FillBook()
    book.started(7)
    book.ended(7)
    assert book.open() == 0
    assert book.fill("s", 1, 1, 7)
    assert book.open() == 0
    book.started(8)
    assert book.fill("s", 1, 2, 8)
    assert book.samples()[0].fills[0].state == "started"


def test_a_plan_says_only_what_changed():
    first, second = small.offer(1), small.offer(2)
    now_ns = 10**12
    long = now_ns + 50 * 10**9
    stands = {(small.SITE, 1): Standing(first, long), (small.SITE, 2): Standing(second, long)}
    assert make_plan(stands, (first, second), now_ns).empty
    plan = make_plan(stands, (small.offer(1, slots=1), small.offer(2, ask_in=1)), now_ns)
    assert [offer.offer for offer in plan.refreshes] == [1]
    assert [offer.offer for offer in plan.offers] == [2]
    assert make_plan(stands, (first,), now_ns).cancels == ((small.SITE, 2),)
    late = now_ns + 25 * 10**9  # of 60 s of life
    assert make_plan(stands, (first, second), late).renewals == ((small.SITE, 60_000_000),)
    gone = make_plan(stands, (first, second), long)
    assert [offer.offer for offer in gone.offers] == [1, 2]
