"""All frames of bids of a round at once are what they are one by one: answers, journal, state."""

import hashlib
import random

import numpy as np
import pytest

from exchange.journal.recovery import recover
from exchange.journal.writer import JournalWriter
from exchange.sealer import Sealer
from schemas import limits, records
from schemas.frames import encode_records, header
from schemas.records import BID_RECORD, FILL_RECORD
from schemas.token import TokenMaker
from tests.fakes.house import Town, frame, offer
from tests.journal.disk import SimulatedDisk

SECRET = b"s" * 32


def test_a_sealed_token_is_the_makers_byte_for_byte():
    """Goal: a site admits either. Fields up to their limits, a thousand sites, one key each."""
    rng = np.random.default_rng(1)
    rows = np.zeros(3_000, FILL_RECORD)
    most = {"site": 1_000, "offer": 4_096, "fill": 2**63 - 1, "lease_until": 2**62}
    for name in (
        "fill",
        "site",
        "offer",
        "model",
        "adapter",
        "tokens_in",
        "tokens_out",
        "lease_until",
    ):
        rows[name] = rng.integers(1, most.get(name, 2**32 - 1), len(rows))
    maker = TokenMaker(SECRET, 2**32 - 7)
    sealer = Sealer(maker)
    tokens = sealer.make_all(rows)
    assert tokens.tobytes() == maker.make_all(rows).tobytes()
    body = tokens[0, :44].tobytes()
    mac = hashlib.blake2b(body, key=maker.site_key(int(rows["site"][0])), digest_size=16).digest()
    assert tokens[0, 44:].tobytes() == mac


def test_frames_in_one_call_are_the_journal_that_they_are_one_by_one():
    """Random rounds over many segments, so that some rolls fall inside a call; then every byte."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    disks = [SimulatedDisk(1), SimulatedDisk(1)]
    one, other = (JournalWriter(disk, recover(disk, 7), segment_bytes=1 << 14) for disk in disks)
    for at_ns in range(40):
        counts = rng.integers(1, 40, rng.integers(1, 20))
        batch = np.frombuffer(rng.bytes(64 * int(counts.sum())), BID_RECORD).copy()
        runs = np.stack(
            [np.cumsum(counts) - counts, counts, *rng.integers(0, 2**32, (3, len(counts)))], axis=1
        )
        one.append_frames(records.BID, batch.view(np.int64).reshape(-1, 8), runs, at_ns=at_ns)
        for at, count, agent, epoch, message in runs.tolist():
            payload = header(records.BID, 64, count, message) + batch[at : at + count].tobytes()
            other.append(
                1, payload, seq=other.next_seq, count=count, agent=agent, epoch=epoch,
                message=message, at_ns=at_ns,
            )  # fmt: skip
        assert one.commit() == other.commit()
    assert sorted(disks[0].names()) == sorted(disks[1].names())
    for name in disks[0].names():
        whole = [disk.read_at(disk.open(name), 1 << 14, 0) for disk in disks]
        assert whole[0] == whole[1], name


def _said(town_of, seed, *, together):
    """Let two buyers bid by a seed; return (answers in order, journal, digest)."""
    rng = random.Random(seed)
    town = town_of()
    house = town.house
    if not together:
        house.exchange._bids.take = lambda *_: 0
    operator = town.operator()
    operator.records(records.OFFER, *[offer(number=n, slots=9, ask_in=n) for n in (1, 2, 3)])
    other = town.operator("beacon")
    other.records(records.OFFER, *[offer(site=2, number=n, slots=9) for n in (1, 2)])
    buyers = [town.buyer(name) for name in ("acme", "bolt")]
    bids = [0, 0]
    house.link.sent.clear()
    for _ in range(60):
        for _ in range(rng.randint(1, 6)):
            who = rng.randrange(2)
            rows = []
            for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
                bids[who] += rng.choice([0, 1, 1, 1, 1, 1, 1, 2])
                rows.append(
                    town.bid(buyers[who], max(1, bids[who]), quantity=rng.choice([1, 1, 2, 5, 70]),
                             rest_us=rng.choice([0, 0, 10**6]), tokens_in=rng.choice([0, 10, 400]),
                             tokens_out=rng.choice([0, 10]), origin=rng.choice([1, 1, 1, 1, 2]),
                             campaign=rng.choice([buyers[0].campaign, buyers[who].campaign]))
                )  # fmt: skip
            buyers[who].session.send_records(records.BID, frame(records.BID, *rows))
        if rng.random() < 0.3:
            seen = house.market.fills_made(np.array([1], np.uint32), np.array([1], np.uint16))
            batch = frame(records.REFRESH, {"site": 1, "offer": 1, "slots": 9, "ttl_us": 10**7,
                                            "fills_seen": int(seen[0]), "ttft_us": 10**5})  # fmt: skip
            operator.session.send_records(records.REFRESH, batch)
        for peer in house.peers:
            peer.flush()
        house.round()
        house.pass_ns(rng.choice([10**3, 10**8]))
        house.settle()
    answers = [sent.payload for sent in house.link.sent]
    journal = [record._replace(payload=bytes(record.payload)) for record in house.log.committed]
    market, registry = house.replayed()
    assert market.digest() == house.market.digest()
    assert registry.snapshot() == house.registry.snapshot()
    return answers, journal, house.market.digest()


def test_a_round_of_frames_is_answered_as_one_by_one(monkeypatch):
    """Two houses with the same keys hear the same; one is kept from taking frames together."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    made: list[tuple[str, str]] = []

    def town():
        return Town(units_per_second=10**6)

    def keypair():
        made.append((f"{len(made):040d}", ""))
        return made[-1]

    monkeypatch.setattr("tests.fakes.house.new_keypair", keypair)
    made.clear()
    one = _said(town, seed, together=True)
    made.clear()
    other = _said(town, seed, together=False)
    assert one[1] == other[1]
    assert one[0] == other[0]
    assert one[2] == other[2]


@pytest.mark.parametrize("change", ["units", "gap", "version", "short"])
def test_what_is_not_plainly_the_next_frame_is_judged_alone(change):
    town = Town()
    buyer = town.buyer()
    exchange = town.house.exchange
    first = town.house.exchange._desks.of_peer(buyer.id).session.last_message + 1
    rows = [town.bid(buyer, 1, quantity=limits.QUANTITY_MAX)]
    raw = bytearray(encode_records(records.BID, frame(records.BID, *rows), first))
    if change == "units":
        raw = bytearray(encode_records(records.BID, frame(records.BID, *rows * 65), first))
    elif change == "gap":
        raw[8:16] = (10**6).to_bytes(8, "little")
    elif change == "version":
        raw[2:4] = (9).to_bytes(2, "little")
    else:
        raw = raw[:-1]
    desk = exchange._desks.of_peer(buyer.id)
    assert desk is not None
    assert exchange._bids.take(desk, buyer.id, memoryview(bytes(raw)), town.house.mono_ns) == 0
    assert not exchange._bids
