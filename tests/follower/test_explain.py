"""Explain in the follower: flagged bids, on the book they met, for their own buyer, within a rate."""

import asyncio

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from dsp_sdk.explaining import Explanations as Asking
from exchange import ports
from exchange.commands.explain import app
from exchange.explaining import KEPT_MAX, TOGETHER, Explanations
from exchange.follower import core, replay
from exchange.follower.core import Follower
from matching_core.reference import ReferenceMarket
from matching_core.reference.explain import explain as explain_by_running
from schemas import commands as c
from schemas import records
from schemas.channel import RefusedError
from schemas.explanation import Explanation
from schemas.link import ClientLink, new_context
from schemas.reasons import REFUSED
from schemas.token import TokenMaker
from tests.follower.living import BUYERS, SECOND, Living
from tests.follower.test_follower_process import running

BUYER = BUYERS[0]
RATE = 20


@pytest.fixture
def living(tmp_path):
    market = Living(tmp_path / "data", seed=11)
    market.open()
    return market


def follower(living, folder, *, per_second=RATE):
    folders = core.Folders(living.config.journal_folder, folder / "events", folder / "snapshots")
    folders.snapshots.mkdir(parents=True, exist_ok=True)
    tokens = TokenMaker(living.keys.token_secret_bytes, living.keys.market)
    made = Follower(folders, living.keys.market, tokens, lambda _batch: None, per_second)
    made.explanations.following = True
    return made


def follow(made, living):
    while made.round(living.writer.durable, 0):
        pass


def trade(living, steps):
    """Let the market live, every bid flagged; returns the flagged bids in order."""
    flagged = []
    give = living.give

    def flagging(command, sender=None):
        if isinstance(command, c.Bid):
            command = msgspec.structs.replace(command, explain=True)
            flagged.append(command)
        return give(command, sender)

    living.give = flagging
    living.live(steps)
    living.give = give
    return flagged


def commands(living):
    """Return every accepted and rejected command of the journal by name, in order."""
    found: list[c.AnyCommand] = []
    replay.export(replay.extent(living.config), found.append, lambda *_: None, lambda _done: None)
    return found


def expected(living):
    """Explain every flagged bid of the journal by really running the reference."""
    market, found = ReferenceMarket(), {}
    for command in commands(living):
        if isinstance(command, c.Bid) and command.explain:
            answer = explain_by_running(market, command, rounded=True)
            if answer is not None:
                found[command.buyer, command.agent, command.bid] = answer
        market.apply(command)
    return found


def test_every_flagged_bid_is_explained_as_the_definition_does(living, tmp_path):
    """And what the follower writes stays what it is without Explain, byte for byte."""
    assert len(trade(living, 120)) > 10
    made = follower(living, tmp_path / "watching", per_second=1_000)
    follow(made, living)
    plain = follower(living, tmp_path / "plain")
    plain.explanations.following = False
    follow(plain, living)
    answers = expected(living)
    handle = made.market.names.handle
    for (buyer, agent, bid), answer in answers.items():
        assert made.explanations.answer(handle("buyer", buyer), agent, bid) == (0, answer)
    assert made.explanations.made == len(answers)
    assert made.digest() == plain.digest()
    made.close()
    plain.close()
    wrote = [sorted((tmp_path / name / "events").rglob("*.ev")) for name in ("watching", "plain")]
    assert [path.read_bytes() for path in wrote[0]] == [path.read_bytes() for path in wrote[1]]


def test_nothing_is_explained_of_what_was_not_asked_for(living, tmp_path):
    living.offer("op-a/1", 1, 3)
    living.bid(BUYER, 9)
    made = follower(living, tmp_path)
    follow(made, living)
    buyer = made.market.names.handle("buyer", BUYER)
    assert made.explanations.answer(buyer, 0, living.bids) == (REFUSED["explain"], None)
    assert made.explanations.answer(buyer, 0, living.bids + 1) == (REFUSED["gap"], None)
    assert made.explanations.answer(0, 0, 1) == (REFUSED["gap"], None)
    made.close()


def test_a_frame_of_bids_is_explained_one_by_one_on_the_changing_book(living, tmp_path):
    """Goal: the second of two bids for one slot is explained without it."""
    living.offer("op-a/1", 1, 3)
    frames = [
        living.market.to_frame(
            c.Bid(at=0, buyer=BUYER, bid=bid, campaign="go", origin="here", tokens_in=10,
                  tokens_out=10, lease_us=1_000_000, max_price=9, explain=bid != 2)
        )
        for bid in (1, 2, 3)
    ]  # fmt: skip
    batch = frames[0][1].repeat(3)
    batch["bid"], batch["flags"] = (1, 2, 3), (1, 0, 1)
    living.sequencer.begin(living.now_ns)
    agent = living.agents[BUYER, 0]
    living.sequencer.frame(records.BID, batch, agent, 0, 0)
    living.writer.commit()
    made = follower(living, tmp_path)
    follow(made, living)
    buyer = made.market.names.handle("buyer", BUYER)
    first, third = (made.explanations.answer(buyer, 0, bid)[1] for bid in (1, 3))
    assert first is not None
    assert third is not None
    assert len(first.prices) == 1
    assert (third.prices, third.reason, third.changes) == ((), "no_capacity", ())
    made.close()


