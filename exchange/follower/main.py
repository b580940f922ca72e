"""The follower's process: follow the journal, serve members and the public, say how it goes.

One loop and its sockets; beside it the thread of the HTTP listener, which only shows what the loop
laid out. The follower may die at any moment and nobody's bids notice.
"""

import os
import queue
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq

from exchange import identity, logs, ports
from exchange.config import Config
from exchange.follower.core import Folders, Follower
from exchange.follower.door import EventDoor
from exchange.follower.event_files import Batch
from exchange.follower.feeds import PublicBook, tape
from exchange.follower.status import StatusServer
from exchange.journal.page import PAGE_NAME, DurablePage
from exchange.ledger.main import read_status
from exchange.memory import MORE, make_ready
from exchange.report import Report
from exchange.sealer import Sealer
from exchange.warm import warm_up
from matching_core.explain import warm_up as warm_up_explain
from schemas import frames, records
from schemas.limits import RECORDS_PER_FRAME_MAX
from schemas.link import Doorkeeper, FeedServer, ServerLink, new_context
from schemas.token import TokenMaker

STATUS_NAME: Final = "follower.json"
POLL_MS: Final = 1  # the journal's end is a mapped page: nothing wakes us when it moves
IDLE_POLL_MS: Final = 5
# Rounds begin this far apart unless so much waits. What a round costs is mostly for each member that it
# tells something, so ten small ones take the two cores' time from the exchange for nothing.
PACE_NS: Final = 10_000_000
HURRY_BYTES: Final = 1 << 20
IDLE_AFTER_NS: Final = 200_000_000
SHOW_EVERY_NS: Final = 500_000_000
PAGE_WAIT_S: Final = 0.05


def run(config: Config, stop: threading.Event, report: Report | None = None) -> None:
    """Follow the journal of a data folder until `stop` is set; raises what ended it."""
    keys = identity.load(config)
    logger = logs.logger("follower")
    progress = _no_progress if report is None else report.progress
    warm_up(progress)
    warm_up_explain()
    page = _page(config.journal_folder / PAGE_NAME, stop)
    if page is None:
        return
    feeds = Feeds()
    follower = Follower(
        Folders(config.journal_folder, config.events_folder, config.snapshots_folder),
        keys.market,
        Sealer(TokenMaker(keys.token_secret_bytes, keys.market)),
        feeds.batch,
        config.follower.explain_per_second,
    )
    logger.info("started", position=follower.position, snapshot=follower.snapshot_position)
    follower.catch_up(page.read()[0], progress, time.monotonic_ns())
    follower.explanations.following = True
    make_ready(follower.market, MORE)
    loop = Loop(config, keys, page, follower, feeds)
    try:
        if report is not None:
            report.ready()
        logger.info("ready", position=follower.position, events=loop.link.address)
        loop.run(stop)
        path = follower.save(time.monotonic_ns())
        logger.info("stopping", snapshot=None if path is None else path.name)
        loop.say(stopped=True)
    finally:
        loop.close()
        follower.close()


class Feeds:
    """The public feeds: hands batches on to a PUB socket once there is one."""

    def __init__(self) -> None:
        self.server: FeedServer | None = None
        self._book = PublicBook()
        self._rows_said = 0

    def batch(self, batch: Batch) -> None:
        """Put a batch's fills on the tape."""
        if self.server is None:
            return  # catching up: the tape tells what happens, not what happened
        first, fills = tape(batch.events)
        self._publish(self.server, records.TAPE, fills, first)

    def book(self, follower: Follower) -> None:
        """Say what changed in the public book."""
        assert self.server is not None
        market = follower.market
        rows = self._book.changes(market.book(), market.rtt_us(), market.margins_us(), market.at_ns)
        self._publish(self.server, records.BOOK, rows, self._rows_said + 1)
        self._rows_said += len(rows)

    def _publish(self, server: FeedServer, kind: int, rows: Any, first: int) -> None:
        for start in range(0, len(rows), RECORDS_PER_FRAME_MAX):
            part = rows[start : start + RECORDS_PER_FRAME_MAX]
            server.publish(frames.encode_records(kind, part, first + start))


