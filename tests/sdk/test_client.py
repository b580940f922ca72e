"""The SDK against a fake exchange: real links and sessions, the reference market."""

import asyncio

import numpy as np
import pytest

import dsp_sdk as curb
from schemas import commands as c
from schemas import records
from schemas.bundle import save_bundle
from schemas.reasons import NO_FILL, REFUSED
from tests.fakes import market as small
from tests.fakes.exchange import FakeExchange
from tests.waiting import until_async

WITHIN_S = 10


def run(scenario):
    """Run a scenario with a market of one site and its four slots, and a connected buyer."""

    async def main():
        async with asyncio.timeout(WITHIN_S):
            exchange = FakeExchange()
            try:
                small.found(exchange, "https://127.0.0.1:9", "00" * 32)
                exchange.apply(small.offer())
                bundle = exchange.bundle_for(small.BUYER, "buyer", origin=small.METRO)
                async with curb.connect(bundle) as market:
                    await scenario(exchange, market)
            finally:
                exchange.close()

    asyncio.run(main())


def test_a_bid_gets_a_fill_with_token_endpoint_and_names():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        result = await market.bid("chat", tokens_in=40, tokens_out=32)
        fill = result.fill
        assert (fill.site, fill.operator, fill.model) == (
            small.SITE, small.OPERATOR, small.MODEL,
        )  # fmt: skip
        assert (fill.endpoint, fill.endpoint_sha256) == ("https://127.0.0.1:9", "00" * 32)
        assert len(fill.token) == records.TOKEN_BYTES
        assert (fill.tokens_in, fill.tokens_out, fill.contested) == (40, 32, False)
        made = exchange.fills[fill.fill]
        assert (fill.price_nusd, fill.lease_until_ns) == (made.price, made.lease_until)

    run(scenario)


def test_a_no_fill_is_a_result_that_names_its_reason():
    async def scenario(_exchange, market):
        await market.register(small.campaign())
        result = await market.bid("chat", tokens_in=40, tokens_out=32, max_latency_ms=1)
        assert (result.reason, result.fills, result.ended) == ("latency", (), 1)
        with pytest.raises(curb.UnfilledError, match="latency"):
            _ = result.fill

    run(scenario)


def test_a_flagged_bid_tells_what_had_filled_it_and_an_unflagged_one_is_not_explained():
    async def scenario(_exchange, market):
        await market.register(small.campaign(hardware=("h100",)))
        result = await market.bid("chat", tokens_in=20, tokens_out=10, explain=True)
        assert result.reason == "hardware"
        told = await market.explain(result.bid)
        assert told.counter_offer == curb.Change(
            constraint="hardware", price=told.counter_offer.price, entries=("cpu",),
            pusd_per_token=told.counter_offer.pusd_per_token, size=1_000_000,
        )  # fmt: skip
        other = small.campaign("any", hardware=("h100", *told.counter_offer.entries))
        await market.register(other)
        bought = await market.bid("any", tokens_in=20, tokens_out=10)
        assert bought.fill.price_nusd <= told.counter_offer.price
        with pytest.raises(curb.RefusedError) as refused:
            await market.explain(bought.bid)
        assert refused.value.code == REFUSED["explain"]
        with pytest.raises(TimeoutError):
            await market.explain(bought.bid + 1, timeout_s=0.1)

    run(scenario)


def test_many_bids_come_back_as_arrays_in_their_order():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        exchange.apply(small.offer(2, slots=3_000))
        batch = curb.bid_records(2_500)  # three frames
        batch["campaign"] = await market.directory.handle("campaign", "chat")
        batch["origin"] = await market.directory.handle("metro", small.METRO)
        batch["tokens_in"], batch["tokens_out"] = 10, 10
        batch["latency_budget_us"][7] = 1
        many = await market.bid_many(batch)
        assert many.bids.tolist() == list(range(1, 2_501))
        assert not many.unknown.any()
        assert many.statuses["fills"].sum() == len(many.fills) == 2_499
        assert many.statuses["reason"][7] == NO_FILL["latency"]
        assert np.array_equal(many.fills["bid"], many.bids[many.bid_of_fill])
        assert many.reasons() == {"latency": 1}

    run(scenario)


