"""The buyers: frames sent as planned or as fast as windows allow, every answer checked and timed.

    closed   each session keeps `window` frames under way: the most that the exchange answers
    planned  frame i is due at start + i × interval, whatever happened to those before it; its latency
             counts from there, so a stall is felt by all that it delayed (no coordinated omission)

An answer must name the first number of the oldest frame unanswered and hold a status per record:
every bid is answered exactly once, in order, or the run fails.
"""

import time
from typing import Any, Final, NamedTuple

import numpy as np
import zmq

from bench.path_ground import Ground, Member
from bench.path_wire import (
    DONTWAIT,
    POLLIN_HIGH,
    compiled,
    fine_timers,
    now_ns,
    ppoll,
    zmq_recv,
    zmq_send,
)
from matching_core.jit import i64
from schemas import records
from schemas.frames import decode_server, encode_message
from schemas.limits import CANCEL_AFTER_US_MAX, MESSAGE_BYTES_MAX
from schemas.link import ClientLink
from schemas.session.messages import (
    VERSION_MAX,
    VERSION_MIN,
    Establish,
    Established,
    Heartbeat,
)

_HEADER: Final = records.HEADER_BYTES
_BID_BYTES: Final = records.BID_RECORD.itemsize
_STATUS_BYTES: Final = records.STATUS_RECORD.itemsize
_FILL_BYTES: Final = records.FILL_RECORD.itemsize
_HEARTBEAT_BYTES: Final = len(encode_message(Heartbeat()))
_MESSAGE: Final = records.MESSAGE
_STATUS: Final = records.STATUS
_BID: Final = records.BID
_RING: Final = 512  # frames under way per session, at most
GIVE_UP_NS: Final = 20_000_000_000  # no answer at all for so long
IDLE_WAIT_NS: Final = 1_000_000
# Where frames are far apart the driver wakes so long before one is due and watches the clock: a sleep ends
# 80 µs late on a core that rested, and that is not the exchange's.
AWAKE_NS: Final = 150_000
FAR_APART_NS: Final = 4_000_000
BEAT_S: Final = 0.5

# Words of a session's row.
SOCKET, NEXT_BID, NEXT_MESSAGE, OLDEST, HEAD, TAIL, POOL = range(7)
SESSION_ROW: Final = 7
# Words of the tally.
(SENT, ANSWERED, STATUSES, REFUSED, FILLS, RESTING, ENDED, BEATS, WRONG, TIMED_OUT) = range(10)
TALLY: Final = (
    "frames_sent", "frames_answered", "bids_answered", "refused", "fills", "resting", "unfilled",
    "heartbeats", "wrong_answers", "unanswered",
)  # fmt: skip


class Phase(NamedTuple):
    """What one phase saw. `answered_ns` and `latency_ns` by frame, in order of the answers.

    `late_ns`: how long after its time the driver itself sent each frame, a part of its latency.
    """

    frame: int
    started_ns: int
    ended_ns: int  # when the last frame was due, or sending ended
    tally: dict[str, int]
    answered_ns: np.ndarray
    latency_ns: np.ndarray
    fills: np.ndarray  # of each frame
    late_ns: np.ndarray

    def per_second(self) -> float:
        """Return the bids answered per second while frames were being sent, less the first quarter."""
        begin = self.started_ns + (self.ended_ns - self.started_ns) // 4
        inside = (self.answered_ns >= begin) & (self.answered_ns < self.ended_ns)
        return float(inside.sum()) * self.frame * 1e9 / (self.ended_ns - begin)


@compiled
def word(buffer: Any, offset: int, size: int) -> int:
    """Return the little-endian number of `size` bytes that stands at `offset`."""
    value = i64(0)
    for place in range(size):
        value |= i64(buffer[offset + place]) << (8 * place)
    return value


@compiled
def _put(buffer: Any, offset: int, size: int, value: int) -> None:
    for place in range(size):
        buffer[offset + place] = (value >> (8 * place)) & 255


@compiled
def _send(session: Any, pool: Any, count: int, out: Any, out_at: int) -> bool:
    """Send one session's next frame; False when its queue is full."""
    _put(out, 8, 8, session[NEXT_MESSAGE])
    for place in range(count):
        record = pool[(session[POOL] + place) % pool.shape[0]]
        start = _HEADER + place * _BID_BYTES
        for byte in range(8, _BID_BYTES):
            out[start + byte] = record[byte]
        _put(out, start, 8, session[NEXT_BID] + place)
    size = _HEADER + count * _BID_BYTES
    if zmq_send(session[SOCKET], out_at, size, DONTWAIT) < 0:
        return False
    session[POOL] = (session[POOL] + count) % pool.shape[0]
    session[NEXT_BID] += count
    session[NEXT_MESSAGE] += count
    return True


