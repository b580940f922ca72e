"""Whatever members say, the exchange goes on, and its journal replays to what it is.

A record or a note that cannot be applied would stop this start and every later one, for it is durable
by then. So everything that admission lets through is applied here: bytes drawn at random, and fields
drawn around their limits so that many records pass.
"""

import random

import numpy as np
import pytest

from exchange.admission.fields import HIGHEST, LOWEST, RANGES, FieldTable
from schemas import commands as c
from schemas import limits, records
from schemas.frames import encode_message, encode_records
from schemas.session.machine import ClientState
from schemas.session.messages import (
    Establish,
    Lookup,
    MemberAdd,
    MemberRevoke,
    Query,
    RegisterAdapters,
    SiteKey,
    Terminate,
)
from tests.doors.role_table import HOT
from tests.fakes.house import SECOND, Town, campaign, frame, offer

FRAMES, FRAMES_LONG = 2_500, 100_000
FILLS = {records.START, records.COMPLETE, records.RELEASE, records.DECLINE}
KEYS = {"operator": "lantern", "buyer": "acme"}


class Storm:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.bits = np.random.default_rng(seed)
        self.town = Town(units_per_second=10**9)
        self.house = self.town.house
        self.bids = 0
        self.campaign = self.town.buyer().campaign
        self.lost = [self.house.link.connect() for _ in range(2)]
        adapter = c.Adapter(at=0, adapter="lantern/a", model="m")
        assert self.town.operator().order(adapter).code == 0
        self.table = FieldTable()
        self.table.set_handles(dict.fromkeys(
            ("site", "model", "deal", "adapter_set", "campaign", "metro", "adapter"), 2
        ))  # fmt: skip

    def peer(self, role):
        """The role's session; opened anew when the last one ended, enrolled anew when revoked."""
        keys = {"admin": self.town.admin.key, "verifier": self.town.verifier.key}
        key = keys.get(role) or self.town.keys[KEYS[role]]
        for peer in self.house.peers:
            if peer.key == key and peer.session.state is ClientState.OPEN:
                return peer
        # What was said but not yet read may revoke this very key: let it be done before asking.
        self.house.settle()
        self.house.peers = [p for p in self.house.peers if p.session.state is not ClientState.ENDED]
        if key not in self.house.registry.by_key:
            sites = ("lantern/one",) if role == "operator" else ()
            self.house.member(self.peer("admin"), KEYS[role], role, 0, sites, key)
        return self.house.open(key, streams=("lantern/one",) if role == "operator" else ())

    def batch(self, kind):
        dtype = records.COMMAND_RECORDS[kind]
        if kind in {records.OFFER, records.BID, records.RTT} and self.rng.random() < 0.6:
            return self.plain(kind)
        batch = np.zeros(self.rng.randint(1, 6), dtype)
        batch[:] = np.frombuffer(self.bits.bytes(batch.nbytes), dtype)
        if self.rng.random() < 0.8:
            rows = self.table._tables[kind]
            for (name, _), row in zip(RANGES[kind].items(), rows, strict=True):
                for record in batch:
                    record[name] = self.value(int(row[LOWEST]), int(row[HIGHEST]), dtype[name])
        if kind == records.BID:
            batch["quantity"] = np.minimum(batch["quantity"], limits.QUANTITY_MAX)
            self.bids += 10
            batch["bid"] = self.bids + np.arange(len(batch))
        elif kind in FILLS and self.rng.random() < 0.8:
            made = self.house.market.counts()["fills"]
            batch["fill"] = [max(1, made - self.rng.randint(0, 9)) for _ in batch]
        return batch

    def plain(self, kind):
        """Offers and bids that meet one another, so that there are fills for the others to speak of."""
        if kind == records.OFFER:
            return frame(kind, *[offer(number=n, slots=self.rng.randint(0, 9)) for n in (1, 2, 3)])
        if kind == records.RTT:
            return frame(kind, {"site": 1, "metro": 1, "p99_us": 1_000})
        self.bids += 10
        rest_us = self.rng.choice([0, 10**6])
        return frame(kind, *[
            {"bid": self.bids + n, "campaign": self.campaign, "origin": 1, "tokens_in": 9,
             "lease_us": 3_000_000, "max_price": records.NONE_U64, "quantity": n, "rest_us": rest_us,
             "latency_budget_us": records.NONE_U32} for n in (1, 2)
        ])  # fmt: skip

    def value(self, low, high, dtype):
        room = np.iinfo(dtype)
        near = [low, high, low + 1, high - 1, min(high, low + self.rng.randint(0, 5))]
        near += [low - 1, high + 1] if self.rng.random() < 0.02 else []
        return min(max(self.rng.choice(near), int(room.min)), int(room.max))

    def order(self):
        """A rare command by whoever may give it."""
        rng = self.rng
        name = rng.choice(["a", "b", "lantern", "acme", "m", "Berlin", "lantern/one"])
        return rng.choice([
            ("admin", c.Operator(at=0, operator="lantern", group=name)),
            ("admin", c.Buyer(at=0, buyer="acme", group=name)),
            ("admin", c.Deposit(at=0, role="buyer", member=name, transfer=rng.randint(1, 2**40), amount=limits.AMOUNT_NUSD_MAX)),
            ("admin", c.Withdraw(at=0, role="operator", member=name, transfer=rng.randint(1, 9), amount=rng.randint(1, 9))),
            ("admin", c.Rules(at=0, take_rate_ppm=rng.randint(0, limits.PPM), settle_us=rng.randint(0, 10**7))),
            ("admin", c.Model(at=0, model=name, family="", params_m=limits.COUNT_MAX, context_limit=8192, card_in=0, card_out=limits.UNIT_PRICE_PUSD_MAX)),
            ("admin", c.PriceCard(at=0, model=name, band=0, card_in=0, card_out=0)),
            ("admin", c.Metro(at=0, metro=name, lat=-90, lon=180, country="ZZ", population=0)),
            ("admin", c.Site(at=0, site="lantern/one", operator="lantern", tier="central", lat=0.0, lon=0.0, asns=tuple(range(1, rng.randint(1, 257))))),
            ("admin", c.Resolve(at=0, fill=rng.randint(1, 99), amount=rng.randint(0, 10**9))),
            ("admin", c.Halt(at=0, scope="model", name=name, by="risk")),
            ("admin", c.Resume(at=0, scope="model", name=name, by="risk")),
            ("admin", c.Resume(at=0, scope="model", name=name, by="risk")),
            ("admin", c.Resume(at=0, scope="model", name=name, by="risk")),
            ("verifier", c.SiteTrust(at=0, site="lantern/one", trust=rng.randint(0, 3))),
            ("operator", c.Deal(at=0, deal="lantern/d", operator="lantern", buyers=rng.choice([(), ("acme",), ("acme", "bolt")]))),
            ("operator", c.Adapter(at=0, adapter=f"lantern/{name}", model=name)),
            ("operator", c.Halt(at=0, scope="operator", name="lantern", by="operator")),
            ("operator", c.Resume(at=0, scope="operator", name="lantern", by="operator")),
            ("operator", c.Resume(at=0, scope="operator", name="lantern", by="operator")),
            ("operator", c.Resume(at=0, scope="operator", name="lantern", by="operator")),
            ("buyer", campaign("acme", name, allow_operators=rng.choice([(), ("lantern",)]), min_trust=rng.randint(0, 3), time_value=limits.TIME_VALUE_NUSD_PER_MS_MAX)),
            ("buyer", c.CampaignEnd(at=0, buyer="acme", campaign=name)),
            ("buyer", c.Halt(at=0, scope="buyer", name="acme", by="buyer")),
            ("buyer", c.Resume(at=0, scope="buyer", name="acme", by="buyer")),
            ("buyer", c.Resume(at=0, scope="buyer", name="acme", by="buyer")),
            ("buyer", c.Resume(at=0, scope="buyer", name="acme", by="buyer")),
        ])  # fmt: skip

    def message(self):
        rng = self.rng
        name = rng.choice(["lantern/a", "lantern/b", "acme", "x", "é"])
        key = rng.choice(["1" * 40, "~" * 40, self.town.keys["bolt"]])
        return rng.choice([
            RegisterAdapters(adapters=rng.choice([(), ("lantern/a",), (name, "lantern/a"), (name, name)])),
            MemberAdd(member=name, role=rng.choice(["buyer", "operator", "admin", ""]), agent=rng.randint(0, 3), public_key=key, sites=(name,)),
            MemberRevoke(member=name, public_key=rng.choice(["", key])),
        ])  # fmt: skip

    def rave(self):
        """Say something as a client that has lost its way: another key, two connections, any number."""
        rng = self.rng
        kind = rng.choice(list(HOT))
        frame_of_it = encode_records(kind, self.batch(kind), rng.randint(1, 12))
        self.house.link.put(rng.choice(self.lost), self.town.keys["bolt"], rng.choice([
            frame_of_it, frame_of_it, frame_of_it[:-3], self.bits.bytes(rng.randint(0, 99)),
            encode_message(Terminate()),
            encode_message(Establish(version_min=1, version_max=1, epoch=rng.randint(0, 9))),
            encode_message(RegisterAdapters(adapters=("x",)), rng.randint(1, 12)),
        ]))  # fmt: skip

    def say(self):
        rng = self.rng
        draw = rng.random()
        if draw < 0.70:
            kind = rng.choice(list(HOT))
            peer = self.peer(rng.choice(sorted(HOT[kind])))
            batch = self.batch(kind)
            if peer.session.room(batch.nbytes):
                peer.session.send_records(kind, batch)
        elif draw < 0.80:
            role, command = self.order()
            self.peer(role).post_order(command)
        elif draw < 0.84:
            self.peer(rng.choice(["admin", "operator", "buyer"])).post(self.message())
        elif draw < 0.88:
            ask = rng.choice([
                Lookup(request=1, kind=rng.choice(["site", "campaign", "deal", "x"]), after=rng.randint(0, 9)),
                Lookup(request=1, kind="campaign", handles=(0, 1, 2, 2**32 - 1)),
                Query(request=1, bid=rng.choice([0, 1, 2**63 - 1]), fill=rng.choice([0, 1, 2**63 - 1])),
                SiteKey(request=1, site="lantern/one"),
            ])  # fmt: skip
            self.peer(rng.choice(["admin", "verifier", "operator", "buyer"])).raw(
                encode_message(ask)
            )
        else:
            self.rave()
        if rng.random() < 0.1:
            self.house.pass_ns(rng.choice([1, SECOND // 10, 2 * SECOND, 61 * SECOND]))
        if rng.random() < 0.7:
            self.house.settle()


@pytest.mark.timeout(3600)
def test_no_storm_of_messages_stops_the_exchange_or_parts_it_from_its_journal(long):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    storm = Storm(seed)
    house = storm.house
    for number in range(FRAMES_LONG if long else FRAMES):
        storm.say()
        if number % 500 == 499:
            house.settle()
            market, registry = house.replayed()
            assert market.digest() == house.market.digest()
            assert registry.snapshot() == house.registry.snapshot()
            house.market.audit()
            if storm.rng.random() < 0.5:
                house.restart()
                for peer in house.peers:
                    peer.connect()
                house.settle()
    counts = house.market.counts()
    print(counts)
    assert counts["fills"]  # it was no storm of refusals alone