def test_a_bid_at_rest_is_filled_later_and_told_once_by_the_events():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        for _ in range(4):
            assert (await market.bid("chat", tokens_in=1, tokens_out=1)).fills
        resting = await market.bid("chat", tokens_in=1, tokens_out=1, rest_ms=30_000)
        assert (resting.resting, resting.fills) == (1, ())
        async with market.events() as events:
            await events.subscribed()
            exchange.apply(small.offer(2))
            rows = []
            async for batch in events:
                rows += batch.tolist()
                if any(row["fill"] for row in batch if row["bid"] == resting.bid):
                    fills = [int(row["fill"]) for row in batch if row["type"] == 1]
                    break
        assert fills == [5]  # the four before came with their answers already

    run(scenario)


def test_events_go_on_after_a_lost_connection_each_once_in_order():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        told = []
        async with market.events() as events:
            await events.subscribed()
            for bid in range(1, 5):
                exchange.apply(
                    c.Bid(
                        at=0, buyer=small.BUYER, agent=1, bid=bid, campaign="chat",
                        origin=small.METRO, tokens_in=1, tokens_out=1,
                    )
                )  # fmt: skip
                if bid == 2:
                    exchange.drop_connections()
            async for batch in events:
                told += batch["fill"].tolist()
                if len(told) == 4:
                    break
            assert events.last == 4
        assert told == [1, 2, 3, 4]

    run(scenario)


def test_a_fill_is_completed_by_both_and_settled():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        fill = (await market.bid("chat", tokens_in=40, tokens_out=32)).fill
        completing = asyncio.create_task(
            market.complete(fill.fill, tokens_in=40, tokens_out=20, ttft_us=1)
        )
        await until_async(lambda: "complete" in exchange.seen)
        operator = {"operator": small.OPERATOR, "fill": fill.fill}
        exchange.apply(c.Start(at=0, **operator))
        assert await completing  # asked again until the start was there
        events = exchange.apply(
            c.Complete(
                at=0, role="operator", member=small.OPERATOR, fill=fill.fill, tokens_in=40,
                tokens_out=20, ttft_us=1,
            )
        )  # fmt: skip
        assert events[0].by == "both"
        assert not await market.complete(
            fill.fill, tokens_in=1, tokens_out=1, ttft_us=1, patient=False
        )

    run(scenario)


def test_release_and_cancel_say_whether_there_was_something():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        fill = (await market.bid("chat", tokens_in=1, tokens_out=1)).fill
        assert await market.release(fill.fill)
        exchange.apply(small.offer(slots=0, fills_seen=1))
        rest = await market.bid("chat", tokens_in=1, tokens_out=1, rest_ms=30_000)
        assert await market.cancel(rest.bid)
        assert not await market.cancel(rest.bid)

    run(scenario)


def test_registering_the_same_campaign_again_is_no_error_and_another_is():
    async def scenario(_exchange, market):
        await market.register(small.campaign())
        assert await market.register(small.campaign()) == "chat"
        with pytest.raises(curb.RejectedError) as rejected:
            await market.register(small.campaign(min_trust=1))
        assert rejected.value.reason == "exists"
        await market.end("chat")
        await market.register(small.campaign(min_trust=1))

    run(scenario)


def test_a_lost_connection_is_resumed_and_nothing_is_lost_or_doubled():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        first = await market.bid("chat", tokens_in=1, tokens_out=1)
        exchange.drop_connections()
        second = await market.bid("chat", tokens_in=1, tokens_out=1)
        assert (first.fill.fill, second.fill.fill) == (1, 2)
        assert second.bid == first.bid + 1
        assert exchange.seen.count("bid") == 2

    run(scenario)


