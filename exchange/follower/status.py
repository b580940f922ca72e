"""Metrics, health and numbers over HTTP: /metrics, /healthz, /readyz, /summary.json, /digest.

The listener has a thread of its own and shows what the follower's loop last laid out (`show`); only
a digest is asked of the loop, for the market may not change while it is taken. Plain HTTP, hence
only on a loopback address or a Unix socket: anywhere else it refuses to start.
"""

import ipaddress
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from exchange import counters

DIGEST_S_MAX: Final = 30.0
REQUEST_S_MAX: Final = 5.0
STALE_S: Final = 5.0  # a loop that has laid nothing out for so long is not healthy
_JSON: Final = "application/json"

# Gauges and counters of the summary, with their words for whoever reads /metrics.
_COUNTERS: Final = {
    "commands": "Commands applied",
    "auctions": "Auctions held",
    "explained": "Flagged bids explained",
    "fills": "Slots sold",
    "contested": "Fills whose price a rival set",
    "released": "Fills whose lease ended unused",
    "declined": "Fills the operator declined",
    "disputed": "Fills whose figures differed beyond the tolerance",
    "settled": "Fills settled",
    "volume_nusd": "Sum of the prices of fills, in nano-dollars",
    "fees_nusd": "What the exchange earned, in nano-dollars",
    "withheld_nusd": "What buyers paid and nobody in the fill earned, in nano-dollars",
}
_GAUGES: Final = {
    "offers_live": "Offers that stand",
    "resting_units": "Units of bids at rest",
    "open_fills": "Fills that have not ended",
    "campaigns": "Campaigns that stand",
    "subscribers": "Agents subscribed to private events",
    "lag_bytes": "Durable bytes of the journal that the follower has not read",
    "lag_commands": "Commands of the journal that the follower has not applied",
    "ledger_lag_bytes": "Bytes of the journal that are not in the ledger",
    "ledger_lag_commands": "Commands that are not in the ledger",
    "ledger_following": "1 while the ledger writer is connected and writing",
    "snapshot_position": "Position of the newest snapshot",
}
_BY_REASON: Final = {
    "unfilled_by_reason": ("unfilled", "Bids that ended unfilled"),
    "rejected_by_reason": ("rejected", "Commands rejected by the market"),
}
# Of the exchange's own counters these may fall; the others only rise.
_EXCHANGE_GAUGES: Final = frozenset({"ready", "sessions", "sync_ns_max", "round_ns_max"})


class HttpRefused(Exception):
    """The address would be plain HTTP beyond this machine."""


