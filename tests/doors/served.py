"""A real exchange process of its own, and blocking clients that speak to it over CURVE sockets."""

import os
import signal
import time

import numpy as np
import zmq

from exchange import identity, ports
from exchange.apply import JournalApplier
from exchange.config import Config
from exchange.enrolment import add_member
from exchange.host_client import HostClient
from exchange.journal import PAGE_NAME, DurablePage, FileStorage, JournalReader
from exchange.registry import Registry
from exchange.supervisor.processes import Watched, exchange_command
from exchange.supervisor.service import Service, bundle_path
from matching_core.market import Market
from schemas import records
from schemas.events import AnyEvent
from schemas.frames import ProtocolError
from schemas.link import ClientLink
from schemas.session.client import (
    Answered,
    ClientSession,
    MessageRefused,
    Opened,
    OutcomeUnknown,
)
from tests.fakes.house import campaign, frame, town_commands
from tests.waiting import until

START_S = 110  # a cold compile of all kernels on a busy machine


class Served:
    """One data folder and its exchange process; a context manager."""

    def __init__(self, folder):
        self.config = Config(data=folder)
        self.identity = identity.prepare(self.config)
        self.addresses = ports.resolve(self.config)
        Service.write_bundles(self)  # type: ignore[arg-type]  # it asks for these three alone
        self.process = Watched(
            "exchange",
            exchange_command("exchange", folder, None),
            self.config.logs_folder / "exchange.log",
            dict(os.environ),
            lambda _: None,
        )

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.process.stop()

    def start(self):
        self.process.start()
        until(self._up, START_S)

    def _up(self):
        assert self.process.pid is not None, self.process.log.read_text()[-2000:]
        return self.process.ready.is_set()

    def kill(self):
        """`kill -9`; returns when it is dead."""
        pid = self.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.process.watch() is not None)

    def host(self, role="admin"):
        return HostClient(bundle_path(self.config, role))

    def durable(self):
        page = DurablePage(self.config.journal_folder / PAGE_NAME)
        durable, _ = page.read()
        page.close()
        return durable

    def journal(self):
        """Read all that is durable."""
        storage = FileStorage(self.config.journal_folder, readonly=True)
        reader = JournalReader(storage, 0, market=self.identity.market)
        found = list(reader.read(self.durable()))
        reader.close()
        storage.shut()
        return found

    def replayed(self):
        """Return (market, registry, events by seq) as the journal has them."""
        applier = JournalApplier(Market(), Registry())
        events: dict[int, list[AnyEvent]] = {}
        for record in self.journal():
            for event in applier.market.events(applier.apply(record).copy()):
                events.setdefault(event.seq, []).append(event)
        return applier.market, applier.registry, events

    def found_town(self):
        """Enrol and register the small market; return {member: bundle}."""
        bundles = {}
        with self.host() as admin, self.host("verifier") as verifier:
            for member in ("lantern", "beacon"):
                sites = (f"{member}/one",)
                bundles[member] = add_member(admin, member, "operator", sites=sites)
            for member in ("acme", "bolt"):
                # As fast as it can: a refused record is in no journal, and that is another test's.
                bundles[member] = add_member(admin, member, "buyer", units_per_second=2**31)
            *mine, first, second = town_commands()
            assert not any(answer.code for answer in admin.orders(mine))
            assert not any(answer.code for answer in verifier.orders([first, second]))
        for member in ("acme", "bolt"):
            with HostClient(bundles[member]) as buyer:
                assert buyer.order(campaign(member)).code == 0
        return bundles


class Caller(HostClient):
    """A blocking session that may also send frames of records and bytes as they are."""

    def records(self, kind, *rows):
        """Give one frame and return its statuses."""
        first = self._session.send_records(kind, frame(kind, *rows))
        return self._until(lambda: self._statuses.pop(first, None), "a frame was not answered")

    def raw(self, payload):
        assert self._link.send(payload)


class Driver:
    """A session that lives through whatever the exchange does, and notes what it was told."""

    def __init__(self, bundle, **session):
        self.context = zmq.Context()
        self.bundle = bundle
        self.link = self._dial()
        self.session = ClientSession(**session)
        self.connected = False
        self.sent = {}  # (epoch, first) -> (kind, records)
        self.answers = {}  # (epoch, first) -> Answered
        self.unknown = []
        self.refused = []
        self.opened = []

    def __enter__(self):
        until(lambda: self.pump(10) or self.opened)
        return self

    def __exit__(self, *_):
        self.link.close()
        self.context.term()

    def _dial(self):
        bundle = self.bundle
        return ClientLink(
            self.context, bundle.commands_address, bundle.server_key, bundle.public_key,
            bundle.secret_key,
        )  # fmt: skip

    def redial(self):
        """Connect anew at once; the link by itself tries at growing intervals."""
        self.link.close()
        self.link = self._dial()
        self.connected = False

    @property
    def epoch(self):
        return self.opened[-1].established.epoch if self.opened else 0

    def send(self, kind, *rows):
        batch = frame(kind, *rows)
        first = self.session.send_records(kind, batch)
        self.sent[self.epoch, first] = (kind, batch)
        return first

    def pump(self, wait_ms=0):
        """Let bytes and time pass; answers, if any, are noted."""
        if not self.link.writable:
            self.connected = False
        elif not self.connected:
            self.connected = True
            self._note(self.session.connected(time.monotonic_ns()))
        self._flush()
        if wait_ms:
            self.link.wait(wait_ms)
        for message in self.link.drain():
            try:
                self._note(self.session.receive(message.buffer, time.monotonic_ns()))
            except ProtocolError as error:
                raise AssertionError(f"the exchange spoke nonsense: {error}") from None
        self._note(self.session.poll(time.monotonic_ns()))
        self._flush()

    def _flush(self):
        outbox = self.session.outbox
        while outbox and self.link.send(outbox[0]):
            outbox.popleft()
            self.session.sent(time.monotonic_ns())

    def _note(self, events):
        for event in events:
            match event:
                case Opened():
                    self.opened.append(event)
                case Answered(first=first):
                    self.answers[self.epoch, first] = event
                case OutcomeUnknown(first=first):
                    self.unknown.append((self.epoch, first))
                case MessageRefused():
                    self.refused.append(event)
                case _:
                    pass

    def quiet(self, sessions=1, within_s=15.0):
        """Pump until the session was opened so often and nothing of it is unanswered."""
        until(
            lambda: self.pump(5) or (len(self.opened) >= sessions and not self.session.unanswered),
            within_s,
        )


def bid_row(campaign_handle, number, **more):
    return {
        "bid": number, "campaign": campaign_handle, "origin": 1, "tokens_in": 10, "tokens_out": 10,
        "lease_us": 5_000_000, "max_price": records.NONE_U64,
        "latency_budget_us": records.NONE_U32, "quantity": 1,
    } | more  # fmt: skip


def state(market):
    """The market's rows without the first, which counts commands: what a rejected one must not touch."""
    from matching_core import rows

    return list(rows.rows(market.columns, market.names))[1:]


def zeros(kind):
    return np.zeros(1, records.COMMAND_RECORDS[kind])
