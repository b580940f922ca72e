"""The runner against a fake exchange: it says what changed, serves, and begins again after losses."""

import asyncio
import dataclasses
import random
from collections import Counter

import msgspec
import numpy as np
import pytest

from schemas import commands as c
from schemas import records
from schemas.channel import SessionOverError
from ssp_adapters import price_list
from ssp_adapters.agent import OperatorAgent
from ssp_adapters.contract import Policy, Sample, Samples
from ssp_adapters.demo.engine import SimulatedEngine
from ssp_adapters.process import FeedPosition, FileSource, load_adapter
from ssp_adapters.runner import Runner
from ssp_adapters.serving import Job
from tests.fakes import market as small
from tests.fakes.exchange import FakeExchange
from tests.waiting import until_async

WITHIN_S = 15
MODEL = "llama-3.1-8b"
CSV = (
    "site,offer,model,hardware,accelerators,precision,usd_per_hour,concurrency\n"
    f"{small.SITE},1,{MODEL},l4,1,fp8,0.80,8\n"
)
POLICY = Policy(ttl_us=60_000_000)


class TextSource:
    """Documents that a test can change."""

    def __init__(self, text):
        self.documents = (Sample(source="prices.csv", text=text),)
        self.broken = False

    def change(self, text):
        self.documents = (Sample(source="prices.csv", text=text),)

    async def read(self):
        if self.broken:
            raise OSError("gone")
        return self.documents


@dataclasses.dataclass
class Scene:
    exchange: FakeExchange
    runner: Runner
    source: TextSource
    bundle: object

    def count(self, name):
        return self.exchange.seen.count(name)

    def bid(self, number, **fields):
        return self.exchange.apply(
            c.Bid(
                at=0, buyer=small.BUYER, bid=number, campaign="batch", origin=small.METRO,
                tokens_in=100, tokens_out=20, **fields,
            )
        )  # fmt: skip


def play(scenario, *, engine=None, adapter=price_list, policy=POLICY):
    async def main():
        async with asyncio.timeout(WITHIN_S):
            exchange = FakeExchange()
            try:
                small.found(exchange)
                exchange.apply(
                    c.Model(
                        at=0, model=MODEL, family="llama", params_m=8_000, context_limit=131_072,
                        card_in=1_000_000, card_out=1_000_000,
                    )
                )  # fmt: skip
                exchange.apply(
                    small.campaign(
                        "batch", models=(c.CampaignModel(model=MODEL),),
                        max_unit_price=1_000_000_000,
                    )
                )  # fmt: skip
                source = TextSource(CSV)
                bundle = exchange.bundle_for(small.OPERATOR, "operator", sites=(small.SITE,))
                runner = Runner(adapter, source, policy, engine=engine, interval_s=0.02)
                runner.attach(OperatorAgent(bundle, runner))
                stop = asyncio.Event()
                running = asyncio.create_task(runner.run(stop))
                await runner.offered.wait()
                await scenario(Scene(exchange, runner, source, bundle))
                stop.set()
                await running
            finally:
                exchange.close()

    asyncio.run(main())


def test_unchanged_offers_are_not_sent_again_and_changed_ones_are():
    async def scenario(scene):
        looks = []
        read = scene.source.read

        async def counted():
            looks.append(1)
            return await read()

        scene.source.read = counted
        offers = scene.count("offer")
        assert offers == 2  # the tranche to the target, and the dearer rest
        await until_async(lambda: len(looks) > 5)
        assert (scene.count("offer"), scene.count("refresh"), scene.count("renew")) == (2, 0, 0)
        scene.source.change(CSV.replace("0.80", "0.90"))
        await until_async(lambda: scene.count("offer") == 4)
        assert scene.count("refresh") == 0

    play(scenario)


def test_a_short_life_is_prolonged_by_one_renewal_per_site():
    async def scenario(scene):
        await until_async(lambda: scene.count("renew") >= 3)
        assert scene.count("offer") == 2

    play(scenario, policy=Policy(ttl_us=200_000))


def told(scene):
    """What stands at the exchange: slots, and fills seen."""
    offers = [one.offer for one in scene.runner.standing.values()]
    return sum(one.slots for one in offers), sum(one.fills_seen for one in offers)


