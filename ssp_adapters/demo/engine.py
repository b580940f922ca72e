"""A simulated engine: serves the fills of a fleet by the figures of its offers (pure; time is fed).

A request reaches the site a moment after its fill, starts, takes ttft + tokens_in × prefill + tokens_out
÷ speed as its offer stated, and is metered as declared. What a buyer gave back in time is not served.
"""

import heapq
from typing import Final

from ssp_adapters.serving import Done, Job

_NS_PER_US: Final = 1_000
_NS_PER_S: Final = 1_000_000_000
_REACH_NS: Final = 50_000_000  # from the fill to its request at the site
_SPEED_UNKNOWN: Final = 50  # tokens per second, of an offer that states none


class SimulatedEngine:
    """All engines of one operator. `due` says what happened up to a moment.

    With a `speed` of n a request takes an n-th of its time: a market whose hour passes in a minute
    must also see its requests end.
    """

    def __init__(self, reach_ns: int = _REACH_NS, speed: int = 1) -> None:
        self._reach_ns = reach_ns
        self._speed = speed
        self._starts: list[tuple[int, int]] = []
        self._ends: list[tuple[int, int]] = []
        self._jobs: dict[int, Job] = {}
        self._running: set[int] = set()

    def take(self, job: Job, now_ns: int) -> None:
        """Expect the request of a fill. A fill told twice is served once."""
        if job.fill not in self._jobs:
            self._jobs[job.fill] = job
            heapq.heappush(self._starts, (now_ns + self._reach_ns, job.fill))

    def drop(self, fill: int) -> None:
        """Forget a fill that has not started: given back, or its start was rejected."""
        if fill not in self._running:
            self._jobs.pop(fill, None)

    def abort(self, fill: int) -> None:
        """Stop a fill's request wherever it is."""
        self._running.discard(fill)
        self._jobs.pop(fill, None)

    @property
    def running(self) -> int:
        """How many requests run now."""
        return len(self._running)

    @property
    def next_ns(self) -> int | None:
        """When `due` next has something to tell."""
        times = [heap[0][0] for heap in (self._starts, self._ends) if heap]
        return min(times, default=None)

    def due(self, now_ns: int) -> tuple[list[int], list[Done]]:
        """Return the fills that started and the requests that ended, up to now, in order of time."""
        started: list[int] = []
        while self._starts and self._starts[0][0] <= now_ns:
            at_ns, fill = heapq.heappop(self._starts)
            job = self._jobs.get(fill)
            if job is None:
                continue
            self._running.add(fill)
            started.append(fill)
            heapq.heappush(self._ends, (at_ns + service_ns(job) // self._speed, fill))
        done: list[Done] = []
        while self._ends and self._ends[0][0] <= now_ns:
            _, fill = heapq.heappop(self._ends)
            job = self._jobs.pop(fill, None)
            if job is None or fill not in self._running:
                continue
            self._running.discard(fill)
            done.append(Done(fill, job.tokens_in, job.tokens_out, first_token_us(job)))
        return started, done


def first_token_us(job: Job) -> int:
    """Return the time to the first token at the site."""
    return job.ttft_us + job.tokens_in * job.prefill_ns_per_token // _NS_PER_US


def service_ns(job: Job) -> int:
    """Return how long a request holds its slot."""
    speed = job.tokens_per_second or _SPEED_UNKNOWN
    return first_token_us(job) * _NS_PER_US + job.tokens_out * _NS_PER_S // speed
