"""The compiled core equals the reference: the same events, byte for byte, and the same digest.

The oracle is the reference; the two share nothing but the contract (schemas, digest, event rows).
Market files come from tests/market/generator.py, with numbers so small that ties, limits and several
expiries at one moment are common. A failing seed repeats with
`pytest tests/market/test_compiled_equals_reference.py -k SEED`.
"""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from matching_core import columns as k
from matching_core.market import Market
from matching_core.market_file import format_event
from matching_core.reference import ReferenceMarket
from schemas import commands as c
from schemas import events as e
from schemas import lists
from schemas.records import COMMAND_RECORDS
from tests.market.generator import commands, market_files

CI_SEEDS, LONG_SEEDS = 24, 600
COMMANDS = 220
EVERY = 10  # digests and audits of the whole state per so many commands: both look at all of it


def lines(events):
    return b"".join(format_event(event) for event in events)


def assert_equal(market, reference, given_commands):
    for number, command in enumerate(given_commands):
        expected = reference.apply(command)
        got = market.apply_command(command)
        assert lines(got) == lines(expected), f"command {number}: {command}"
        if number % EVERY == 0:
            market.audit()
            assert market.digest() == reference.digest(), f"after command {number}: {command}"
    market.audit()
    assert market.digest() == reference.digest()


def seeds(config):
    return range(LONG_SEEDS if config.getoption("--long") else CI_SEEDS)


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds(metafunc.config))


def test_a_long_market_file_gives_equal_events_and_digests(seed):
    """Promise A2: event for event. Goal: every command and every ending, many times over."""
    assert_equal(Market(), ReferenceMarket(), commands(seed, COMMANDS))


def by_place():
    """A market that asks at once whether few sites suit a bid: of small books, never many do."""
    market = Market()
    market.columns.s[k.SHELVES_FIRST] = 0
    return market


def test_offers_found_by_place_are_those_found_by_price(seed):
    """As above, with every search by place. Goal: stalls hold what shelves hold, whatever changes."""
    assert_equal(by_place(), ReferenceMarket(), commands(30_000 + seed, COMMANDS))


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(market_files(30))
def test_a_market_file_that_hypothesis_makes_gives_equal_events_and_digests(market_file):
    """As above; a failing file shrinks to the commands that matter."""
    assert_equal(Market(), ReferenceMarket(), market_file)
    assert_equal(by_place(), ReferenceMarket(), market_file)


def test_money_and_slots_agree_after_every_command():
    """Promise A1, recounted from the smallest parts by the market itself after each command."""
    market = Market()
    market.audit_every_command = True
    for command in commands(1_000, COMMANDS):
        market.apply(command)


def frames_of(market, given_commands):
    """Yield (kind, records, sender) for runs of hot commands of one kind, sender and time.

    A name is looked up when its run begins, so a run ends at any rare command.
    """
    key: tuple[int, ...] | None = None
    run: list[np.ndarray] = []
    for command in given_commands:
        frame = market.to_frame(command)
        this = None
        if frame is not None:
            kind, record, member, agent, role = frame
            this = (kind, member, agent, role, command.at)
        if this != key and run:
            yield key, np.concatenate(run)
            run = []
        key = this
        if frame is None:
            yield None, command
        else:
            run.append(record)
    if run:
        yield key, np.concatenate(run)


def coarse(given_commands, at_once=12):
    """Let commands share the time of the first of each dozen, its hot ones sorted by kind and sender.

    That makes another market file, one with long runs.
    """
    for first in range(0, len(given_commands), at_once):
        group = given_commands[first : first + at_once]
        group = [msgspec.structs.replace(command, at=group[0].at) for command in group]
        yield from sorted(
            group, key=lambda command: (c.name_of(command), getattr(command, "buyer", ""))
        )


def test_any_batch_split_gives_the_same_events(seed):
    """Determinism (MARKET.md §9): frames of many records and commands one by one are the same."""
    market_file = list(coarse(commands(10_000 + seed, COMMANDS)))
    single, batched, reference = Market(), Market(), ReferenceMarket()
    expected = [reference.apply(command) for command in market_file]
    one_by_one = [single.apply(command).copy() for command in market_file]
    rows, longest = [], 0
    for key, content in frames_of(batched, market_file):
        if key is None:
            rows.append(batched.apply(content).copy())
        else:
            kind, member, agent, role, at_ns = key
            longest = max(longest, len(content))
            rows.append(batched.apply_frame(kind, content, member, agent, at_ns, role).copy())
    assert longest > 1
    assert (np.concatenate(rows) == np.concatenate(one_by_one)).all()
    assert batched.events(np.concatenate(rows)) == [
        event for events in expected for event in events
    ]
    assert batched.digest() == single.digest() == reference.digest()


