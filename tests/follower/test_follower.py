"""The follower: a function of the journal, whatever stops it and wherever it goes on."""

import random

import numpy as np
import pytest

from exchange.follower import core
from exchange.follower.core import Follower
from exchange.follower.event_files import Batch, EventReader
from exchange.follower.member_files import HEAD_BYTES
from schemas import commands as c
from schemas import events as e
from schemas.records import EVENT_RECORD, EVENT_TYPES
from schemas.token import TokenMaker
from tests.follower.living import BUYERS, OPERATORS, Living

SNAPSHOT_EVERY = 60


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    market = Living(tmp_path_factory.mktemp("living") / "data", seed=3)
    market.open()
    return market.live(500)


@pytest.fixture(autouse=True)
def small_rounds(monkeypatch):
    """So that a journal of a few hundred commands takes many rounds."""
    monkeypatch.setattr(core, "BYTES_PER_ROUND", 900)


def follower(living, folder, publish=len):
    folders = core.Folders(living.config.journal_folder, folder / "events", folder / "snapshots")
    folders.snapshots.mkdir(parents=True, exist_ok=True)
    tokens = TokenMaker(living.keys.token_secret_bytes, living.keys.market)
    return Follower(folders, living.keys.market, tokens, publish)


def run_whole(living, folder):
    made = follower(living, folder)
    now = 0
    while made.round(living.writer.durable, now):
        now += 1_000_000
        if made.snapshot_due(SNAPSHOT_EVERY):
            made.save(now)
    made.save(now)
    made.close()
    return made


def content(living, folder):
    """Everything the follower wrote, with no trace of how its batches were cut."""
    reader = EventReader(folder / "events", living.keys.market)
    events, names, money, end = [], [], [], 0
    while (batch := reader.read()) is not None:
        assert batch.begin == end
        end = batch.end
        events.append(batch.events.tobytes())
        names += batch.names
        money.append(batch.money.tobytes())
    members = {
        path.name: path.read_bytes() for path in sorted((folder / "events/members").iterdir())
    }
    return b"".join(events), names, b"".join(money), end, members


