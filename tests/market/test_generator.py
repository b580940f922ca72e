"""The generator reaches the whole market, and what it reaches keeps the market's promises."""

from hypothesis import given, settings

from matching_core.engines import REFERENCE, new_market
from matching_core.market_file import format_command, format_event, parse_command
from matching_core.reference import ReferenceMarket
from matching_core.reference.rejects import CHECKS
from matching_core.reference.rows import rows
from schemas import commands as c
from schemas import events as e
from schemas.lists import SETTLED_BY
from schemas.reasons import NO_FILL, REJECTED
from tests.market.generator import commands, market_files

SEEDS = range(4)
COUNT = 5000


class Fold:
    """What an outsider knows from commands and events alone: every n$ is somewhere."""

    def __init__(self):
        self.deposits = 0
        self.prices: dict[int, int] = {}
        self.paid = self.part = self.fee = self.withheld = 0

    def take(self, command, events):
        if isinstance(command, c.Deposit | c.Withdraw) and not _is_rejected(events):
            sign = 1 if isinstance(command, c.Deposit) else -1
            self.deposits += sign * command.amount
        for event in events:
            match event:
                case e.Fill():
                    value = event.score + event.cost
                    assert 0 <= event.cost <= event.price <= value
                    assert event.fill == len(self.prices) + 1
                    self.prices[event.fill] = event.price
                case e.Settled():
                    assert event.paid == event.fee + event.earned + event.withheld
                    assert event.refund == self.prices[event.fill] - event.paid
                    assert min(event.paid, event.fee, event.earned, event.withheld) >= 0
                case e.Released():
                    assert event.refund == self.prices[event.fill] - event.paid
                case _:
                    pass


def _is_rejected(events):
    return bool(events) and isinstance(events[-1], e.Rejected)


def test_the_generator_reaches_every_event_and_every_reason():
    """Goal: no promise kept by never being tried. Method: three seeds, 5,000 commands each."""
    kinds, settled_by, fills, pairs = set(), set(), set(), set()
    unfilled: set[str] = set()
    for seed in SEEDS:
        market = ReferenceMarket()
        fold = Fold()
        for command in commands(seed, COUNT):
            events = market.apply(command)
            market.audit()
            fold.take(command, events)
            for event in events:
                kinds.add(type(event))
                match event:
                    case e.Rejected():
                        pairs.add((type(command), event.reason))
                    case e.Unfilled():
                        unfilled.add(event.reason)
                    case e.Settled():
                        settled_by.add(event.by)
                    case e.Fill():
                        fills.add((event.resting, event.contested, event.rival_score is None))
                    case _:
                        pass
        assert fold.deposits == market._state.deposits
    assert kinds == set(e.EVENTS)
    assert {reason for _, reason in pairs} == set(REJECTED)
    assert unfilled == set(NO_FILL)
    assert settled_by == set(SETTLED_BY)
    # Arriving and resting, contested and not, with and without a rival; contested needs a rival.
    assert len(fills) == 6
    # What takes 1,024 campaigns is written out in test_rejects.
    possible = {(kind, reason) for kind, checks in CHECKS.items() for reason in checks}
    assert possible - pairs <= {(c.Campaign, "limit")}


@settings(max_examples=60, deadline=None)
@given(file=market_files(40))
def test_money_and_slots_are_conserved_after_every_command(file):
    """Promise A1."""
    market = ReferenceMarket()
    fold = Fold()
    for command in file:
        fold.take(command, market.apply(command))
        market.audit()


def test_the_same_commands_give_the_same_events_and_digest():
    """MARKET.md §9, and the file between: commands written, read and run again."""
    file = commands(11, 1500)
    first, again = new_market(REFERENCE), new_market(REFERENCE)
    for command in file:
        line = format_command(command)
        events = again.apply_command(parse_command(line))
        assert b"".join(map(format_event, first.apply_command(command))) == b"".join(
            map(format_event, events)
        )
    assert first.digest() == again.digest()


@settings(max_examples=30, deadline=None)
@given(file=market_files(30))
def test_a_rejected_command_changes_nothing(file):
    """Goal: a run without its rejected commands has the same fills, ends and money.

    The rejected ones stay in as clocks, because time passes and numbers are used all the same.
    """
    market, plain = ReferenceMarket(), ReferenceMarket()
    for command in file:
        events = market.apply(command)
        if _is_rejected(events):
            assert plain.apply(c.Clock(at=command.at)) == events[:-1]
        else:
            assert plain.apply(command) == events
    assert market.digest() == plain.digest()


def test_what_a_silent_command_changed_is_in_the_digest():
    """Goal: every command that is accepted without an event leaves its mark in the rows."""
    changed = set()
    market = ReferenceMarket()
    for command in commands(5, 900):
        before = _rows_but_the_first(market)
        events = market.apply(command)
        if not events and _rows_but_the_first(market) != before:
            changed.add(type(command))
    silent = {
        c.Operator, c.Buyer, c.Deposit, c.Withdraw, c.Rules, c.Model, c.PriceCard, c.Metro, c.Site,
        c.SiteTrust, c.Rtt, c.Halt, c.Resume, c.Deal, c.Adapter, c.Offer, c.Refresh, c.Renew,
        c.OfferCancel, c.OffersCancel, c.Start, c.Campaign, c.CampaignEnd, c.Complete,
    }  # fmt: skip
    assert changed == silent


def _rows_but_the_first(market):
    return list(rows(market._state))[1:]