def test_fills_are_started_and_completed_and_their_slots_come_back():
    async def scenario(scene):
        for number in range(1, 5):
            events = scene.bid(number, quantity=9)
            assert sum(event.__struct_config__.tag == "fill" for event in events) == 8
            sold = 8 * number
            await until_async(lambda: scene.count("complete") == sold)  # noqa: B023
            await until_async(lambda: told(scene) == (8, sold))  # noqa: B023
        assert scene.count("start") == 32
        assert scene.runner.counts["completed"] == 32
        assert scene.runner.counts["start_rejected"] == 0

    play(scenario, engine=SimulatedEngine(reach_ns=0, speed=1_000))


def test_what_was_given_back_is_not_started():
    async def scenario(scene):
        events = scene.bid(1)
        fill = events[0].fill
        scene.exchange.apply(c.Release(at=0, buyer=small.BUYER, fill=fill))
        await until_async(lambda: scene.runner.counts["fills"] == 1)
        scene.bid(2)
        await until_async(lambda: scene.count("complete") == 1)
        assert scene.count("start") == 1

    play(scenario, engine=SimulatedEngine(reach_ns=200_000_000, speed=1_000))


def test_fills_of_another_agents_site_are_in_the_feed_and_not_this_runners():
    other = "lantern/paris-01"

    async def scenario(scene):
        exchange = scene.exchange
        exchange.apply(msgspec.structs.replace(small.site(), site=other))
        exchange.apply(c.Rtt(at=0, site=other, metro=small.METRO, p99_us=1_000))
        exchange.apply(small.offer(site=other))
        exchange.apply(small.campaign("small"))
        events = exchange.apply(
            c.Bid(
                at=0, buyer=small.BUYER, bid=1, campaign="small", origin=small.METRO,
                tokens_in=1, tokens_out=1,
            )
        )  # fmt: skip
        assert events[0].site == other
        scene.bid(2)
        await until_async(lambda: scene.count("complete") == 1)
        assert scene.count("start") == scene.runner.counts["fills"] == 1

    play(scenario, engine=SimulatedEngine(reach_ns=0, speed=1_000))


def test_offers_that_do_not_partition_their_engine_are_refused():
    class Greedy:
        read = staticmethod(price_list.read)

        @staticmethod
        def offers(fleet, policy, now_ns):
            offers = price_list.offers(fleet, policy, now_ns)
            if Greedy.greedy:
                return tuple(msgspec.structs.replace(offer, slots=9) for offer in offers)
            return offers

        greedy = False

    async def scenario(scene):
        Greedy.greedy = True
        await until_async(lambda: scene.runner.last_fault)
        assert "18 slots on an engine that runs 8 at once" in scene.runner.last_fault
        assert scene.count("refresh") == 0
        Greedy.greedy = False
        await until_async(lambda: not scene.runner.last_fault)

    play(scenario, adapter=Greedy)


def test_what_cannot_be_read_is_said_and_nothing_is_sent():
    async def scenario(scene):
        scene.source.change(CSV + "nonsense\n")
        await until_async(lambda: scene.runner.last_fault)
        assert scene.runner.last_fault.startswith("prices.csv:3: row:")
        scene.source.broken = True
        await until_async(lambda: "OSError" in scene.runner.last_fault)
        assert scene.count("offer") == 2

    play(scenario)


def test_a_lost_connection_is_resumed_with_the_offers_standing():
    async def scenario(scene):
        scene.exchange.drop_connections()
        scene.source.change(CSV.replace("0.80", "0.90"))
        await until_async(lambda: scene.count("offer") == 4)
        assert scene.count("offers_cancel") == 0

    play(scenario)


def test_a_session_that_ended_is_begun_anew_with_all_offers():
    async def scenario(scene):
        agent = next(a for a in scene.exchange.agents.values() if a.role == "operator")
        scene.exchange._ended(agent, agent.session.revoke().ended._replace(peer=b""))
        await until_async(lambda: scene.count("offer") == 4)
        assert scene.count("offers_cancel") == 1

    play(scenario)


def test_what_waited_for_a_session_that_was_gone_is_said_in_the_next_one():
    """Goal: a start that never left does not end its operator; that costs the buyer its fill."""

    async def scenario(scene):
        exchange, channel = scene.exchange, scene.runner.agent.channel
        start = np.zeros(1, records.START_RECORD)
        start["fill"] = scene.bid(1)[0].fill
        agent = next(a for a in exchange.agents.values() if a.role == "operator")
        exchange.deaf = True
        exchange._ended(agent, agent.session.revoke().ended._replace(peer=b""))
        exchange.drop_connections()
        await until_async(lambda: not channel.open)
        saying = asyncio.create_task(scene.runner.agent.insist(records.START, start))
        await until_async(lambda: channel._session.unanswered)
        exchange.deaf = False
        assert (await saying)["code"].tolist() == [0]
        assert scene.count("start") == 1

    play(scenario)