@compiled
def _take(session: Any, count: int, size: int, into: Any, tally: Any) -> int:
    """Judge one answer; returns its fills, −1 for a heartbeat, −2 for what is wrong."""
    kind = word(into, 0, 2)
    if kind == _MESSAGE and size == _HEARTBEAT_BYTES:
        tally[BEATS] += 1
        return -1
    right = kind == _STATUS and word(into, 6, 2) == count
    right = right and word(into, 8, 8) == session[OLDEST] and session[HEAD] < session[TAIL]
    if not right:
        return -2
    fills = 0
    for place in range(count):
        start = _HEADER + place * _STATUS_BYTES
        tally[REFUSED] += word(into, start + 8, 2) != 0
        fills += word(into, start + 12, 2)
        tally[RESTING] += word(into, start + 14, 2)
        tally[ENDED] += word(into, start + 16, 2)
    told = _HEADER + count * _STATUS_BYTES
    told += (_HEADER + fills * _FILL_BYTES) * (fills > 0)
    if size != told:
        return -2
    tally[STATUSES] += count
    tally[FILLS] += fills
    session[OLDEST] += count
    return fills


@compiled
def _drive(
    sessions: Any, pools: Any, count: int, frames: int, interval_ns: int, start_ns: int,
    end_ns: int, window: int, planned: Any, out: Any, into: Any, clock: Any,
    addresses: Any, tally: Any, answers: Any, late_ns: Any,
) -> None:  # fmt: skip
    many = sessions.shape[0]
    turn = 0
    heard_ns = now_ns(clock, addresses[3])
    while True:
        busy = False
        now = now_ns(clock, addresses[3])
        sending = tally[SENT] < frames and (interval_ns > 0 or now < end_ns)
        # ---- send what is due
        full = 0
        while sending and full < many:
            due = now if interval_ns == 0 else start_ns + tally[SENT] * interval_ns
            if due > now:
                break
            session = sessions[turn % many]
            if session[TAIL] - session[HEAD] >= window or not _send(
                session, pools[turn % many], count, out, addresses[0]
            ):
                full += 1
                turn += 1
                continue
            planned[turn % many, session[TAIL] % _RING] = due
            late_ns[tally[SENT]] = now_ns(clock, addresses[3]) - due
            session[TAIL] += 1
            tally[SENT] += 1
            turn += 1
            full = 0
            busy = True
            if tally[SENT] >= frames:
                break
        # ---- take what was answered
        for place in range(many):
            session = sessions[place]
            while True:
                size = zmq_recv(session[SOCKET], addresses[1], into.shape[0], DONTWAIT)
                if size < 0:
                    break
                heard_ns = now_ns(clock, addresses[3])
                fills = _take(session, count, size, into, tally)
                if fills == -1:
                    continue
                if fills < 0:
                    tally[WRONG] += 1
                    return
                answered = tally[ANSWERED]
                answers[answered, 0] = heard_ns
                answers[answered, 1] = heard_ns - planned[place, session[HEAD] % _RING]
                answers[answered, 2] = fills
                session[HEAD] += 1
                tally[ANSWERED] += 1
                busy = True
        now = now_ns(clock, addresses[3])
        sending = tally[SENT] < frames and (interval_ns > 0 or now < end_ns)
        if not sending and tally[ANSWERED] == tally[SENT]:
            return
        if tally[ANSWERED] < tally[SENT] and now - heard_ns > GIVE_UP_NS:
            tally[TIMED_OUT] = tally[SENT] - tally[ANSWERED]
            return
        # ---- wait for the next of either
        if not busy:
            wait = IDLE_WAIT_NS
            if sending and interval_ns > 0 and full < many:
                wait = min(wait, start_ns + tally[SENT] * interval_ns - now)
                if interval_ns >= FAR_APART_NS:
                    wait -= AWAKE_NS
            if wait > 0:
                clock[2] = 0
                clock[3] = wait
                ppoll(addresses[2], many, addresses[3] + 16, 0)


