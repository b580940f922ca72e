"""The exchange's round with fakes behind its ports: a log in memory, a link without sockets, two clocks.

The pure half is the real one: sessions on both ends, admission, sequencer, core. `House.restart`
builds everything anew from what was committed, as `exchange.main` does from the disk.
"""

from collections import deque
from typing import NamedTuple

import numpy as np

from exchange import notes
from exchange.apply import JournalApplier
from exchange.doors import Reads
from exchange.gateway.desks import Desks
from exchange.identity import Identity, KeyPair
from exchange.journal.errors import JournalFailed
from exchange.journal.record import Record
from exchange.ports import Addresses
from exchange.registry import Registry
from exchange.round import Clocks, Exchange
from exchange.sequencer import Sequencer
from matching_core.market import Market
from schemas import commands as c
from schemas import records
from schemas.frames import encode_order
from schemas.link import new_keypair
from schemas.session.client import (
    Answered,
    ClientSession,
    MessageRefused,
    Opened,
    OrderAnswered,
    Replied,
)
from schemas.session.messages import MemberAdd
from schemas.token import TokenMaker

SECOND = 10**9
START_NS = 1_700_000_000 * SECOND
PAIRS = [KeyPair(public=public, secret=secret) for public, secret in (new_keypair(), new_keypair())]
SERVER = KeyPair(public=PAIRS[0].public, secret=PAIRS[0].secret)
IDENTITY = Identity(
    market=7, server=SERVER, admin=PAIRS[0], verifier=PAIRS[1], token_secret="5e" * 32,
    postgres_password="none",
)  # fmt: skip
ADDRESSES = Addresses(commands="tcp://c:1", events="tcp://e:1", tape="tcp://t:1", http="h:1")


# ----------------------------------------------------------------------------- fakes of the ports
class MemoryLog:
    """A `Log` whose disk is a list; `fails` makes the next commit raise, for good."""

    def __init__(self):
        self.committed = []
        self.pending = []
        self.commits = 0
        self.fails = False

    @property
    def end(self):
        return 8 * (len(self.committed) + len(self.pending))

    @property
    def durable(self):
        return 8 * len(self.committed)

    def append(self, kind, payload, *, seq, count, agent, epoch, message, at_ns):
        position = self.end
        self.pending.append(
            Record(
                kind=int(kind), version=1, market=IDENTITY.market, position=position,
                synced=self.durable, seq=seq, count=count, agent=agent, at_ns=at_ns,
                message=message, epoch=epoch, prior=0, crc=0, payload=memoryview(bytes(payload)),
                end=position + 8,
            )
        )  # fmt: skip
        return position

    def commit(self):
        if self.fails:
            raise JournalFailed("the disk is gone")
        self.commits += 1
        self.committed += self.pending
        self.pending = []
        return self.durable

    def close(self):
        self.pending = []


class Sent(NamedTuple):
    peer: bytes
    payload: bytes
    waiting: int  # records appended and not yet committed when it was sent
    commits: int


class Packet:
    """A message as the link hands it over: its bytes, and the key of the connection it came by."""

    def __init__(self, key, payload):
        self.key = key
        self.buffer = memoryview(payload)


class QuietLink:
    """A link without sockets: messages go in by `put`, what was sent stands in `sent`."""

    def __init__(self, log):
        self._log = log
        self.inbox: deque[tuple[bytes, Packet]] = deque()
        self.sent = []
        self.gone = set()
        self.connections = 0

    def connect(self):
        self.connections += 1
        return b"\0" + self.connections.to_bytes(4, "big")

    def put(self, peer, key, payload):
        self.inbox.append((peer, Packet(key, payload)))

    def drain(self, limit):
        return [self.inbox.popleft() for _ in range(min(limit, len(self.inbox)))]

    def key_of(self, frame):
        return frame.key

    def send(self, peer, payload):
        if peer in self.gone:
            return False
        self.sent.append(Sent(peer, bytes(payload), len(self._log.pending), self._log.commits))
        return True