def test_another_life_declines_what_the_last_one_left_started():
    async def scenario(scene):
        events = scene.bid(1, quantity=2)
        first, second = (event.fill for event in events[:2])
        scene.exchange.apply(c.Start(at=0, operator=small.OPERATOR, fill=first))
        other = Runner(price_list, scene.source, POLICY, interval_s=0.02)
        other.attach(OperatorAgent(scene.bundle, other))
        stop = asyncio.Event()
        running = asyncio.create_task(other.run(stop))
        await until_async(lambda: first not in scene.exchange.open)
        assert second in scene.exchange.open  # leased: its request may still come
        await other.offered.wait()
        assert sum(s.offer.slots for s in other.standing.values()) == 7
        stop.set()
        await running

    with pytest.raises(SessionOverError, match="newer session"):
        play(scenario)  # the first life's: it was taken over


@pytest.mark.parametrize("seed", range(5))
def test_looking_only_where_something_happened_gives_what_looking_everywhere_gives(seed):
    print(f"seed {seed}")
    draw = random.Random(seed)
    sites = [f"lantern/{number}" for number in range(6)]
    header, row = CSV.splitlines()
    text = "\n".join([header, *(row.replace(small.SITE, site) for site in sites)])
    source = TextSource(text)
    runner = Runner(price_list, source, POLICY, clock_ns=lambda: 0, wall_ns=lambda: 0)
    documents = source.documents
    live: list[int] = []
    made: Counter[tuple[str, int]] = Counter()
    for fill in range(1, 400):
        key = (draw.choice(sites), draw.choice((1, 2)))
        made[key] += 1
        runner.book.fill(*key, made[key], fill)
        live.append(fill)
        for _ in range(draw.randrange(3)):
            if live:
                gone = live.pop(draw.randrange(len(live)))
                draw.choice((runner.book.started, runner.book.ended, runner.book.closed))(gone)
        if draw.random() < 0.3:
            fleet = price_list.read(Samples(documents=documents, fills=runner.book.samples()))
            assert runner._offers(documents) == price_list.offers(fleet, POLICY, 0)


def test_the_simulated_engine_serves_each_fill_once_for_as_long_as_its_offer_says():
    engine = SimulatedEngine(reach_ns=10)
    job = Job(7, 100, 50, ttft_us=1_000, prefill_ns_per_token=10_000, tokens_per_second=100)
    engine.take(job, 0)
    engine.take(job, 5)  # told twice
    assert (engine.next_ns, engine.due(9)) == (10, ([], []))
    assert engine.due(10) == ([7], [])
    end_ns = 10 + 1_000_000 + 100 * 10_000 + 500_000_000
    assert engine.next_ns == end_ns
    engine.drop(7)  # it runs: too late to give back
    started, done = engine.due(end_ns)
    assert (started, done[0].fill, done[0].tokens_out, done[0].ttft_us) == ([], 7, 50, 2_000)
    assert (engine.due(2 * end_ns), engine.running) == (([], []), 0)


def test_a_dropped_or_aborted_fill_is_not_served():
    engine = SimulatedEngine(reach_ns=10)
    for fill in (1, 2):
        engine.take(Job(fill, 1, 1, 0, 0, 0), 0)
    engine.drop(1)
    assert engine.due(10)[0] == [2]
    engine.abort(2)
    assert engine.due(10**12) == ([], [])


def test_files_are_read_again_only_when_they_changed(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("a")
    source = FileSource((path,))

    async def main():
        first = await source.read()
        assert await source.read() is first
        path.write_text("bb")
        assert (await source.read())[0].text == "bb"

    asyncio.run(main())


def test_a_feed_position_counts_only_in_its_market(tmp_path):
    FeedPosition(tmp_path).save(7, 41)
    again = FeedPosition(tmp_path)
    assert (again.after(7), again.after(8)) == (41, 0)
    (tmp_path / "feed.json").write_text("{")
    assert FeedPosition(tmp_path).after(7) == 0


def test_an_adapter_is_a_package_with_both_functions():
    assert load_adapter("price_list") is price_list
    for wrong in ("no_such", "agent", "../x"):
        with pytest.raises(LookupError):
            load_adapter(wrong)