def test_snapshot_and_tail_equal_the_whole(seed):
    """Promise D7. Goal: nothing that a later outcome depends on is left out of a snapshot."""
    market_file = commands(20_000 + seed, COMMANDS)
    cut = 40 + 7 * seed % (COMMANDS - 60)
    whole = Market()
    for command in market_file[:cut]:
        whole.apply(command)
    kept = whole.snapshot()
    before = whole.digest()
    tail = [whole.apply(command).copy() for command in market_file[cut:]]
    restored = Market.restore(kept)
    assert restored.digest() == before
    restored.audit()
    again = [restored.apply(command).copy() for command in market_file[cut:]]
    assert all((one == other).all() for one, other in zip(tail, again, strict=True))
    assert restored.digest() == whole.digest()


def test_every_hot_command_survives_the_way_into_a_record_and_back():
    """`curb export`: a frame's twin by names is the command itself, lists in their list's order."""
    seen = set()
    for seed in range(30_000, 30_020):
        market = Market()
        for command in commands(seed, COMMANDS):
            frame = market.to_frame(command)
            rejections = [
                event for event in market.apply_command(command) if isinstance(event, e.Rejected)
            ]
            if frame is None or any(event.reason == "unknown" for event in rejections):
                continue  # what has no handle has no record
            kind, record, member, agent, role = frame
            assert record.dtype == COMMAND_RECORDS[kind]
            expected = command
            if isinstance(command, c.Offer):
                in_order = sorted(command.capabilities, key=lists.CAPABILITIES.index)
                expected = msgspec.structs.replace(command, capabilities=tuple(in_order))
            assert market.from_record(kind, record[0], member, agent, role, command.at) == expected
            seen.add(kind)
    assert seen == set(COMMAND_RECORDS)


def test_time_that_goes_back_is_refused_and_changes_nothing():
    market = Market()
    market.apply(c.Clock(at=5))
    before = market.digest()
    with pytest.raises(ValueError, match="at: smaller"):
        market.apply(c.Clock(at=4))
    assert market.digest() == before
    assert market.seq == 1


def test_rows_of_handles_stay_right_while_every_table_grows():
    """More of each kind than the tables begin with, so that each of them doubles more than once."""
    market, reference = Market(), ReferenceMarket()
    made: list[c.AnyCommand] = []
    made += [c.Model(at=1, model=f"m{n}", family="f", params_m=1, context_limit=9, card_in=0,
                    card_out=0, card_second=2) for n in range(20)]  # fmt: skip
    made += [c.Metro(at=1, metro=f"t{n}", lat=0, lon=0, country="FR", population=1)
             for n in range(20)]  # fmt: skip
    made += [c.Operator(at=1, operator=f"o{n}") for n in range(80)]
    made += [c.Buyer(at=1, buyer=f"b{n}") for n in range(80)]
    made += [c.Deposit(at=1, role="buyer", member=f"b{n}", transfer=1, amount=10**6)
             for n in range(80)]  # fmt: skip
    made += [
        c.Site(at=1, site=f"s{n}", operator=f"o{n % 80}", tier="central", lat=0, lon=0,
               asns=tuple(range(1, 2 + n % 5)))
        for n in range(200)
    ]  # fmt: skip
    made += [c.Rtt(at=1, site=f"s{n}", metro=f"t{n % 20}", p99_us=n) for n in range(200)]
    made += [c.Deal(at=1, deal=f"d{n}", operator=f"o{n}", buyers=(f"b{n}",)) for n in range(20)]
    made += [c.Adapter(at=1, adapter=f"a{n}", model=f"m{n}") for n in range(20)]
    made += [
        c.Campaign(at=1, campaign="c", buyer=f"b{n}", models=(c.CampaignModel(model=f"m{n % 20}"),),
                   latency_budget_us=1000, max_unit_price=0, peering=n % 2 == 0,
                   deny_operators=(f"o{n}",))
        for n in range(80)
    ]  # fmt: skip
    made += [
        c.Bid(at=2, buyer=f"b{n}", agent=k, bid=1, campaign="c", origin=f"t{n % 20}", origin_asn=1,
              tokens_in=0, tokens_out=1, rest_us=10**6, lease_us=10**6, max_price=n % 7)
        for n, k in itertools.product(range(80), range(3))
    ]  # fmt: skip
    made += [
        c.Offer(at=3, site=f"s{n}", offer=1, model=f"m{n % 20}", hardware="cpu", ask_in=0, ask_out=0,
                ask_second=n % 5, slots=2, ttft_us=0, context_limit=9, adapters=(f"a{n % 20}",),
                ttl_us=10**6)
        for n in range(200)
    ]  # fmt: skip
    made += [c.Clock(at=10**10)]
    assert_equal(market, reference, made)
    assert market.counts()["fills"] > 100
