"""An exchange in one asyncio loop, for tests of what speaks to one: real links, real sessions, the
reference market, no journal, no processes. Commands door and events door, as on the wire.
"""

import asyncio
import time
from typing import Any, cast

import msgspec
import numpy as np
import zmq

from matching_core.reference import ReferenceMarket
from matching_core.reference.explain import explain
from schemas import commands as c
from schemas import events as e
from schemas import lists, records
from schemas.bundle import Bundle
from schemas.frames import (
    ProtocolError,
    decode_client,
    decode_command,
    encode_answer,
    encode_message,
    encode_records,
)
from schemas.link import AsyncioPump, Doorkeeper, ServerLink, new_context, new_keypair
from schemas.reasons import NO_FILL, REFUSED, REJECTED
from schemas.session import messages as m
from schemas.session.feed import FeedServerSession
from schemas.session.server import Act, ServerSession
from schemas.token import KEY_ID_START, TokenMaker, site_key

SECRET = b"s" * 32
MARKET = 7
_TYPE = {name: number for number, name in enumerate(records.EVENT_TYPES)}
_ENDS = ("released", "declined", "settled")


class Agent:
    def __init__(self, member, role, number, sites):
        self.member, self.role, self.number, self.sites = member, role, number, sites
        self.session = ServerSession(sites)
        self.feed = FeedServerSession(MARKET)
        self.last_bid = 0


