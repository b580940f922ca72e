"""What no exchange could beat here: one sync of the disk, one round trip of ZeroMQ with CURVE.

`echo` is the other end of the round trip, a process of its own: a ROUTER that sends back at once, in a
blocking loop like the exchange's.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
import zmq

from bench.path_wire import fine_timers, own_process
from schemas.link import ClientLink, Doorkeeper, ServerLink, new_keypair
from schemas.records import BID_RECORD, FILL_RECORD, HEADER_BYTES, STATUS_RECORD

SYNC_BYTES: Final = (
    224  # a bid's record in the journal: 80 of header, 16 + 64 of frame, and its like
)
FILE_BYTES: Final = 8 << 20
REQUEST_BYTES: Final = HEADER_BYTES + BID_RECORD.itemsize
REPLY_BYTES: Final = 2 * HEADER_BYTES + STATUS_RECORD.itemsize + FILL_RECORD.itemsize
# As far apart as bids are when the latency at idle is taken: a core that rested longer is slower to wake,
# and a file whose time changed since the last sync (every 4 ms here) has more to write.
EVERY_S: Final = 0.005


def sync_us(folder: Path, count: int) -> np.ndarray:
    """Write and `fdatasync` a preallocated, zeroed file of that folder; µs of each: float64[n]."""
    path = folder / "sync-floor.tmp"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    spent = np.zeros(count)
    try:
        os.posix_fallocate(handle, 0, FILE_BYTES)
        os.pwrite(handle, bytes(FILE_BYTES), 0)
        os.fsync(handle)
        data = bytes(range(SYNC_BYTES))
        for place in range(count):
            time.sleep(EVERY_S)  # idle: each is asked of a disk and sockets that rest
            begun = time.perf_counter_ns()
            os.pwrite(handle, data, place * SYNC_BYTES % (FILE_BYTES - SYNC_BYTES))
            os.fdatasync(handle)
            spent[place] = time.perf_counter_ns() - begun
    finally:
        os.close(handle)
        path.unlink()
    return spent / 1000


def round_trip_us(count: int) -> np.ndarray:
    """Send a bid's bytes and get a fill's bytes back, one at a time; µs of each: float64[n]."""
    server_public, server_secret = new_keypair()
    fine_timers()
    with subprocess.Popen(
        own_process("bench.path_floors", "echo"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "CURB_FLOOR_SECRET": server_secret},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdin is not None
        address = child.stdout.readline().strip()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        public, secret = new_keypair()
        link = ClientLink(context, address, server_public, public, secret)
        while not link.writable:
            link.socket.poll(10, zmq.POLLOUT)
        spent = np.zeros(count)
        request = bytes(REQUEST_BYTES)
        for place in range(count):
            time.sleep(EVERY_S)  # idle: each is asked of a disk and sockets that rest
            begun = time.perf_counter_ns()
            link.send(request)
            link.wait(1000)
            (reply,) = link.drain()
            spent[place] = time.perf_counter_ns() - begun
            assert len(reply.buffer) == REPLY_BYTES
        link.close()
        context.term()
        child.stdin.close()
    return spent / 1000


def echo() -> int:
    """Send back whatever comes, until standard input ends."""
    secret = os.environ["CURB_FLOOR_SECRET"]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    door = Doorkeeper(context, lambda _: True)
    link = ServerLink(context, "tcp://127.0.0.1:0", secret, door)
    print(link.address, flush=True)
    poller = zmq.Poller()
    poller.register(door.socket, zmq.POLLIN)
    poller.register(link.socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    reply = bytes(REPLY_BYTES)
    while True:
        ready = dict(poller.poll())
        if door.socket in ready:
            door.serve()
        if sys.stdin.fileno() in ready:
            return 0
        for peer, _ in link.drain():
            link.send(peer, reply)