# ----------------------------------------------------------------------------- the exchange
class House:
    def __init__(self, units_per_second=20_000):
        self.units_per_second = units_per_second
        self.now_ns = START_NS
        self.mono_ns = 5 * SECOND
        self.log = MemoryLog()
        self.peers = []
        self._build()
        for agent, pair in enumerate(PAIRS):
            role = ("admin", "verifier")[agent]
            self.note(
                notes.AgentNote(
                    agent_index=1 + agent, member=role, role=role, number=0, public_key=pair.public
                )
            )

    def _build(self):
        self.registry = Registry()
        self.market = Market()
        self.applier = JournalApplier(self.market, self.registry)
        at_ns = next_seq = 0
        for record in self.log.committed:
            self.applier.apply(record)
            at_ns, next_seq = record.at_ns, record.seq + record.count
        self.sequencer = Sequencer(self.log, next_seq=max(next_seq, 1), last_at_ns=at_ns)
        self.sequencer.begin(self.now_ns)
        self.link = QuietLink(self.log)
        self.desks = Desks(self.registry, self.units_per_second)
        self.desks.restore(self.mono_ns)
        self.tokens = TokenMaker(IDENTITY.token_secret_bytes, IDENTITY.market)
        self.counts = np.zeros(256, np.uint64)
        self.exchange = Exchange(
            applier=self.applier,
            sequencer=self.sequencer,
            link=self.link,
            desks=self.desks,
            tokens=self.tokens,
            reads=Reads(self.market, IDENTITY, ADDRESSES),
            counts=self.counts,
            clocks=Clocks(lambda: self.now_ns, lambda: self.mono_ns),
            drain_messages=4096,
        )

    def note(self, note):
        self.sequencer.note(note, 0, 0, 0)
        self.log.commit()
        self.applier.note(note)

    def restart(self):
        """Lose all but what was committed; connections are gone, clients keep what they know."""
        self.log.close()
        self._build()
        for peer in self.peers:
            peer.id = self.link.connect()

    def replayed(self):
        """Return (market, registry) as a reader of the log has them."""
        applier = JournalApplier(Market(), Registry())
        for record in self.log.committed:
            applier.apply(record)
        return applier.market, applier.registry

    # ------------------------------------------------------------------------- time and rounds
    def pass_ns(self, ns):
        self.now_ns += ns
        self.mono_ns += ns

    def round(self):
        """Run one round and hand out what was sent."""
        before = len(self.link.sent)
        self.exchange.round()
        for sent in self.link.sent[before:]:
            for peer in self.peers:
                if peer.id == sent.peer:
                    peer.take(sent.payload)

    def settle(self):
        """Run rounds until nobody has anything to say."""
        for _ in range(200):
            for peer in self.peers:
                peer.flush()
            if not self.link.inbox and self.exchange.idle:
                return
            self.round()
        raise AssertionError("it never comes to rest")

    def live(self, seconds, step_ns=SECOND // 4):
        """Let time pass with everybody's heartbeats; a peer that is `asleep` sends none."""
        for _ in range(seconds * SECOND // step_ns):
            self.pass_ns(step_ns)
            for peer in self.peers:
                peer.poll()
            self.round()
            self.settle()

    # ------------------------------------------------------------------------- members
    def admin(self):
        return self.open(PAIRS[0].public)

    def verifier(self):
        return self.open(PAIRS[1].public)

    def open(self, key, **session):
        """Open a session with a key; return its peer."""
        peer = Peer(self, key, **session)
        peer.connect()
        self.settle()
        assert peer.established is not None
        return peer

    def member(self, admin, member, role, number=0, sites=(), key=None, units_per_second=0):
        """Enrol an agent over the wire; return its key."""
        key = key or new_keypair()[0]
        answer = admin.ask(
            MemberAdd(
                member=member, role=role, agent=number, public_key=key, sites=sites,
                units_per_second=units_per_second,
            )
        )  # fmt: skip
        assert answer.code == 0, answer.why
        return key


class Peer:
    """A client: the real session machine, a key, and one connection at a time."""

    def __init__(self, house, key, **session):
        self.house = house
        self.key = key
        self.id = house.link.connect()
        self.session = ClientSession(**session)
        self.events = []
        self.asleep = False
        house.peers.append(self)

    @property
    def established(self):
        return self.session.established

    def connect(self):
        self.events += self.session.connected(self.house.mono_ns)

    def reconnect(self):
        self.id = self.house.link.connect()
        self.connect()

    def flush(self):
        while self.session.outbox and not self.asleep:
            self.raw(self.session.outbox.popleft())
            self.session.sent(self.house.mono_ns)

    def poll(self):
        if not self.asleep:
            self.events += self.session.poll(self.house.mono_ns)

    def raw(self, payload):
        """Send bytes as they are."""
        self.house.link.put(self.id, self.key, payload)

    def take(self, payload):
        if not self.asleep:
            self.events += self.session.receive(payload, self.house.mono_ns)

    def got(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    # ------------------------------------------------------------------------- saying things
    def post(self, message):
        """Give a numbered message; return its number without waiting."""
        return self.session.send_numbered(message)

    def post_order(self, command):
        return self.post(encode_order(command))

    def order(self, command):
        return self.ask(encode_order(command))

    def ask(self, message):
        """Give a numbered message and return its answer; refused, the code and why of that."""
        number = self.post(message)
        self.house.settle()
        for event in reversed(self.events):
            if isinstance(event, OrderAnswered) and event.number == number:
                return event.answer
            if isinstance(event, MessageRefused) and event.number == number:
                return event.refused
        raise AssertionError(f"number {number} was not answered: {self.events[-3:]}")

    def request(self, message):
        """Ask what has no number and return the reply."""
        self.session.send(message)
        self.house.settle()
        (reply,) = [
            event.message for event in self.got(Replied) if event.message.request == message.request
        ]
        return reply

    def records(self, kind, *rows):
        """Give one frame of records, each a dict of fields; return its Answered."""
        first = self.session.send_records(kind, frame(kind, *rows))
        self.house.settle()
        (answer,) = [event for event in self.got(Answered) if event.first == first]
        return answer

    @property
    def opened(self):
        return [(event.established.epoch, event.resumed) for event in self.got(Opened)]


def frame(kind, *rows):
    """Make records of a hot type from dicts; what a dict does not say is zero."""
    batch = np.zeros(len(rows), records.COMMAND_RECORDS[kind])
    for record, fields in zip(batch, rows, strict=True):
        for name, value in fields.items():
            record[name] = value
    return batch


# ----------------------------------------------------------------------------- a small market
class Town:
    """Two operators with a site each, two buyers with money, one model, one metro."""

    def __init__(self, **options):
        self.house = House(**options)
        self.admin = self.house.admin()
        self.verifier = self.house.verifier()
        self.keys = {}
        for member, site in (("lantern", "lantern/one"), ("beacon", "beacon/one")):
            self.keys[member] = self.house.member(self.admin, member, "operator", 0, (site,))
        for member in ("acme", "bolt"):
            self.keys[member] = self.house.member(self.admin, member, "buyer")
        for command in town_commands():
            giver = self.verifier if isinstance(command, c.Rtt) else self.admin
            if isinstance(command, c.Rtt):
                continue
            assert giver.order(command).code == 0
        self.verifier.records(
            records.RTT,
            {"site": 1, "metro": 1, "p99_us": 2_000},
            {"site": 2, "metro": 1, "p99_us": 3_000},
        )

    def operator(self, member="lantern", **session):
        return self.house.open(self.keys[member], **{"streams": (f"{member}/one",)} | session)

    def buyer(self, member="acme", **session):
        """Open a buyer's session, with its campaign registered."""
        return self.buyer_on(self.keys[member], **session)

    def buyer_on(self, key, **session):
        peer = self.house.open(key, **session)
        names, owner = self.house.market.names, peer.established.member_handle
        if not names.handle("campaign", "chat", owner):
            assert peer.order(campaign(peer.established.member)).code == 0
        peer.campaign = names.handle("campaign", "chat", owner)
        return peer

    def bid(self, peer, number, **more):
        return {
            "bid": number, "campaign": peer.campaign, "origin": 1, "tokens_in": 10,
            "tokens_out": 10, "lease_us": 5_000_000, "max_price": records.NONE_U64,
            "latency_budget_us": records.NONE_U32, "quantity": 1,
        } | more  # fmt: skip

    def resting(self):
        return self.house.market.counts()["resting_units"]

    def offers(self):
        return self.house.market.counts()["offers"]


def town_commands():
    """What admin and verifier say of the town, but its members."""
    yield c.Model(
        at=0, model="m", family="f", params_m=1, context_limit=8192, card_in=100_000,
        card_out=200_000,
    )  # fmt: skip
    yield c.Metro(at=0, metro="Berlin", lat=52.5, lon=13.4, country="DE", population=1)
    for site in ("lantern/one", "beacon/one"):
        yield c.Site(
            at=0, site=site, operator=site.partition("/")[0], tier="metro_colo", lat=0.0, lon=0.0,
            country="DE", data_countries=("DE",),
        )  # fmt: skip
    for transfer, buyer in enumerate(("acme", "bolt"), start=1):
        yield c.Deposit(at=0, role="buyer", member=buyer, transfer=transfer, amount=10**12)
    yield c.Rtt(at=0, site="lantern/one", metro="Berlin", p99_us=2_000)
    yield c.Rtt(at=0, site="beacon/one", metro="Berlin", p99_us=3_000)


def campaign(buyer, name="chat", **more):
    fields = {
        "at": 0, "campaign": name, "buyer": buyer, "models": (c.CampaignModel(model="m"),),
        "latency_budget_us": 5_000_000, "max_unit_price": 1_000_000,
    } | more  # fmt: skip
    return c.Campaign(**fields)


def offer(site=1, number=1, **more):
    return {
        "site": site, "offer": number, "model": 1, "ask_in": 50_000, "ask_out": 100_000,
        "slots": 4, "ttft_us": 200_000, "context_limit": 512, "ttl_us": 60_000_000,
    } | more  # fmt: skip