class Loop:
    """One thread: the journal forward, subscribers served, numbers laid out."""

    def __init__(
        self,
        config: Config,
        keys: identity.Identity,
        page: DurablePage,
        follower: Follower,
        feeds: Feeds,
    ) -> None:
        self._config = config
        self._page = page
        self._follower = follower
        self._feeds = feeds
        self._logger = logs.logger("follower")
        addresses = ports.load(config)
        self._status = StatusServer(addresses.http, lambda: page.counters, time.monotonic)
        self._context = new_context()
        registry = follower.registry
        self._keeper = Doorkeeper(self._context, lambda key: key in registry.by_key)
        secret = keys.server.secret
        self.link = ServerLink(self._context, addresses.events, secret, self._keeper)
        feeds.server = FeedServer(self._context, addresses.tape, secret, self._keeper)
        self._feed = feeds.server
        self._door = EventDoor(
            self.link,
            follower.market,
            registry,
            follower.members,
            keys.market,
            follower.explanations,
        )
        self._poller = zmq.Poller()
        for socket in (self._keeper.socket, self.link.socket):
            self._poller.register(socket, zmq.POLLIN)
        self._shown_ns = 0
        self._round_ns = 0
        self._booked_ns = 0
        self._active_ns = 0

    def run(self, stop: threading.Event) -> None:
        """Go round until `stop` is set."""
        self.say()
        while not stop.is_set():
            self.once()

    def once(self) -> None:
        """Go round once; waits a few milliseconds when there is nothing to do."""
        now_ns = time.monotonic_ns()
        durable, next_seq = self._page.read()
        more = False
        hurry = durable - self._follower.position > HURRY_BYTES
        if hurry or now_ns - self._round_ns >= PACE_NS:
            self._round_ns = now_ns
            more = self._follower.round(durable, now_ns)
            if more:
                self._active_ns = now_ns
        pushing = self._door.push(now_ns)
        if pushing or (more and hurry):
            wait_ms = 0
        elif more:
            wait_ms = PACE_NS // 1_000_000
        else:
            wait_ms = IDLE_POLL_MS if now_ns - self._active_ns > IDLE_AFTER_NS else POLL_MS
        if self._poller.poll(wait_ms):
            self._keeper.serve()
            self._door.receive(time.monotonic_ns())
        if self._follower.snapshot_due(self._config.follower.snapshot_every):
            path = self._follower.save(now_ns)
            self._logger.info("snapshot", path=None if path is None else path.name)
        if now_ns - self._booked_ns >= 1_000 * self._config.follower.book_every_us:
            self._booked_ns = now_ns
            self._feeds.book(self._follower)
        if now_ns - self._shown_ns >= SHOW_EVERY_NS:
            self._shown_ns = now_ns
            self._show(durable, next_seq)
        self._answer_digests()

    def say(self, *, stopped: bool = False) -> None:
        """Write DATA/run/follower.json: where we listen, and when stopped the last digest."""
        fields: dict[str, Any] = {
            "pid": os.getpid(),
            "state": "stopped" if stopped else "following",
            "events_address": self.link.address,
            "tape_address": self._feed.address,
            "http_address": self._status.address,
        }
        if stopped:
            fields |= self._follower.digest()
        path = self._config.run_folder / STATUS_NAME
        part = path.with_name(path.name + ".part")
        part.write_bytes(msgspec.json.encode(fields))
        part.replace(path)

    def close(self) -> None:
        """Close every door."""
        self._feeds.server = None
        self._status.close()
        for link in (self.link, self._feed, self._keeper):
            link.close()
        self._context.term()

    def _show(self, durable: int, next_seq: int) -> None:
        summary = self._follower.summary()
        lag_commands = max(next_seq - summary["next_seq"], 0)
        ledger = read_status(self._config.run_folder)
        summary |= {
            "durable": durable,
            "lag_bytes": max(durable - summary["position"], 0),
            "lag_commands": lag_commands,
            "subscribers": self._door.subscribers,
            "ledger_state": "" if ledger is None else ledger.state,
            "ledger_following": int(ledger is not None and ledger.state == "following"),
            "ledger_position": 0 if ledger is None else ledger.position,
            "ledger_lag_bytes": max(durable - (0 if ledger is None else ledger.position), 0),
            "ledger_lag_commands": max(next_seq - (1 if ledger is None else ledger.next_seq), 0),
        }
        # Ahead of the exchange's page: the journal was cut by hand, or its page is old.
        ready = durable >= summary["position"]
        self._status.show(summary, ready=ready)

    def _answer_digests(self) -> None:
        try:
            answer = self._status.digests.get_nowait()
        except queue.Empty:
            return
        answer.put(self._follower.digest())


def _page(path: Path, stop: threading.Event) -> DurablePage | None:
    """Map the exchange's page as soon as it is there; None when told to stop meanwhile."""
    while not stop.is_set():
        try:
            return DurablePage(path)
        except (FileNotFoundError, ValueError):
            stop.wait(PAGE_WAIT_S)
    return None


def _no_progress(text: str, done: int, total: int) -> None:
    """Say nothing."""