def test_a_buyer_over_its_rate_is_told_so_and_others_are_not_held_up(living, tmp_path):
    living.offer("op-a/1", 1, 3)
    made = follower(living, tmp_path)
    for _ in range(RATE + 5):
        living.bid(BUYER, 2, explain=True)
    last = living.bids
    living.bid(BUYERS[1], 2, explain=True)
    living.now_ns += SECOND
    living.bid(BUYER, 2, explain=True)
    follow(made, living)
    handle = made.market.names.handle
    codes = [
        made.explanations.answer(handle("buyer", BUYER), 0, bid)[0] for bid in range(1, last + 1)
    ]
    assert codes == [0] * RATE + [REFUSED["rate"]] * 5
    assert made.explanations.answer(handle("buyer", BUYERS[1]), 0, last + 1)[0] == 0
    assert made.explanations.answer(handle("buyer", BUYER), 0, last + 2)[0] == 0
    made.close()


def test_all_buyers_together_have_a_rate_and_the_oldest_answers_go_first(living):
    """So that neither time nor memory of the follower grows with who asks."""
    explanations = Explanations(living.market, 1)
    explanations.following = True
    bids = records.BID_RECORD
    frame = np.zeros(1, bids)
    frame["flags"], frame["quantity"] = records.FLAG_EXPLAIN, 1
    watch = explanations.watch
    explained = [len(watch.wanted(frame, buyer, 0, SECOND)) for buyer in range(1, 2 * TOGETHER)]
    assert sum(explained) == TOGETHER
    for bid in range(1, KEPT_MAX + 100):
        frame["bid"] = bid
        watch.wanted(frame, 99, 0, SECOND)  # over the rate: an answer is kept of each
    assert explanations.answer(99, 0, KEPT_MAX + 99)[0] == REFUSED["rate"]
    assert explanations.answer(99, 0, 1)[0] == REFUSED["gap"]
    assert len(explanations._kept) == KEPT_MAX


# ----------------------------------------------------------------------------- over the wire
def test_a_buyer_asks_for_its_own_bid_over_the_wire_and_nobody_elses(living):
    """Real CURVE sockets, the follower's loop, the SDK's end."""
    ports.resolve(living.config)
    living.offer("op-a/1", 1, 3)

    async def ask(asking, bid):
        return await asking.ask(bid, 20)

    async def main(addresses):
        context = new_context()

        def asking(member, number):
            public, secret = living.pairs[member, number]
            server = living.keys.server.public
            return Asking(lambda: ClientLink(context, addresses.events, server, public, secret))

        own, colleague, operator = asking(BUYER, 0), asking(BUYER, 1), asking("op-a", 0)
        try:
            waiting = asyncio.ensure_future(ask(own, 1))  # before there is such a bid
            await asyncio.to_thread(living.bid, BUYER, 2, explain=True)
            found = await waiting
            assert isinstance(found, Explanation)
            assert (found.buyer, found.bid, found.rounded) == (BUYER, 1, True)
            assert found.counter_offer is not None
            assert found.counter_offer.constraint == "ceiling"
            assert found == await ask(own, 1)
            with pytest.raises(RefusedError) as refused:
                await ask(operator, 1)
            assert refused.value.code == REFUSED["role"]
            with pytest.raises(TimeoutError):  # another agent's number: not come to, for ever
                await colleague.ask(1, 0.3)
        finally:
            for each in (own, colleague, operator):
                each.close()
            context.term()

    with running(living.config) as addresses:
        asyncio.run(main(addresses))


# ----------------------------------------------------------------------------- afterwards
def test_any_bid_of_a_folder_is_explained_from_a_snapshot_or_from_the_beginning(living):
    """`curb explain DATA`: the same answer whichever it starts from."""
    trade(living, 60)
    made = follower(living, living.config.data)
    follow(made, living)
    assert made.save(0) is not None
    trade(living, 60)
    follow(made, living)
    made.close()
    answers = expected(living)
    known = [command for command in commands(living) if isinstance(command, c.Bid)]
    behind = {(bid.buyer, bid.agent, bid.bid) for bid in known[len(known) // 2 :]}
    for name, answer in sorted(answers.items()):
        if name[2] % 7 and name not in sorted(behind)[:3]:
            continue
        arguments = [str(living.config.data), "--bid", "/".join(map(str, name)), "--json"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        assert msgspec.json.decode(result.stdout, type=Explanation) == answer
    everything = CliRunner().invoke(app, [str(living.config.data), "--json"])
    assert len(everything.stdout.splitlines()) == len(answers)