@pytest.fixture(scope="module")
def whole(living, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    made = run_whole(living, folder)
    return made, content(living, folder)


def test_it_has_the_exchanges_own_state_and_all_its_events(living, whole):
    """D7: the follower's digest is the live one; its rows are the events that the exchange saw."""
    made, (events, names, money, end, _) = whole
    assert made.digest() == {
        "position": living.writer.end,
        "seq": living.market.seq,
        "digest": living.market.digest(),
    }
    assert end == living.writer.end
    rows = np.frombuffer(events, np.int64).reshape(-1, 32)
    told = [event for _, event in living.history if isinstance(event, e.Event)]
    assert living.market.events(rows) == told
    registered = [
        (seq, entry) for seq, entry in living.history
        if isinstance(entry, c.Operator | c.Buyer | c.Model | c.Metro | c.Site | c.Campaign)
    ]  # fmt: skip
    assert [(name.seq, name.kind) for name in names] == [
        (seq, c.name_of(entry)) for seq, entry in registered
    ]
    moved = [entry for _, entry in living.history if isinstance(entry, c.Deposit | c.Withdraw)]
    amounts = np.frombuffer(money, np.int64).reshape(-1, 6)[:, 5].tolist()
    assert amounts == [m.amount if isinstance(m, c.Deposit) else -m.amount for m in moved]
    kinds = {type(event).__name__.lower() for event in told}
    assert len(kinds) >= 9  # the history has nearly every kind of event


def test_whatever_stops_it_it_writes_the_same(living, whole, tmp_path):
    """Method: many lives, each ended without a word after a few rounds, snapshots now and then.

    Before the next life files are damaged as a crash or a person would: torn tails, a member's file
    cut or gone, the newest snapshot unreadable, all events gone.
    """
    rng = random.Random(7)
    print("seed 7")
    lives = 0
    for _ in range(200):
        lives += 1
        made = follower(living, tmp_path)
        left = rng.randint(0, 12)
        while made.round(living.writer.durable, left * 10**9) and left > 0:
            # Nobody kills it for ever before it is where it was: most lives get that far.
            left -= made.position >= made.events.end or rng.random() < 0.05
        if rng.random() < 0.6:
            made.save(0)
        done = made.position == living.writer.end and made.events.end == made.position
        made.close()
        if done:
            break
        if rng.random() < 0.4:
            damage(rng, tmp_path)
    else:
        pytest.fail("it never reached the end")
    assert lives > 10
    assert content(living, tmp_path)[0] == whole[1][0]
    assert content(living, tmp_path)[1:] == whole[1][1:]
    assert made.totals.plain() == whole[0].totals.plain()


def damage(rng, folder):
    members = sorted((folder / "events/members").iterdir())
    segments = sorted((folder / "events").glob("*.ev"))
    snapshots = sorted((folder / "snapshots").glob("*.snap"))
    match rng.randrange(12):
        case 0 if segments:
            size = segments[-1].stat().st_size
            with segments[-1].open("r+b") as file:
                file.truncate(rng.randint(0, size))
        case 1 if members:
            with rng.choice(members).open("r+b") as file:
                file.truncate(rng.randint(0, HEAD_BYTES + 500))
        case 2 if members:
            rng.choice(members).unlink()
        case 3 if snapshots:
            snapshots[-1].write_bytes(snapshots[-1].read_bytes()[:-1])
        case 4 if snapshots:
            snapshots[-1].with_suffix(core.TOTALS_SUFFIX).unlink(missing_ok=True)
        case 5 if rng.random() < 0.2:
            for segment in segments:
                segment.unlink()
        case 6 if members:
            with rng.choice(members).open("ab") as file:
                file.write(b"torn")


def test_a_batch_is_published_once_and_never_again_after_a_restart(living, tmp_path):
    """The tape tells what happens; whoever was there has seen it."""
    published: list[Batch] = []
    going = True
    while going:
        made = follower(living, tmp_path, published.append)
        while made.position < made.events.end:
            made.round(living.writer.durable, 0)
        going = made.round(living.writer.durable, 0)
        made.save(0)
        made.close()
    fills = np.concatenate([batch.events for batch in published])
    fills = fills[fills["type"] == EVENT_TYPES.index("fill")]["fill"].tolist()
    assert fills == list(range(1, len(fills) + 1))
    assert len(fills) == sum(isinstance(event, e.Fill) for _, event in living.history)


def test_members_numbers_stand_for_the_same_events_for_ever(living, whole):
    """Every member's file holds exactly the events that concern it, in order (M2)."""
    members = whole[1][4]
    for role, names in (("buyer", BUYERS), ("operator", OPERATORS)):
        for handle, name in enumerate(names, start=1):
            raw = members[f"{role}-{handle:010d}.ev"]
            records = np.frombuffer(raw[HEAD_BYTES:], EVENT_RECORD)
            got = [
                (int(r["seq"]), EVENT_TYPES[r["type"]], int(r["fill"]), int(r["bid"]))
                for r in records
            ]
            assert got == expected(living, role, name)


def expected(living, role, name):
    """Say by the definition what a member is told: its own, and what it gave that was rejected."""
    fills, told = {}, []
    for seq, entry in living.history:
        if isinstance(entry, e.Fill):
            fills[entry.fill] = entry
        kind = str(entry.__struct_config__.tag)
        fill = fills.get(getattr(entry, "fill", 0)) if isinstance(entry, e.Event) else None
        if fill is not None:
            if getattr(fill, role) == name:
                told.append((seq, kind, fill.fill, fill.bid if role == "buyer" else 0))
        elif isinstance(entry, e.Resting | e.Unfilled):
            if role == "buyer" and entry.buyer == name:
                told.append((seq, kind, 0, entry.bid))
        elif isinstance(entry, e.OfferExpired):
            if role == "operator" and entry.site.partition("/")[0] == name:
                told.append((seq, kind, 0, 0))
        elif isinstance(entry, e.Rejected) and living.givers[seq] == (role, name):
            told.append((seq, kind, *living.named[seq]))
    return told


def test_replaying_gives_the_live_digest_with_cold_and_restored_markets(living, tmp_path):
    """A snapshot is the state: the market made of it goes on as the live one did."""
    made = follower(living, tmp_path)
    assert made.position == 0
    while made.round(living.writer.durable, 0):
        made.save(0)
    assert made.market.digest() == living.market.digest()
    again = follower(living, tmp_path)
    assert again.position == living.writer.end
    assert again.market.digest() == living.market.digest()
    assert again.registry.snapshot() == living.applier.registry.snapshot()
