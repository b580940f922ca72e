"""The operators, a process of their own; its argument is the data folder.

One agent per operator: it sends its offers, renews them, and reads its copies of events at the
follower. Lines on standard output are JSON: first `ready`, then an answer to each line read.
"""

import json
import select
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import zmq

from bench.path_drive import dial, establish, word
from bench.path_ground import Ground
from bench.path_wire import DONTWAIT, compiled, zmq_recv
from schemas import limits, records
from schemas.frames import decode_server, encode_message, encode_records
from schemas.link import ClientLink
from schemas.session.messages import Heartbeat, Received, Refused, Subscribe, Terminated

GROUND_NAME: Final = "ground.json"
OFFERS_NAME: Final = "offers.npy"
CREDIT: Final = 1 << 18  # events under way to one operator
SWEEP_S: Final = 0.01  # hundreds of feeds are asked each time, on the cores that are measured
BEAT_S: Final = 0.5
RENEW_S: Final = 20.0
_HEADER: Final = records.HEADER_BYTES
_EVENT_BYTES: Final = records.EVENT_RECORD.itemsize
_EVENT: Final = records.EVENT
_FILL: Final = records.EVENT_TYPES.index("fill")
LAST, EVENTS, FILLS, GAPS, FRAMES = range(5)


@compiled
def _sweep(sockets: Any, into: Any, address: int, state: Any) -> int:
    """Take what stands at every operator's feed; `state` int64[n, 5] counts. Returns frames taken."""
    taken = 0
    for place in range(sockets.shape[0]):
        while True:
            size = zmq_recv(sockets[place], address, into.shape[0], DONTWAIT)
            if size < 0:
                break
            taken += 1
            if word(into, 0, 2) != _EVENT:
                continue
            count = word(into, 6, 2)
            first = word(into, 8, 8)
            row = state[place]
            row[GAPS] += first != row[LAST] + 1
            row[LAST] = first + count - 1
            row[EVENTS] += count
            row[FRAMES] += 1
            for event in range(count):
                row[FILLS] += word(into, _HEADER + event * _EVENT_BYTES + 12, 2) == _FILL
    return taken


class Sites:
    """Every operator's two connections."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._doors = [dial(self._context, ground, one) for one in ground.operators]
        for link in self._doors:
            establish(link)
        self._numbers = [1] * len(self._doors)
        self._beaten = 0
        self._feeds: list[ClientLink] = []
        for one in ground.operators:
            self._feeds.append(dial(self._context, ground, one, ground.addresses.events))
        for link in self._feeds:
            while not link.writable:
                link.socket.poll(10, zmq.POLLOUT)
            link.send(encode_message(Subscribe(after=0, credit=CREDIT)))
        self._sockets = np.array([link.socket.underlying for link in self._feeds], np.int64)
        self._into = np.zeros(limits.MESSAGE_BYTES_MAX, np.uint8)
        self._state = np.zeros((len(self._feeds), 5), np.int64)
        self._acknowledged = np.zeros(len(self._feeds), np.int64)

    def offer(self, offers: np.ndarray) -> int:
        """Send every operator's offers and wait for the answers; returns how many were taken."""
        asked = 0
        for place, one in enumerate(self._ground.operators):
            mine = offers[np.isin(offers["site"], one.sites)]
            asked += self._send(place, records.OFFER, mine)
        return self._answered(asked)

    def renew(self) -> int:
        """Keep all offers alive for another minute."""
        asked = 0
        for place, one in enumerate(self._ground.operators):
            batch = np.zeros(len(one.sites), records.RENEW_RECORD)
            batch["site"] = one.sites
            batch["ttl_us"] = limits.TTL_US_MAX
            asked += self._send(place, records.RENEW, batch)
        return self._answered(asked)

    def sweep(self) -> None:
        """Read the feeds and give credit back."""
        _sweep(self._sockets, self._into, self._into.ctypes.data, self._state)
        owed = self._state[:, LAST] - self._acknowledged
        for place in np.flatnonzero(owed > CREDIT // 4).tolist():
            self._acknowledge(place)

    def beat(self, now: float) -> None:
        """Say on both doors of everybody whose turn it is that it lives.

        Operators are not in step with one another: their beats are spread over the time between two.
        """
        turn = int(now * len(self._doors) / BEAT_S)
        for step in range(min(turn - self._beaten, len(self._doors))):
            place = (turn - step) % len(self._doors)
            link = self._doors[place]
            link.send(encode_message(Heartbeat()))
            self._acknowledge(place)
            for frame in link.drain():
                self._check(frame)
        self._beaten = turn

    def counts(self) -> dict[str, int]:
        """Return what was received so far."""
        total = self._state.sum(axis=0).tolist()
        return {"events": total[EVENTS], "fills": total[FILLS], "gaps": total[GAPS],
                "frames": total[FRAMES]}  # fmt: skip

    def _acknowledge(self, place: int) -> None:
        last = int(self._state[place, LAST])
        self._feeds[place].send(encode_message(Received(upto=last)))
        self._acknowledged[place] = last

    def _send(self, place: int, kind: int, batch: np.ndarray) -> int:
        link = self._doors[place]
        for first in range(0, len(batch), limits.RECORDS_PER_FRAME_MAX):
            part = batch[first : first + limits.RECORDS_PER_FRAME_MAX]
            if not link.send(encode_records(kind, part, self._numbers[place])):
                raise RuntimeError("an operator's connection is gone")
            self._numbers[place] += len(part)
        return len(batch)

    def _answered(self, asked: int) -> int:
        until = time.monotonic() + 60
        answered = 0
        while answered < asked:
            if time.monotonic() > until:
                raise RuntimeError(f"{asked - answered} records of operators were not answered")
            for link in self._doors:
                for frame in link.drain():
                    answered += self._check(frame)
            self.sweep()
        return answered

    @staticmethod
    def _check(frame: zmq.Frame) -> int:
        decoded = decode_server(frame.buffer)
        if isinstance(decoded.message, Refused | Terminated):
            raise RuntimeError(f"refused: {decoded.message}")  # noqa: TRY004  # not about a type
        if decoded.type != records.STATUS:
            return 0
        if decoded.records["code"].any():
            raise RuntimeError(f"a record was refused: code {decoded.records['code'].max()}")
        return len(decoded.records)


def main() -> int:
    """Serve until standard input ends."""
    folder = Path(sys.argv[1])
    ground = msgspec.json.decode((folder / GROUND_NAME).read_bytes(), type=Ground)
    sites = Sites(ground)
    taken = sites.offer(np.load(folder / OFFERS_NAME))
    sites.renew()
    sites.sweep()
    _say({"ready": True, "offers": taken, "operators": len(ground.operators)})
    renewed = time.monotonic()
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], SWEEP_S)
        sites.sweep()
        if readable:
            if not sys.stdin.readline():
                return 0
            _say(sites.counts())
        now = time.monotonic()
        sites.beat(now)
        if now - renewed > RENEW_S:
            renewed = now
            sites.renew()


def _say(fields: dict[str, Any]) -> None:
    print(json.dumps(fields), flush=True)
