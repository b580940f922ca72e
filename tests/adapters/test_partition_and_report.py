"""Slots sold and slots there: the partition checker, and the figures a site reports."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.commands import Offer
from schemas.partition import check_partition
from schemas.report import KnownFill, Report, Tranche, report, report_engine


def offer(number: int, slots: int, context_limit: int) -> Offer:
    return Offer(
        at=0, site="s", offer=number, model="m", hardware="l4", ask_in=1, ask_out=1, slots=slots,
        ttft_us=1, context_limit=context_limit, ttl_us=1,
    )  # fmt: skip


def test_offers_that_fit_exactly_are_a_partition():
    result = check_partition(
        [offer(1, 6, 1000), offer(2, 2, 5000)], concurrency=8, kv_tokens_free=16_000
    )
    assert result.ok
    assert not result.explain()


def test_a_slot_or_a_token_too_many_is_refused_by_name():
    offers = [offer(1, 6, 1000), offer(2, 2, 5000)]
    slots = check_partition(offers, concurrency=7, kv_tokens_free=16_000)
    tokens = check_partition(offers, concurrency=8, kv_tokens_free=15_999)
    assert not slots.ok
    assert not tokens.ok
    assert slots.explain() == (
        "8 slots on an engine that runs 7 at once: s#1 (6 × 1000), s#2 (2 × 5000)"
    )
    assert "16000 tokens of context in a KV cache with 15999 free" in tokens.explain()


def test_a_fill_the_site_was_not_told_of_counts_as_leased():
    """Told of 3 and not of 1 and 2: using 3 as `fills_seen` answers for 1 and 2 too."""
    assert report(8, 1, [KnownFill(3, "ended")]) == Report(slots=5, fills_seen=3)
    assert report(8, 1, [KnownFill(3, "ended")], settled_up_to=2) == Report(slots=7, fills_seen=3)


def test_outside_load_drives_out_the_first_tranche_first_and_is_charged_once():
    tranches = [Tranche(1, 4, [KnownFill(1, "started")]), Tranche(2, 3, [KnownFill(1, "leased")])]
    assert [r.slots for r in report_engine(tranches, 0)] == [3, 2]
    assert [r.slots for r in report_engine(tranches, 4)] == [0, 1]
    assert [r.slots for r in report_engine(tranches, 9)] == [0, 0]


class TwoCounters(RuleBasedStateMachine):
    """An engine of few slots in two tranches, an exchange that only knows reports and fills, messages
    between them that arrive late and in the order sent. Goal: the exchange never lets more requests
    at the engine than it can run at once, and once all is quiet it sells every free slot again.

    Few slots and three outside requests at most, so that "full" is the common case.
    """

    ALLOTTED = {1: 2, 2: 3}  # noqa: RUF012 - a constant of the machine

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere = 0
        # exchange: the state of each fill by (offer, ordinal), and the last report applied
        self.fills: dict[tuple[int, int], str] = {}
        self.made: dict[int, int] = defaultdict(int)
        self.applied: dict[int, Report] = {1: Report(0, 0), 2: Report(0, 0)}
        self.seen_max: dict[int, int] = defaultdict(int)
        # site: what it knows; queues in both directions
        self.known: dict[int, list[KnownFill]] = {1: [], 2: []}
        self.to_site: list[tuple[int, KnownFill]] = []
        self.to_exchange: list[dict[int, Report]] = []

    def available(self, number: int) -> int:
        seen = self.seen_max[number]
        taken = sum(
            state != "released"
            for (o, ordinal), state in self.fills.items()
            if o == number and ordinal > seen
        )
        return max(0, self.applied[number].slots - taken)

    def reports(self) -> dict[int, Report]:
        tranches = [Tranche(o, n, self.known[o]) for o, n in self.ALLOTTED.items()]
        return dict(zip(self.ALLOTTED, report_engine(tranches, self.elsewhere), strict=True))

    @rule(number=st.sampled_from((1, 2)))
    def fill(self, number: int) -> None:
        if self.available(number) > 0:
            self.made[number] += 1
            self.fills[number, self.made[number]] = "leased"
            self.to_site.append((number, KnownFill(self.made[number], "leased")))

    @rule()
    def site_hears(self) -> None:
        if self.to_site:
            number, news = self.to_site.pop(0)
            self.known[number].append(news)

    @rule(data=st.data())
    def request_comes(self, data: st.DataObject) -> None:
        """A buyer may come before the site heard of its fill: the token says enough."""
        leased = [key for key, state in self.fills.items() if state == "leased"]
        if leased:
            key = data.draw(st.sampled_from(leased))
            self.fills[key] = "started"
            self.known[key[0]].append(KnownFill(key[1], "started"))

    @rule(data=st.data())
    def request_ends(self, data: st.DataObject) -> None:
        started = [key for key, state in self.fills.items() if state == "started"]
        if started:
            key = data.draw(st.sampled_from(started))
            self.fills[key] = "ended"
            self.known[key[0]].append(KnownFill(key[1], "ended"))

    @rule(data=st.data())
    def lease_runs_out(self, data: st.DataObject) -> None:
        leased = [key for key, state in self.fills.items() if state == "leased"]
        if leased:
            key = data.draw(st.sampled_from(leased))
            self.fills[key] = "released"
            self.to_site.append((key[0], KnownFill(key[1], "ended")))

    def taken(self) -> int:
        return sum(state in {"leased", "started"} for state in self.fills.values())

    @precondition(lambda self: self.elsewhere < 3)
    @rule()
    def outside_request_comes(self) -> None:
        """Only while it finds room that was never offered or sold: what a site sends itself it may
        not also sell, so it reports first (here at once).
        """
        free = {number: self.available(number) for number in self.ALLOTTED}
        if sum(self.ALLOTTED.values()) - self.elsewhere - self.taken() > 0 and not any(
            free.values()
        ):
            self.elsewhere += 1

    @rule()
    def outside_request_ends(self) -> None:
        self.elsewhere = max(0, self.elsewhere - 1)

    @rule()
    def site_reports(self) -> None:
        if self.to_exchange:
            return  # one at a time: a report under way could sell what an outside request now took
        self.to_exchange.append(self.reports())

    @precondition(lambda self: self.to_exchange)
    @rule()
    def report_arrives(self) -> None:
        sent = self.to_exchange.pop(0)
        for number, told in sent.items():
            assert told.fills_seen <= self.made[number]
            self.applied[number] = told
            self.seen_max[number] = max(self.seen_max[number], told.fills_seen)
        # What an outside request took while the report was under way is the site's own risk.
        self.elsewhere = min(
            self.elsewhere, max(0, sum(self.ALLOTTED.values()) - self.taken() - self.sellable())
        )

    def sellable(self) -> int:
        return sum(self.available(number) for number in self.ALLOTTED)

    @invariant()
    def no_slot_is_sold_twice(self) -> None:
        assert self.taken() + self.elsewhere + self.sellable() <= sum(self.ALLOTTED.values())

    @invariant()
    def once_all_is_heard_every_free_slot_is_sold_again(self) -> None:
        if self.to_site or self.to_exchange:
            return
        told = self.reports()
        free = 0
        for number, one in told.items():
            seen = max(self.seen_max[number], one.fills_seen)
            above = [
                key
                for key, state in self.fills.items()
                if key[0] == number and key[1] > seen and state != "released"
            ]
            free += max(0, one.slots - len(above))
        assert free == max(0, sum(self.ALLOTTED.values()) - self.elsewhere - self.taken())


TwoCounters.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_a_slot_is_never_sold_twice_whatever_is_in_flight = TwoCounters.TestCase