class Buyers:
    """One session per buyer, on one context; `run` drives them."""

    def __init__(self, ground: Ground, bids: list[np.ndarray]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._links = [dial(self._context, ground, member) for member in ground.buyers]
        self._sessions = np.zeros((len(self._links), SESSION_ROW), np.int64)
        self._sessions[:, NEXT_BID] = self._sessions[:, NEXT_MESSAGE] = 1
        self._sessions[:, OLDEST] = 1
        self._polls = np.zeros(len(self._links), np.int64)
        for place, link in enumerate(self._links):
            establish(link)
            self._sessions[place, SOCKET] = link.socket.underlying
            self._polls[place] = link.fileno() | POLLIN_HIGH
        self._pools = np.stack([batch.view(np.uint8).reshape(-1, _BID_BYTES) for batch in bids])
        self._out = np.zeros(_HEADER + 1024 * _BID_BYTES, np.uint8)
        self._into = np.zeros(MESSAGE_BYTES_MAX, np.uint8)
        self._planned = np.zeros((len(self._links), _RING), np.int64)
        self._clock = np.zeros(4, np.int64)
        self._addresses = np.array(
            [array.ctypes.data for array in (self._out, self._into, self._polls, self._clock)]
        )
        fine_timers()

    def run(
        self, frame: int, *, seconds: float, window: int, per_second: float = 0.0, sessions: int = 0
    ) -> Phase:
        """Send frames of `frame` bids for so long, planned at `per_second` bids a second or closed.

        `sessions`: how many of them take part, 0 for all.
        """
        interval_ns = round(frame * 1e9 / per_second) if per_second else 0
        frames = int(seconds * 1e9 / interval_ns) if interval_ns else int(seconds * 1_000_000)
        answers = np.zeros((frames, 3), np.int64)
        late_ns = np.zeros(frames, np.int64)
        tally = np.zeros(len(TALLY), np.int64)
        self._out[:_HEADER] = np.frombuffer(
            np.array((_BID, VERSION_MAX, _BID_BYTES, frame, 0), records.FRAME_HEADER).tobytes(),
            np.uint8,
        )
        many = sessions or len(self._links)
        start_ns = time.monotonic_ns() + 2_000_000
        end_ns = start_ns + round(seconds * 1e9)
        _drive(
            self._sessions[:many], self._pools[:many], frame, frames, interval_ns, start_ns, end_ns,
            min(window, _RING), self._planned[:many], self._out, self._into,
            self._clock, self._addresses, tally, answers, late_ns,
        )  # fmt: skip
        told = dict(zip(TALLY, tally.tolist(), strict=True))
        if told["wrong_answers"] or told["unanswered"]:
            raise RuntimeError(f"not every bid was answered exactly once: {told}")
        answers = answers[: told["frames_answered"]]
        late_ns = late_ns[: told["frames_sent"]]
        answered_ns, latency_ns, fills = answers.T
        return Phase(frame, start_ns, end_ns, told, answered_ns, latency_ns, fills, late_ns)

    def beat(self) -> None:
        """Say that all sessions live, between phases."""
        for link in self._links:
            link.send(encode_message(Heartbeat()))

    def close(self) -> None:
        """Close every connection."""
        for link in self._links:
            link.close()
        self._context.term()


def dial(
    context: "zmq.Context[zmq.Socket[bytes]]", ground: Ground, member: Member, address: str = ""
) -> ClientLink:
    """Connect one member, to the exchange or to the address given."""
    return ClientLink(
        context, address or ground.addresses.commands, ground.server_key, member.public,
        member.secret,
    )  # fmt: skip


def establish(link: ClientLink) -> Established:
    """Open a session that stands a minute of silence."""
    until = time.monotonic() + 30
    while not link.writable and time.monotonic() < until:
        link.socket.poll(10, zmq.POLLOUT)
    hello = Establish(
        version_min=VERSION_MIN, version_max=VERSION_MAX, cancel_after_us=CANCEL_AFTER_US_MAX
    )
    link.send(encode_message(hello))
    while time.monotonic() < until:
        if link.wait(100):
            for frame in link.drain():
                message = decode_server(frame.buffer).message
                if isinstance(message, Established):
                    return message
                if not isinstance(message, Heartbeat):
                    raise RuntimeError(f"no session: {message}")  # noqa: TRY004  # not about a type
    raise RuntimeError("the exchange did not answer an establish within 30 s")
