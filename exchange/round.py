"""The one loop of the exchange.

    wait ─► drain ─► judge ─► number ─► journal, one sync ─► apply ─► answer ─┐
      ▲                                                                        │
      └──────── heartbeats, ended sessions, what is due in the market ◄────────┘

A round takes whatever has arrived, so it grows with the load by itself. A rare message ends it: what
comes after may speak of what it registers. Nothing leaves before the commit. One thread, no
callbacks; the only clocks are the two given in.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import zmq
from numpy.typing import NDArray

from exchange import counters, notes
from exchange.admission.gate import Gate, Refusal, read_units
from exchange.apply import JournalApplier
from exchange.bids import Bids, BidsWork
from exchange.doors import Reads, enrol
from exchange.gateway.desks import Desk, Desks
from exchange.sealer import Sealer
from exchange.sequencer import EXCHANGE_AGENT, Sequencer
from exchange.work import NOBODY, Answer, FrameWork, NoteWork, OrderWork, Run, Work, runs_of
from schemas import commands, frames, limits, records
from schemas.frames import Frame, ProtocolError
from schemas.link import Doorkeeper, Payload, ServerLink
from schemas.reasons import REFUSED
from schemas.roles import MESSAGE_ROLES
from schemas.session.messages import (
    MemberAdd,
    MemberRevoke,
    Order,
    OrderAnswer,
    RegisterAdapters,
)
from schemas.session.messages import Message as SessionMessage
from schemas.session.server import Act, Ended, Verdict
from schemas.token import TokenMaker

WAIT_MS_MAX: Final = 100  # also how late a stop or a heartbeat may be noticed
# A round ends at so many units: drained frames may hold a minute's work, and who came first would
# wait for all of it. What is left is taken in the next round, in the order in which it came.
ROUND_UNITS_MAX: Final = 8_192
# Sessions' silence and heartbeats are looked at this often: the shortest of those times is a third of a
# second.
TEND_NS: Final = 20_000_000
# A round that took this long was not one: the process was held, or the disk. What members said
# meanwhile is still on its way through the system's buffers when the next one begins.
STALL_NS: Final = limits.HEARTBEAT_US * limits.NS_PER_US


class Message(Protocol):
    """One message as it was received."""

    @property
    def buffer(self) -> memoryview:
        """Its bytes, in place."""


class Link(Protocol):
    """The door that the round reads from and answers through; `schemas.link.ServerLink` is one."""

    def drain(self, limit: int) -> Sequence[tuple[bytes, Message]]:
        """Return up to `limit` messages that wait, as (connection, message)."""

    def key_of(self, frame: Any) -> str:
        """Return the key that the sender of a message proved to hold."""

    def send(self, peer: bytes, payload: Payload) -> bool:
        """Send to one connection; False when it is gone or does not read."""


class Clocks(NamedTuple):
    """The time of day (for `at`) and a time that never jumps (for silence), both in ns."""

    now_ns: Callable[[], int]
    monotonic_ns: Callable[[], int]


class Exchange:
    """Sessions, admission, sequencer and core of one data folder, behind one socket."""

    def __init__(
        self,
        *,
        applier: JournalApplier,
        sequencer: Sequencer,
        link: Link,
        desks: Desks,
        tokens: TokenMaker,
        reads: Reads,
        counts: NDArray[np.uint64],
        clocks: Clocks,
        drain_messages: int,
    ) -> None:
        self._applier = applier
        self._market = applier.market
        self._registry = applier.registry
        self._sequencer = sequencer
        self._link = link
        self._desks = desks
        self._tokens = Sealer(tokens)
        self._reads = reads
        self._gate = Gate(applier.market, applier.registry)
        self._bids = Bids(applier.market, self._gate)
        # As plain integers: a NumPy scalar costs ten times as much to add to, and a round adds to ten.
        self._counters = counts.data.cast("B").cast("Q")
        self._clocks = clocks
        self._drain_messages = drain_messages
        self._inbox: deque[tuple[bytes, Message]] = deque()
        self._work: list[Work | BidsWork] = []
        self._rare = False  # something was registered, perhaps
        self._after: list[Callable[[], Answer | None]] = []  # reads and greetings, after the commit
        self._last_word: list[tuple[bytes, bytes]] = []  # notices of ended sessions
        self._mono_ns = clocks.monotonic_ns()
        self._tend_ns = self._mono_ns
        self._listened_ns = self._mono_ns  # all that had arrived by then was read from the socket
        self._deaf_until_ns = self._mono_ns
        self._units = 0  # of this round
        self._records = 0
        self._sessions = sum(1 for desk in desks if desk.session.due_ns is not None)
        counts[counters.SESSIONS] = self._sessions

    # ------------------------------------------------------------------------- the round
    def round(self) -> None:
        """Take what has arrived, make it durable, apply and answer it."""
        started = self._clocks.monotonic_ns()
        if started - self._mono_ns > STALL_NS:
            self._deaf_until_ns = started + STALL_NS
        self._mono_ns = started
        self._sequencer.begin(self._clocks.now_ns())
        if not self._inbox:
            self._inbox.extend(self._link.drain(self._drain_messages))
            if started >= self._deaf_until_ns:
                self._listened_ns = started
        taken = self._units = self._records = 0
        while self._inbox and self._units < ROUND_UNITS_MAX:
            peer, frame = self._inbox.popleft()
            taken += 1
            if self._take(peer, frame):
                break
        self._number_bids()
        self._let_time_pass()
        if not self._sequencer.pending and self._market.next_due_ns() <= self._sequencer.at_ns:
            self._order(None, NOBODY, 0, 0, commands.Clock(at=0))
        numbered = self._sequencer.pending
        if numbered:
            self._commit()
        self._finish()
        self._counters[counters.MESSAGES] += taken
        self._counters[counters.HEARTBEAT_NS] = self._mono_ns
        if not numbered and not taken:
            self._sequencer.prepare()
        if numbered:
            took = self._clocks.monotonic_ns() - started
            self._count_time(counters.ROUND_NS_SUM, counters.ROUND_NS_BUCKETS, took)
            bucket = counters.ROUND_RECORDS_BUCKETS + counters.count_bucket(self._records)
            self._counters[bucket] += 1

    @property
    def idle(self) -> bool:
        """True when nothing read is left for the next round."""
        return not self._inbox

    def wait_ms(self) -> int:
        """Return for how long the loop may sleep when nothing arrives."""
        due_ns = self._market.next_due_ns() - self._clocks.now_ns()
        return max(0, min(WAIT_MS_MAX, -(-due_ns // 1_000_000)))

    def _commit(self) -> None:
        started = self._clocks.monotonic_ns()
        self._sequencer.commit()
        took = self._clocks.monotonic_ns() - started
        self._counters[counters.ROUNDS] += 1
        self._count_time(counters.SYNC_NS_SUM, counters.SYNC_NS_BUCKETS, took)

    def _finish(self) -> None:
        for work in self._work:
            if isinstance(work, BidsWork):
                self._answer_bids(work)
                continue
            answer = work.finish(self._applier, self._tokens)
            if answer is not None:
                self._send(answer)
        if self._rare:
            self._rare = False
            self._gate.refresh_handles()
        self._work.clear()
        for after in self._after:
            answer = after()
            if answer is not None:
                self._send(answer)
        self._after.clear()
        for peer, notice in self._last_word:
            self._link.send(peer, notice)
        self._last_word.clear()

    # ------------------------------------------------------------------------- messages
    def _take(self, peer: bytes, frame: Message) -> bool:
        """Judge one message; True when it ends the batch."""
        # Asked of every frame, at 0.4 µs: the key is what the handshake proved, a routing id is not.
        key = self._link.key_of(frame)
        desk = self._desks.of_peer(peer)
        if desk is None or desk.agent.public_key != key:
            desk = self._desks.bind(peer, key)
        if desk is None:
            return False  # its key was revoked after the handshake
        units = self._bids.take(desk, peer, frame.buffer, self._mono_ns)
        if units:
            self._units += units
            return False
        self._number_bids()
        try:
            decoded = frames.decode_client(frame.buffer)
        except ProtocolError as error:
            self._counters[counters.MALFORMED] += 1
            return self._obey(desk, peer, desk.session.malformed(peer, error, self._mono_ns), None)
        desk.skip_refused(peer, decoded)
        verdict = desk.session.receive(peer, decoded, self._mono_ns)
        self._desks.watch(desk)
        return self._obey(desk, peer, verdict, decoded)

    def _obey(self, desk: Desk, peer: bytes, verdict: Verdict, frame: Frame | None) -> bool:
        if verdict.ended is not None:
            self._end(desk, verdict.ended)
        if verdict.act is Act.APPLY:
            assert frame is not None
            return self._admit(desk, peer, verdict.epoch, frame)
        if verdict.act is Act.REPLY:
            self._counters[counters.REPEATS] += 1
            self._count_sent(self._link.send(peer, verdict.reply))
        elif verdict.act in {Act.OPENED, Act.RESUMED}:
            if verdict.act is Act.OPENED:
                self._opened(desk)
            self._after.append(lambda: self._greeting(desk, peer))
            return True
        return verdict.ended is not None

    def _admit(self, desk: Desk, peer: bytes, epoch: int, frame: Frame) -> bool:
        """Judge and number what a session took; True when it ends the batch."""
        message = frame.message
        if message is None:
            return self._frame(desk, peer, epoch, frame)
        self._records += 1
        self._units += 1
        self._counters[counters.RECORDS] += 1
        try:
            match message:
                case Order():
                    command = self._gate.order(desk, message, self._mono_ns)
                    self._order(desk, peer, epoch, frame.first, command)
                case RegisterAdapters():
                    self._adapter_set(desk, peer, epoch, frame.first, message)
                case MemberAdd() | MemberRevoke():
                    self._enrolment(desk, peer, epoch, frame.first, message)
                case _:
                    return self._read(desk, peer, message)
        except Refusal as refusal:
            self._counters[counters.REFUSED] += 1
            if refusal.code == REFUSED["rate"] and self._over_rate(desk, 1):
                return True
            answer = OrderAnswer(code=refusal.code, why=refusal.why)
            self._after.append(lambda: self._reads.refused(desk, peer, epoch, frame.first, answer))
        return True

    def _read(self, desk: Desk, peer: bytes, message: SessionMessage) -> bool:
        """Answer what changes nothing, after the commit; it costs units, too."""
        units = read_units(message)
        self._units += units
        # A request has no way to say "later", so one above the rate is answered until it is far above.
        if not self._gate.in_rate(desk, units, self._mono_ns) and self._over_rate(desk, 0):
            return True
        self._after.append(lambda: self._reads.answer(desk, peer, message))
        return False

    def _frame(self, desk: Desk, peer: bytes, epoch: int, frame: Frame) -> bool:
        """Number the accepted records of a hot frame, run by run; True when it ends the batch."""
        kind, count = frame.type, frame.numbers
        codes = self._gate.frame(desk, frame, self._mono_ns)
        self._records += count
        self._units += frame.units
        self._counters[counters.RECORDS] += count
        refused = int(np.count_nonzero(codes))
        if refused:
            self._counters[counters.REFUSED] += refused
            over = int(np.count_nonzero(codes == REFUSED["rate"]))
            if over and self._over_rate(desk, over):
                return True
        index = desk.agent.index
        work = FrameWork(desk, peer, epoch, frame.first, kind, self._sequencer.at_ns, codes)
        for start, end in runs_of(codes) if refused else [(0, count)]:
            batch = np.ascontiguousarray(frame.records[start:end])
            seq, payload = self._sequencer.frame(kind, batch, index, epoch, frame.first + start)
            work.runs.append(Run(start, seq, batch, payload))
        self._work.append(work)
        return False

    def _number_bids(self) -> None:
        """Number what frames of bids were taken: whatever comes next comes after them."""
        if not self._bids:
            return
        work = self._bids.number(self._sequencer)
        count = len(work.codes)
        self._records += count
        self._counters[counters.RECORDS] += count
        self._counters[counters.REFUSED] += work.refused
        self._work.append(work)

    def _answer_bids(self, work: BidsWork) -> None:
        send, now_ns, sent = self._link.send, self._mono_ns, 0
        for taken, message in work.finish(self._applier, self._tokens):
            taken.desk.session.answered(taken.epoch, taken.first, taken.numbers, message, now_ns)
            sent += send(taken.peer, message)
        self._counters[counters.ANSWERS] += sent
        self._counters[counters.ANSWERS_LOST] += len(work.taken) - sent

    def _order(
        self, desk: Desk | None, peer: bytes, epoch: int, first: int, command: commands.AnyCommand
    ) -> None:
        index = EXCHANGE_AGENT if desk is None else desk.agent.index
        seq, timed = self._sequencer.rare(command, index, epoch, first)
        self._rare = True
        self._work.append(OrderWork(desk, peer, epoch, first, seq, timed))

    def _adapter_set(
        self, desk: Desk, peer: bytes, epoch: int, first: int, message: RegisterAdapters
    ) -> None:
        self._gate.charge(desk, 1, self._mono_ns)
        if desk.agent.role not in MESSAGE_ROLES["register_adapters"]:
            raise Refusal("role", "register_adapters: operators only")
        names = self._market.names
        if not message.adapters:
            raise Refusal("field", "adapters: a set has at least one")
        for name in message.adapters:
            if not names.handle("adapter", name):
                raise Refusal("handle", f"adapters: {name} is not known")
        if len(set(message.adapters)) != len(message.adapters):
            raise Refusal("field", "adapters: an entry stands twice")
        handle = names.handle("adapter_set", message.adapters)
        if not handle:
            self._gate.registration(desk.agent.member, "adapter_set")
            handle = self._market.handle_count("adapter_set") + 1
        note = notes.AdapterSetNote(
            member=desk.agent.member, handle=handle, adapters=message.adapters
        )
        self._note(note, desk, peer, epoch, first, OrderAnswer(code=0, handle=handle))

    def _enrolment(
        self, desk: Desk, peer: bytes, epoch: int, first: int, message: MemberAdd | MemberRevoke
    ) -> None:
        """Add or revoke keys: the notes, then what they change at the desks."""
        self._gate.charge(desk, 1, self._mono_ns)
        if desk.agent.role not in MESSAGE_ROLES["member_add"]:
            raise Refusal("role", "enrolment: the admin only")
        made = enrol(message, self._registry, self._market, self._gate)
        for command in made.orders:
            self._order(None, NOBODY, 0, 0, command)
        for note in made.records[:-1]:
            self._note(note)
        self._note(made.records[-1], desk, peer, epoch, first, OrderAnswer(code=0))
        for agent in made.revoked:
            cut = self._desks.cut(agent)
            if cut is not None:
                verdict = cut.session.revoke()
                if verdict.ended is not None:
                    self._end(cut, verdict.ended)
        for index in made.changed:
            self._after.append(lambda index=index: self._changed(index))  # type: ignore[misc]

    def _changed(self, index: int) -> None:
        self._desks.refresh(self._registry.agent(index))

    def _note(
        self,
        note: notes.AnyNote,
        desk: Desk | None = None,
        peer: bytes = NOBODY,
        epoch: int = 0,
        first: int = 0,
        answer: OrderAnswer | None = None,
    ) -> None:
        index = EXCHANGE_AGENT if desk is None else desk.agent.index
        self._sequencer.note(note, index, epoch, first)
        self._rare = True
        self._work.append(NoteWork(note, desk, peer, epoch, first, answer))

    # ------------------------------------------------------------------------- sessions
    def _opened(self, desk: Desk) -> None:
        session = desk.session
        # A name said twice is one site; the note must not outgrow what was enrolled.
        session.streams = tuple(dict.fromkeys(session.streams))
        desk.restored = False
        self._note(
            notes.SessionNote(
                agent_index=desk.agent.index,
                epoch=session.epoch,
                opened=True,
                cancel_after_us=session.cancel_after_us,
                streams=session.streams,
            )
        )
        self._count_session(counters.SESSIONS_OPENED, 1)

    def _greeting(self, desk: Desk, peer: bytes) -> None:
        if desk.session.peer == peer:
            greeting = self._reads.established(desk, self._sequencer.at_ns, self._mono_ns)
            self._count_sent(self._link.send(peer, greeting))

    def _end(self, desk: Desk, ended: Ended) -> None:
        """Journal a session's end and cancel what it leaves: bids at rest, streamed offers."""
        index, role = desk.agent.index, desk.agent.role
        if role == "buyer" and desk.member_in(self._market):
            self._cancel(desk, ended.epoch, records.BIDS_CANCEL, 1)
        sites = [self._market.names.handle("site", name) for name in ended.streams]
        known = np.array([site for site in sites if site], np.uint32)
        for start in range(0, len(known), limits.RECORDS_PER_FRAME_MAX):
            part = known[start : start + limits.RECORDS_PER_FRAME_MAX]
            self._cancel(desk, ended.epoch, records.OFFERS_CANCEL, len(part), part)
        self._note(notes.SessionNote(agent_index=index, epoch=ended.epoch, opened=False))
        self._count_session(counters.SESSIONS_ENDED, -1)
        if ended.peer != NOBODY:
            self._last_word.append((ended.peer, ended.notice))

    def _cancel(
        self, desk: Desk, epoch: int, kind: int, count: int, sites: np.ndarray | None = None
    ) -> None:
        batch = np.zeros(count, records.COMMAND_RECORDS[kind])
        if sites is not None:
            batch["site"] = sites
        seq, payload = self._sequencer.frame(kind, batch, desk.agent.index, epoch, 0)
        codes = np.zeros(count, np.int64)
        work = FrameWork(desk, NOBODY, epoch, 0, kind, self._sequencer.at_ns, codes)
        work.runs.append(Run(0, seq, batch, payload))
        self._work.append(work)

    def _over_rate(self, desk: Desk, records: int) -> bool:
        """Count what was refused for the rate; True when it is so far over that the session ended."""
        self._counters[counters.RATE_REFUSED] += records
        if not desk.rate.far_over:
            return False
        error = ProtocolError("rate", "far over the rate")
        verdict = desk.session.malformed(desk.session.peer, error, self._mono_ns)
        if verdict.ended is not None:
            self._end(desk, verdict.ended)
        return True

    def _let_time_pass(self) -> None:
        if self._mono_ns < self._tend_ns:
            return
        self._tend_ns = self._mono_ns + TEND_NS
        # Who was not listened to was not silent: heartbeats may lie in what is left for later rounds.
        listened_ns = 0 if self._inbox else self._listened_ns
        for desk in self._desks.due(self._mono_ns, self._tend_ns):
            verdict = desk.session.poll(self._mono_ns, listened_ns)
            if verdict.act is Act.REPLY:
                self._count_sent(self._link.send(desk.session.peer, verdict.reply))
            elif verdict.ended is not None:
                self._end(desk, verdict.ended)

    # ------------------------------------------------------------------------- out
    def _send(self, answer: Answer) -> None:
        session = answer.desk.session
        session.answered(answer.epoch, answer.first, answer.numbers, answer.message, self._mono_ns)
        self._count_sent(self._link.send(answer.peer, answer.message))

    def _count_session(self, counter: int, change: int) -> None:
        self._counters[counter] += 1
        self._sessions += change
        self._counters[counters.SESSIONS] = self._sessions

    def _count_sent(self, sent: bool) -> None:
        place = counters.ANSWERS if sent else counters.ANSWERS_LOST
        self._counters[place] += 1

    def _count_time(self, total: int, buckets: int, took_ns: int) -> None:
        words = self._counters
        words[total] += took_ns
        words[total + 1] = max(words[total + 1], took_ns)
        words[buckets + counters.time_bucket(took_ns)] += 1


def serve(exchange: Exchange, link: ServerLink, door: Doorkeeper, stop: threading.Event) -> None:
    """Run rounds until `stop`; handshakes are served in the same loop."""
    poller = zmq.Poller()
    poller.register(door.socket, zmq.POLLIN)
    poller.register(link.socket, zmq.POLLIN)
    while not stop.is_set():
        ready = poller.poll(exchange.wait_ms() if exchange.idle else 0)
        if any(socket is door.socket for socket, _ in ready):
            door.serve()
        exchange.round()