class Exposed(Collector):
    """Turns the summary and the exchange's counters into Prometheus metrics, at each scrape."""

    def __init__(self, summary: Callable[[], dict[str, Any]], page: Callable[[], Any]) -> None:
        self._summary = summary
        self._page = page

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics as they are now."""
        summary = self._summary()
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"curb_{name}", text, value=summary.get(name, 0))
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"curb_{name}", text, value=summary.get(name, 0))
        for field, (name, text) in _BY_REASON.items():
            family = CounterMetricFamily(f"curb_{name}", text, labels=["reason"])
            for reason, count in summary.get(field, {}).items():
                family.add_metric([reason], count)
            yield family
        page = self._page()
        if page is not None:
            yield from _exchange_metrics(page)


def _exchange_metrics(page: NDArray[np.uint64]) -> Iterable[Metric]:
    for name, place in counters.NAMES.items():
        kind = GaugeMetricFamily if name in _EXCHANGE_GAUGES else CounterMetricFamily
        yield kind(f"curb_exchange_{name}", f"Exchange process: {name}", value=int(page[place]))
    for name, at, count, total in (
        ("sync_seconds", counters.SYNC_NS_BUCKETS, counters.BUCKETS, counters.SYNC_NS_SUM),
        ("round_seconds", counters.ROUND_NS_BUCKETS, counters.BUCKETS, counters.ROUND_NS_SUM),
    ):
        bounds = [str(2 ** (10 + bucket) / 1e9) for bucket in range(count)]
        yield _histogram(name, page[at : at + count], bounds, int(page[total]) / 1e9)
    at, count = counters.ROUND_RECORDS_BUCKETS, counters.RECORDS_BUCKETS
    bounds = [str(2**bucket) for bucket in range(count)]
    total = int(page[counters.RECORDS])
    yield _histogram("round_records", page[at : at + count], bounds, total)


def _histogram(name: str, page: NDArray[np.uint64], bounds: list[str], total: float) -> Metric:
    # The last bucket also holds everything above: its bound is infinity.
    cumulative = np.cumsum(page).tolist()
    buckets = list(zip([*bounds[:-1], "+Inf"], map(float, cumulative), strict=True))
    return HistogramMetricFamily(
        f"curb_exchange_{name}", f"Exchange process: {name}", buckets=buckets, sum_value=total
    )


class StatusServer:
    """The listener. `show` lays out what it answers, from the loop; `digests` are asked of the loop.

    Raises:
        HttpRefused: `bind` is neither loopback nor `unix:PATH`.
        OSError: it cannot listen there.
    """

    def __init__(self, bind: str, page: Callable[[], Any], clock_s: Callable[[], float]) -> None:
        self.digests: queue.SimpleQueue[queue.SimpleQueue[dict[str, Any]]] = queue.SimpleQueue()
        self._summary: dict[str, Any] = {}
        self._ready = False
        self._shown_s = clock_s()
        self._clock_s = clock_s
        self._metrics = CollectorRegistry(auto_describe=False)
        self._metrics.register(Exposed(lambda: self._summary, page))
        self._server = _listen(bind, self._answer)
        self.address = _address(self._server, bind)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def show(self, summary: dict[str, Any], *, ready: bool) -> None:
        """Lay out what is answered from now on; the dictionary is not changed afterwards."""
        self._summary = summary
        self._ready = ready
        self._shown_s = self._clock_s()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        alive = self._clock_s() - self._shown_s < STALE_S
        match path:
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self._metrics)
            case "/healthz":
                return 200 if alive else 503, _JSON, _encode({"alive": alive})
            case "/readyz":
                ready = alive and self._ready
                return 200 if ready else 503, _JSON, _encode({"ready": ready} | self._brief())
            case "/summary.json":
                return 200, _JSON, _encode(self._summary)
            case "/digest":
                answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
                self.digests.put(answer)
                try:
                    return 200, _JSON, _encode(answer.get(timeout=DIGEST_S_MAX))
                except queue.Empty:
                    return 503, _JSON, _encode({"error": "the loop did not answer"})
        return 404, _JSON, _encode({"error": "no such page"})

    def _brief(self) -> dict[str, Any]:
        names = ("position", "next_seq", "lag_bytes", "ledger_state", "ledger_lag_bytes")
        return {name: self._summary[name] for name in names if name in self._summary}


def _encode(value: Any) -> bytes:
    # Not msgspec: a sum of money may have more than 64 bits.
    return json.dumps(value).encode() + b"\n"


def _listen(bind: str, answer: Callable[[str], tuple[int, str, bytes]]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S_MAX
        server_version = "curb"
        sys_version = ""

        def do_GET(self) -> None:
            code, kind, body = answer(self.path.partition("?")[0])
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "local"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its own name
            """Say nothing: a scrape every few seconds is no event."""

    if bind.startswith("unix:"):
        path = Path(bind.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        return _UnixServer(str(path), Handler)
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    if not _is_loopback(host):
        raise HttpRefused(
            f"http_bind {bind}: plain HTTP is for loopback addresses and unix:PATH; put a proxy with "
            "TLS before it"
        )
    return ThreadingHTTPServer((host, int(port)), Handler)


class _UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(path, handler)  # type: ignore[arg-type]  # a path is AF_UNIX's address

    def server_bind(self) -> None:
        """Bind without asking for a host name: a path has none."""
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(server: ThreadingHTTPServer, bind: str) -> str:
    if bind.startswith("unix:"):
        return bind
    return f"{bind.rpartition(':')[0]}:{server.server_address[1]}"