def test_an_answer_lost_with_its_session_is_outcome_unknown_and_query_tells():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        await market.bid("chat", tokens_in=1, tokens_out=1)
        exchange.silent = True
        bidding = asyncio.create_task(market.bid("chat", tokens_in=1, tokens_out=1))
        await until_async(lambda: exchange.seen.count("bid") == 2)
        # The exchange forgets its answers, as over a restart, and the session resumes.
        session = next(iter(exchange.agents.values())).session
        session._window.clear()
        exchange.silent = False
        exchange.drop_connections()
        with pytest.raises(curb.OutcomeUnknown):
            await bidding
        outcome = await market.outcome(bid=2)
        assert (outcome.known, outcome.fills) == (True, (2,))

    run(scenario)


def test_what_was_bought_before_the_session_ended_is_still_told():
    """Goal: a fill that its buyer is not told of costs rent and serves nobody."""

    async def scenario(exchange, market):
        await market.register(small.campaign())
        exchange.apply(small.offer(2, slots=2_000))
        batch = curb.bid_records(1_024 + 10)  # two frames
        batch["campaign"] = await market.directory.handle("campaign", "chat")
        batch["origin"] = await market.directory.handle("metro", small.METRO)
        batch["tokens_in"], batch["tokens_out"] = 10, 10
        post = market.channel.post
        frames = iter([post])

        async def once(kind, array):
            sent = next(frames, None)
            if sent is None:
                raise curb.SessionOverError(0, "taken over")
            return await sent(kind, array)

        market.channel.post = once
        many = await market.bid_many(batch)
        assert len(many.fills) == 1_024
        assert many.statuses["code"][1_024:].tolist() == [REFUSED["not_established"]] * 10
        with pytest.raises(curb.NotSentError):
            await market.bid("chat", tokens_in=1, tokens_out=1)
        market.channel.post = post

    run(scenario)


def test_a_fill_that_is_shown_does_not_show_its_token():
    async def scenario(_exchange, market):
        await market.register(small.campaign())
        fill = (await market.bid("chat", tokens_in=1, tokens_out=1)).fill
        assert "token=" not in repr(fill)
        assert repr(fill.token) not in repr(fill)

    run(scenario)


def test_three_lines_say_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.delenv("CURB_ORIGIN", raising=False)

    async def main():
        exchange = FakeExchange()
        try:
            small.found(exchange)
            stranger = exchange.bundle_for(small.BUYER, "buyer")
            exchange.agents.clear()
            with pytest.raises(curb.NoExchangeError, match="not enrolled"):
                await curb.connect(stranger, timeout_s=0.3)
            operator = exchange.bundle_for(small.OPERATOR, "operator")
            with pytest.raises(ValueError, match="not a buyer"):
                await curb.connect(operator)
            path = save_bundle(exchange.bundle_for(small.BUYER, "buyer"), tmp_path / "b.json")
            async with curb.connect(path) as market:
                await market.register(small.campaign())
                with pytest.raises(curb.UnknownNameError, match=small.METRO):
                    await market.bid("chat", tokens_in=1, tokens_out=1)
                with pytest.raises(curb.UnknownNameError, match="no-such-model"):
                    await market.chat("no-such-model", "Say hello").whole()
        finally:
            exchange.close()

    asyncio.run(main())


def test_a_pool_holds_gives_out_and_gives_back():
    async def scenario(exchange, market):
        await market.register(small.campaign())
        async with curb.Pool(market, "chat", tokens_in=9, tokens_out=9, size=2) as pool:
            assert len(pool.holdings) == 2
            fill = pool.take()
            assert fill is not None
            assert pool.take(not_operator=small.OPERATOR) is None
            await until_async(lambda: len(pool.holdings) == 2)
        assert exchange.seen.count("release") == 2
        assert fill.fill in exchange.open

    run(scenario)