class FakeExchange:
    """Call `apply` for what admins say; `bundle_for` to enrol an agent; `close` at the end."""

    def __init__(self):
        self.market = ReferenceMarket()
        self.handles = {}
        self.names = {}
        self.details = {}
        self.sets: dict[tuple[str, ...], int] = {(): 0}
        self.set_names: dict[int, tuple[str, ...]] = {0: ()}
        self.agents: dict[str, Agent] = {}
        self.fills = {}  # number -> the fill event
        self.open = set()
        self.started = set()
        self.made = {}
        self.events = {}  # (role, member) -> EVENT rows
        self.market_events = []
        self.explained = {}  # (buyer, agent, bid) -> explanation of a flagged bid
        self.seen = []  # names of every command that was applied, in order
        self.silent = False  # answers are withheld
        self.deaf = False  # what comes in at the commands door is lost
        self.tokens = TokenMaker(SECRET, MARKET)
        self.public, self.secret = new_keypair()
        self.context = new_context()
        self.doorkeeper = Doorkeeper(self.context, lambda key: key in self.agents)
        self._loop = asyncio.get_running_loop()
        self._open_doors()
        self._zap_descriptor = cast("int", self.doorkeeper.socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._zap_descriptor, self._zap)
        self._tick()

    # --------------------------------------------------------------------- doors
    def _open_doors(self, commands="tcp://127.0.0.1:0", events="tcp://127.0.0.1:0"):
        self.commands = ServerLink(self.context, commands, self.secret, self.doorkeeper)
        self.event_door = ServerLink(self.context, events, self.secret, self.doorkeeper)
        self._pumps = [
            AsyncioPump(cast("Any", self.commands), self._on_commands, self._loop),
            AsyncioPump(cast("Any", self.event_door), self._on_event_door, self._loop),
        ]

    def drop_connections(self):
        """Every connection is lost; the doors are back at once, at the same addresses."""
        addresses = self.commands.address, self.event_door.address
        for pump in self._pumps:
            pump.stop()
        self.commands.close()
        self.event_door.close()
        self._loop.call_later(0.05, self._open_doors, *addresses)

    def close(self):
        self._timer.cancel()
        self._loop.remove_reader(self._zap_descriptor)
        for pump in self._pumps:
            pump.stop()
        for link in (self.commands, self.event_door, self.doorkeeper):
            link.close()
        self.context.term()

    def _zap(self):
        while self.doorkeeper.serve():
            pass

    def _tick(self):
        self._zap()
        now_ns = time.monotonic_ns()
        for agent in self.agents.values():
            verdict = agent.session.poll(now_ns)
            if verdict.act is Act.REPLY and not self.commands.closed:
                self.commands.send(agent.session.peer, verdict.reply)
            elif verdict.act is Act.ENDED:
                self._ended(agent, verdict.ended)
            beat = agent.feed.poll(now_ns)
            if beat and not self.event_door.closed:
                self.event_door.send(agent.feed.peer, beat)
        for pump in self._pumps:
            pump.kick()
        self._timer = self._loop.call_later(0.05, self._tick)

    def bundle_for(self, member, role, number=0, sites=(), site="", origin=""):
        public, secret = new_keypair()
        self.agents[public] = Agent(member, role, number, tuple(sites))
        handle = self.handles.get(("site", site), 0)
        keys = {str(KEY_ID_START): site_key(SECRET, MARKET, handle).hex()} if site else {}
        return Bundle(
            member=member, role=role, agent=number, sites=tuple(sites), public_key=public,
            secret_key=secret, server_key=self.public, commands_address=self.commands.address,
            events_address=self.event_door.address, market=MARKET, site=site,
            site_handle=handle, token_keys=keys, origin=origin,
        )  # fmt: skip

    # --------------------------------------------------------------------- the market
    def apply(self, command):
        """Apply a command by names; returns its events."""
        last = getattr(self, "_at", 0)
        self._at = max(time.time_ns(), last)
        command = msgspec.structs.replace(command, at=self._at)
        if isinstance(command, c.Bid) and command.explain:
            name = (command.buyer, command.agent, command.bid)
            self.explained[name] = explain(self.market, command, rounded=True)
        events = self.market.apply(command)
        self.seen.append(c.name_of(command))
        rejected = any(isinstance(event, e.Rejected) and event.seq == self.market.seq
                       for event in events)  # fmt: skip
        if not rejected:
            self._register(command)
            if isinstance(command, c.Start):
                self.started.add(command.fill)
        self.market_events += events
        for event in events:
            self._deliver(event)
        self._push()
        return events

    def _register(self, command):
        kind = c.name_of(command)
        if kind in {"operator", "buyer", "model", "metro", "site", "deal", "adapter", "campaign"}:
            name = getattr(command, kind)
            key = (kind, name) if kind != "campaign" else (kind, (command.buyer, name))
            if key not in self.handles:
                handle = 1 + sum(known[0] == kind for known in self.handles)
                self.handles[key] = handle
                self.names[kind, handle] = key[1]
            self.details[key] = command

    def _deliver(self, event):
        kind = event.__struct_config__.tag
        row = np.zeros(1, records.EVENT_RECORD)
        row["seq"], row["type"], row["at"] = event.seq, _TYPE[kind], event.at
        owners = set()
        if kind == "fill":
            self.fills[event.fill] = event
            self.open.add(event.fill)
            key = (event.site, event.offer)
            self.made[key] = self.made.get(key, 0) + 1
            self._fill_row(row, event)
            owners = {("buyer", event.buyer), ("operator", event.operator)}
        elif kind in {*_ENDS, "releasing", "disputed"}:
            fill = self.fills[event.fill]
            row["fill"], row["price"] = event.fill, fill.price
            if kind == "settled":
                row["paid"], row["earned"] = event.paid, event.earned
            owners = {("buyer", fill.buyer), ("operator", fill.operator)}
            if kind in _ENDS:
                self.open.discard(event.fill)
        elif kind in {"resting", "unfilled"}:
            row["bid"], row["agent"], row["quantity"] = event.bid, event.agent, event.quantity
            owners = {("buyer", event.buyer)}
        for owner in owners:
            self.events.setdefault(owner, []).append(row[0].copy())

    def _fill_row(self, row, event):
        fill_row = self.fill_record(event)
        for name in row.dtype.names:
            if name in fill_row.dtype.names and name not in {"seq", "at", "index"}:
                row[name] = fill_row[name]

    def fill_record(self, event):
        row = np.zeros(1, records.FILL_RECORD)
        for name in ("seq", "at", "fill", "bid", "unit", "lease_until", "price", "ordinal",
                     "tokens_in", "tokens_out", "latency_us", "offer", "agent", "contested",
                     "cold", "resting"):  # fmt: skip
            row[name] = getattr(event, name)
        row["operator"] = self.handles["operator", event.operator]
        row["site"] = self.handles["site", event.site]
        row["model"] = self.handles["model", event.model]
        row["hardware"] = lists.HARDWARE.index(event.hardware)
        row["precision"] = lists.PRECISIONS.index(event.precision)
        row["contract"] = lists.CONTRACTS.index(event.contract)
        row["tier"] = lists.TIERS.index(event.tier)
        row["token"] = self.tokens.make_all(row)
        return row

    def _push(self):
        if self.event_door.closed:
            return
        for agent in self.agents.values():
            rows = self.events.get((agent.role, agent.member), [])
            while True:
                first, count = agent.feed.wanted(len(rows))
                if not count:
                    break
                batch = np.array(rows[first - 1 : first - 1 + count], records.EVENT_RECORD)
                if not self.event_door.send(
                    agent.feed.peer, encode_records(records.EVENT, batch, first)
                ):
                    break
                agent.feed.sent(count, time.monotonic_ns())

    # --------------------------------------------------------------------- frames
    def _on_event_door(self, taken):
        for peer, raw in taken:
            agent = self.agents[self.event_door.key_of(raw)]
            rows = self.events.get((agent.role, agent.member), [])
            frame = decode_client(raw.buffer)
            if isinstance(frame.message, m.Explain):
                self.event_door.send(peer, encode_message(self._explained(agent, frame.message)))
                continue
            reply = agent.feed.receive(
                peer, frame, last=len(rows), kept_from=1,
                now_ns=time.monotonic_ns(),
            )  # fmt: skip
            if reply:
                self.event_door.send(peer, reply)
        self._push()

    def _explained(self, agent, asked):
        found = self.explained.get((agent.member, agent.number, asked.bid))
        code = 0 if found else REFUSED["gap" if asked.bid > agent.last_bid else "explain"]
        return m.Explained(request=asked.request, code=code, explanation=found)

    def _on_commands(self, taken):
        for peer, raw in [] if self.deaf else taken:
            agent = self.agents[self.commands.key_of(raw)]
            now_ns = time.monotonic_ns()
            try:
                frame = decode_client(raw.buffer)
            except ProtocolError as error:
                verdict = agent.session.malformed(peer, error, now_ns)
                self.commands.send(peer, verdict.reply)
                continue
            verdict = agent.session.receive(peer, frame, now_ns)
            if verdict.ended is not None:
                self._ended(agent, verdict.ended)
            if verdict.act is Act.REPLY and not self.silent:
                self.commands.send(peer, verdict.reply)
            elif verdict.act in {Act.OPENED, Act.RESUMED}:
                self.commands.send(peer, self._established(agent))
            elif verdict.act is Act.APPLY:
                answer, numbers = self._answer(agent, frame)
                if frame.message is None or isinstance(frame.message, m.NUMBERED):
                    agent.session.answered(verdict.epoch, frame.first, numbers, answer, now_ns)
                if not self.silent:
                    self.commands.send(peer, answer)

    def _ended(self, agent, ended):
        for site in ended.streams:
            self.apply(c.OffersCancel(at=0, site=site))
        if agent.role == "buyer":
            self.apply(c.BidsCancel(at=0, buyer=agent.member, agent=agent.number))
        if ended.peer:
            self.commands.send(ended.peer, ended.notice)

    def _established(self, agent):
        sites = []
        for site in agent.session.streams:
            offers = []
            for (name, offer), made in sorted(self.made.items()):
                if name == site:
                    still = tuple(
                        number for number in sorted(self.open)
                        if (self.fills[number].site, self.fills[number].offer) == (name, offer)
                    )  # fmt: skip
                    offers.append((offer, made, still))
            sites.append(
                m.SiteState(site=site, handle=self.handles["site", site], offers=tuple(offers))
            )
        return agent.session.established(
            market=MARKET, member=agent.member,
            member_handle=self.handles.get((agent.role, agent.member), 0), role=agent.role,
            agent=agent.number, last_bid=agent.last_bid, sites=tuple(sites), units_per_second=0,
            events_address=self.event_door.address, tape_address="", now_ns=time.monotonic_ns(),
        )  # fmt: skip

    def _answer(self, agent, frame):
        if frame.message is not None:
            return self._answer_message(agent, frame.message, frame.first), 1
        statuses = np.zeros(len(frame.records), records.STATUS_RECORD)
        fills = []
        for place, record in enumerate(frame.records):
            command = self._command(agent, frame.type, record)
            if command is None:
                statuses[place]["code"] = REFUSED["handle"]
                continue
            events = self.apply(command)
            status = statuses[place]
            status["number"] = self.market.seq
            for event in events:
                if isinstance(event, e.Rejected):
                    status["code"] = REJECTED[event.reason]
                if frame.type != records.BID or getattr(event, "bid", None) != command.bid:
                    continue
                if isinstance(event, e.Fill):
                    status["fills"] += 1
                    fills.append(self.fill_record(event)[0])
                elif isinstance(event, e.Resting):
                    status["resting"] = event.quantity
                elif isinstance(event, e.Unfilled):
                    status["ended"], status["reason"] = event.quantity, NO_FILL[event.reason]
            if frame.type == records.BID and not status["code"]:
                agent.last_bid = command.bid
            if frame.type in {records.OFFER, records.REFRESH}:
                status["number"] = self.made.get((command.site, command.offer), 0)
        array = np.array(fills, records.FILL_RECORD) if fills else None
        return encode_answer(frame.first, statuses, array), len(frame.records)

    def _answer_message(self, agent, message, first):
        if isinstance(message, m.Order):
            command = decode_command(message)
            events = self.apply(command)
            for event in events:
                if isinstance(event, e.Rejected):
                    return encode_message(m.OrderAnswer(code=REJECTED[event.reason]), first)
            kind = c.name_of(command)
            name = getattr(command, kind, "")
            key = (kind, (command.buyer, name)) if kind == "campaign" else (kind, name)
            handle = self.handles.get(key, 0)
            return encode_message(m.OrderAnswer(code=0, seq=self.market.seq, handle=handle), first)
        if isinstance(message, m.RegisterAdapters):
            handle = self.sets.setdefault(message.adapters, len(self.sets))
            self.set_names[handle] = message.adapters
            return encode_message(m.OrderAnswer(code=0, handle=handle), first)
        if isinstance(message, m.Lookup):
            return encode_message(self._found(agent, message))
        if isinstance(message, m.Query):
            return encode_message(self._outcome(message))
        raise AssertionError(message)

    def _found(self, agent, message):
        entries = []
        for (kind, name), handle in self.handles.items():
            own = name
            if kind == "campaign":
                if name[0] != agent.member:
                    continue
                own = name[1]
            if kind != message.kind:
                continue
            everything = not message.names and not message.handles
            if everything or own in message.names or handle in message.handles:
                detail = msgspec.Raw(msgspec.msgpack.encode(self.details[kind, name]))
                entries.append(m.Entry(handle=handle, name=own, detail=detail))
        return m.Found(request=message.request, entries=tuple(entries))

    def _outcome(self, message):
        if message.fill:
            known = message.fill in self.fills
            state = ""
            if known:
                state = "ended"
                if message.fill in self.open:
                    state = "started" if message.fill in self.started else "leased"
            return m.Outcome(request=message.request, known=known, state=state)
        fills = tuple(
            number for number in sorted(self.open) if self.fills[number].bid == message.bid
        )
        known = any(fill.bid == message.bid for fill in self.fills.values())
        return m.Outcome(request=message.request, known=known, fills=fills)

    def _name(self, kind, handle):
        return self.names.get((kind, handle), "")

    def _command(self, agent, kind, record):
        row = {name: record[name].item() for name in record.dtype.names if name[:8] != "reserved"}
        member = agent.member
        site = self._name("site", row.get("site", 0))
        match kind:
            case records.OFFER:
                capabilities = tuple(
                    name
                    for bit, name in enumerate(lists.CAPABILITIES)
                    if row["capabilities"] >> bit & 1
                )
                fields = {
                    **row, "site": site, "model": self._name("model", row["model"]),
                    "deal": self._name("deal", row["deal"]),
                    "adapters": self.set_names[row.pop("adapter_set")],
                    "capabilities": capabilities, "hardware": lists.HARDWARE[row["hardware"]],
                    "precision": lists.PRECISIONS[row["precision"]],
                    "contract": lists.CONTRACTS[row["contract"]],
                }  # fmt: skip
                fields.pop("adapter_set", None)
                return c.Offer(at=0, **fields)
            case records.REFRESH:
                return c.Refresh(at=0, **{**row, "site": site})
            case records.RENEW:
                return c.Renew(at=0, site=site, ttl_us=row["ttl_us"])
            case records.OFFER_CANCEL:
                return c.OfferCancel(at=0, site=site, offer=row["offer"])
            case records.BID:
                campaign = self._name("campaign", row["campaign"])
                if not campaign or campaign[0] != member:
                    return None
                budget, price = row["latency_budget_us"], row["max_price"]
                return c.Bid(
                    at=0, buyer=member, agent=agent.number, bid=row["bid"], campaign=campaign[1],
                    origin=self._name("metro", row["origin"]), origin_asn=row["origin_asn"],
                    tokens_in=row["tokens_in"], tokens_out=row["tokens_out"],
                    quantity=row["quantity"], rest_us=row["rest_us"], lease_us=row["lease_us"],
                    latency_budget_us=None if budget == records.NONE_U32 else budget,
                    max_price=None if price == records.NONE_U64 else price,
                    explain=bool(row["flags"] & records.FLAG_EXPLAIN),
                )  # fmt: skip
            case records.BID_CANCEL:
                return c.BidCancel(at=0, buyer=member, agent=agent.number, bid=row["bid"])
            case records.BIDS_CANCEL:
                return c.BidsCancel(at=0, buyer=member, agent=agent.number)
            case records.START:
                return c.Start(at=0, operator=member, fill=row["fill"])
            case records.DECLINE:
                reason = cast("Any", lists.DECLINE_REASONS[row["reason"]])
                return c.Decline(at=0, operator=member, fill=row["fill"], reason=reason)
            case records.RELEASE:
                return c.Release(at=0, buyer=member, fill=row["fill"])
            case records.COMPLETE:
                return c.Complete(
                    at=0, role=agent.role, member=member, fill=row["fill"],
                    tokens_in=row["tokens_in"], tokens_out=row["tokens_out"],
                    ttft_us=row["ttft_us"],
                )  # fmt: skip
        raise AssertionError(kind)
