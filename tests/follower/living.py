"""A small market that really lives: a journal written by the sequencer, through the compiled core.

Everything is drawn so that the rare is common: three operators of two groups, ceilings and asks of
0 to 12, leases of a few seconds, steps of up to two. `history` holds (seq, accepted command or event)
by names, as the market itself says it, for oracles that never see a file of the follower.
"""

import random
from functools import cached_property

import msgspec

from exchange import identity, notes
from exchange.apply import JournalApplier
from exchange.config import Config
from exchange.journal import PAGE_NAME, DurablePage, FileStorage, JournalWriter, recover
from exchange.registry import Registry
from exchange.sequencer import Sequencer
from matching_core.market import Market
from schemas import commands as c
from schemas import events as e
from schemas.link import new_keypair

OPERATORS = ("op-a", "op-b", "op-c")
BUYERS = ("buy-x", "buy-y", "buy-z")
SECOND = 10**9
START_NS = 1_700_000_000 * SECOND + 86_390 * SECOND // 2


class Living:
    """One data folder with its journal; commands go in by names and are committed at once."""

    def __init__(self, folder, segment_bytes=1 << 16, seed=0, config=None):
        self.rng = random.Random(seed)
        self.config = config or Config(data=folder)
        self.keys = identity.prepare(self.config)
        self.page = DurablePage(self.config.journal_folder / PAGE_NAME, create=True)
        storage = FileStorage(self.config.journal_folder)
        recovered = recover(storage, self.keys.market, None)
        self.writer = JournalWriter(storage, recovered, segment_bytes=segment_bytes, page=self.page)
        self.market = Market()
        self.applier = JournalApplier(self.market, Registry())
        self.sequencer = Sequencer(self.writer, next_seq=1, last_at_ns=START_NS)
        self.now_ns = START_NS
        self.history = []
        self.givers = {}  # of rejected commands: (role, member) by seq
        self.named = {}  # of rejected commands: (fill, bid) that they named
        self.agents = {}
        self.pairs = {}
        self.open_fills = {}
        self.bids = 0
        self.transfers = 0

    # ------------------------------------------------------------------------- the journal
    def enrol(self, member, role, number=0, sites=()):
        public, secret = new_keypair()
        index = len(self.applier.registry.agents)
        self.note(
            notes.AgentNote(agent_index=index, member=member, role=role, number=number,
                            public_key=public, sites=sites)
        )  # fmt: skip
        self.agents[member, number] = index
        self.pairs[member, number] = (public, secret)
        return public, secret

    def note(self, note):
        self.sequencer.note(note, 0, 0, 0)
        self.writer.commit()
        self.applier.note(note)

    def give(self, command, sender=None):
        """Number, commit and apply one command; return its events."""
        agent = self.agents.get(sender or ("admin", 0), 0)
        self.sequencer.begin(self.now_ns)
        command = msgspec.structs.replace(command, at=self.sequencer.at_ns)
        seq = self.sequencer.next_seq
        frame = self.market.to_frame(command)
        if frame is None:
            self.sequencer.rare(command, agent, 0, 0)
            self.writer.commit()
            rows = self.applier.rare(command, agent)
        else:
            _, payload = self.sequencer.frame(frame[0], frame[1], agent, 0, 0)
            self.writer.commit()
            rows = self.applier.frame(payload, agent, self.sequencer.at_ns)
        events = self.market.events(rows)
        if any(isinstance(event, e.Rejected) for event in events):
            role = self.applier.registry.agent(agent).role if agent else ""
            self.givers[seq] = (role, (sender or ("admin", 0))[0])
            self.named[seq] = (getattr(command, "fill", 0), getattr(command, "bid", 0))
        else:
            self.history.append((seq, command))
        self.history += [(seq, event) for event in events]
        for event in events:
            if isinstance(event, e.Fill):
                self.open_fills[event.fill] = event
            elif isinstance(event, e.Released | e.Declined | e.Settled):
                del self.open_fills[event.fill]
        return events

    # ------------------------------------------------------------------------- the market
    def open(self, card=20):
        """Register everybody: two sites per operator, one model, one campaign per buyer."""
        self.enrol("admin", "admin")
        self.give(c.Rules(at=0, take_rate_ppm=100_000, tolerance_ppm=100_000, settle_us=3_000_000,
                          deliver_us=4_000_000, dispute_us=5_000_000))  # fmt: skip
        self.give(c.Model(at=0, model="m", family="f", params_m=1, context_limit=4096,
                          card_in=1, card_out=1, card_second=card))  # fmt: skip
        for metro in ("here", "there"):
            self.give(c.Metro(at=0, metro=metro, lat=0.0, lon=0.0, country="DE", population=1))
        for number, name in enumerate(OPERATORS):
            self.give(c.Operator(at=0, operator=name, group="g" if number else msgspec.UNSET))
            for site in (f"{name}/1", f"{name}/2"):
                self.give(c.Site(at=0, site=site, operator=name, tier="cdn_pop", lat=0.0, lon=0.0,
                                 country="DE" if number else None))  # fmt: skip
                self.give(c.Rtt(at=0, site=site, metro="here", p99_us=1_000 + 5_000 * number))
            self.enrol(name, "operator", 0, (f"{name}/1", f"{name}/2"))
        for name in BUYERS:
            self.give(c.Buyer(at=0, buyer=name))
            for number in (0, 1):
                self.enrol(name, "buyer", number)
            self.deposit("buyer", name, 1_000)
            self.give(self.campaign(name), (name, 0))

    def campaign(self, buyer):
        return c.Campaign(at=0, campaign="go", buyer=buyer, models=(c.CampaignModel(model="m"),),
                          latency_budget_us=40_000, max_unit_price=10**6)  # fmt: skip

    def deposit(self, role, member, amount):
        self.transfers += 1
        self.give(c.Deposit(at=0, role=role, member=member, transfer=self.transfers, amount=amount))

    def offer(self, site, number, ask, slots=1, **more):
        fields = {
            "at": 0, "site": site, "offer": number, "model": "m", "hardware": "l4", "ask_in": 0, "ask_out": 0,
            "ask_second": ask, "slots": slots, "ttft_us": 1_000, "context_limit": 4096, "ttl_us": 60_000_000,
        } | more  # fmt: skip
        return self.give(c.Offer(**fields), (site.partition("/")[0], 0))

    def bid(self, buyer, ceiling, agent=0, **more):
        self.bids += 1
        fields = {
            "at": 0, "buyer": buyer, "agent": agent, "bid": self.bids, "campaign": "go", "origin": "here",
            "tokens_in": 10, "tokens_out": 10, "lease_us": 1_000_000, "max_price": ceiling,
        } | more  # fmt: skip
        return self.give(c.Bid(**fields), (buyer, agent))

    def live(self, steps):
        """Draw commands of all kinds, good and bad."""
        for _ in range(steps):
            self.now_ns += self.rng.choice([0, 1, SECOND // 5, SECOND // 3, SECOND])
            self._one()
        return self

    def _one(self):
        rng = self.rng
        what = rng.choice(
            ["offer"] * 4 + ["bid"] * 6 + ["end"] * 6
            + ["cancel", "renew", "deposit", "withdraw", "again", "forged", "note"]
        )  # fmt: skip
        operator, buyer = rng.choice(OPERATORS), rng.choice(BUYERS)
        site = f"{operator}/{rng.randint(1, 2)}"
        if what == "offer":
            more = {"ttl_us": rng.choice([1_000_000, 60_000_000])}
            self.offer(site, rng.randint(1, 2), rng.randint(0, 12), rng.randint(0, 3), **more)
        elif what == "bid":
            self.bid(buyer, rng.randint(0, 12), rng.randint(0, 1), quantity=rng.randint(1, 3),
                     rest_us=rng.choice([0, 2_000_000]), bid=rng.choice([1, self.bids, self.bids + 1]))  # fmt: skip
        elif what == "end" and self.open_fills:
            self._end(self.open_fills[rng.choice(sorted(self.open_fills))])
        elif what == "cancel":
            self.give(c.BidsCancel(at=0, buyer=buyer), (buyer, 0))
            self.give(c.OfferCancel(at=0, site=site, offer=1), (operator, 0))
        elif what == "renew":
            self.give(c.Renew(at=0, site=site, ttl_us=5_000_000), (operator, 0))
        elif what == "deposit":
            self.deposit("buyer", buyer, rng.randint(1, 50))
        elif what == "withdraw":
            self.transfers += 1
            role, member = rng.choice([("buyer", buyer), ("operator", operator)])
            self.give(c.Withdraw(at=0, role=role, member=member, transfer=self.transfers,  # type: ignore[arg-type]
                                 amount=rng.randint(1, 5)))  # fmt: skip
        elif what == "again":
            self.give(c.Operator(at=0, operator=operator, group=rng.choice(["g", "h", operator])))
        elif what == "forged":
            self.give(c.Start(at=0, operator=operator, fill=10**6), (operator, 0))
        elif what == "note":
            self.note(notes.SessionNote(agent_index=1, epoch=1, opened=True))

    def _end(self, fill):
        rng = self.rng
        sides = [("buyer", fill.buyer, fill.agent), ("operator", fill.operator, 0)]
        match rng.choice(["start", "complete", "both", "both", "both", "decline", "release"]):
            case "start":
                self.give(c.Start(at=0, operator=fill.operator, fill=fill.fill), (fill.operator, 0))
            case "complete":
                self._complete(fill, *rng.choice(sides))
            case "both":
                self.give(c.Start(at=0, operator=fill.operator, fill=fill.fill), (fill.operator, 0))
                for side in sides:
                    self._complete(fill, *side)
            case "decline":
                command = c.Decline(at=0, operator=fill.operator, fill=fill.fill, reason="failed")
                self.give(command, (fill.operator, 0))
            case "release":
                self.give(
                    c.Release(at=0, buyer=fill.buyer, fill=fill.fill), (fill.buyer, fill.agent)
                )

    def _complete(self, fill, role, member, agent):
        command = c.Complete(at=0, role=role, member=member, fill=fill.fill, tokens_in=10,
                             tokens_out=self.rng.randint(0, 10), ttft_us=1)  # fmt: skip
        self.give(command, (member, agent))

    @cached_property
    def folders(self):
        from exchange.follower.core import Folders

        return Folders(self.config.journal_folder, self.config.events_folder,
                       self.config.snapshots_folder)  # fmt: skip
