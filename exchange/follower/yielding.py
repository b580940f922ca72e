"""The follower gives way: it runs when nobody else on the machine wants to, as long as that is enough.

An idle-class thread counts as no thread at all where the system looks for a core that is free, so the
exchange and whoever it serves wake up at once where the follower was computing. What it does with its
share of a full machine must not be nothing, though: members read their events here. So the share is
watched, and a follower that is kept waiting takes an ordinary, low place for a while.

    idle class ──── stood in line for three quarters of a second ───▶ ordinary
        ▲                                                                 │
        └──────────────────────── ten seconds later ──────────────────────┘
"""

import os
import threading
from pathlib import Path
from typing import Final

WINDOW_NS: Final = 1_000_000_000
WAITED_NS_MAX: Final = 750_000_000  # of a window
ORDINARY_NS: Final = 10_000_000_000
_TASKS: Final = Path("/proc/self/task")
_SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")  # ran, stood in line: ns; and how often


class Share:
    """Decides between the two, fed the time and for how long the thread has stood in line in all."""

    def __init__(self, now_ns: int, waited_ns: int) -> None:
        self.gives_way = True
        self._begin_ns, self._waited_ns = now_ns, waited_ns

    def due(self, now_ns: int) -> bool:
        """Tell whether it is time to look again."""
        return now_ns - self._begin_ns >= (WINDOW_NS if self.gives_way else ORDINARY_NS)

    def look(self, now_ns: int, waited_ns: int) -> bool:
        """Tell, when that is due, whether to give way from now on."""
        window_ns = now_ns - self._begin_ns
        waited = waited_ns - self._waited_ns
        # A window may be longer than a second, above all when the thread was kept from looking.
        self.gives_way = not (self.gives_way and waited * WINDOW_NS > WAITED_NS_MAX * window_ns)
        self._begin_ns, self._waited_ns = now_ns, waited_ns
        return self.gives_way


class GivingWay:
    """The place of all threads that this process has; the calling one is watched for them.

    Does nothing where a thread could not come back from the idle class.
    """

    def __init__(self, now_ns: int) -> None:
        self._share: Share | None = None
        if _may_return():
            enter(_TASKS, gives_way=True)
            self._share = Share(now_ns, waited_ns())

    def look(self, now_ns: int) -> None:
        """Take another place when it is time to."""
        share = self._share
        if share is not None and share.due(now_ns):
            before = share.gives_way
            if share.look(now_ns, waited_ns()) != before:
                enter(_TASKS, gives_way=not before)


def waited_ns() -> int:
    """Return for how long the calling thread has stood in line for a core; raises OSError, ValueError."""
    return int(_SCHEDSTAT.read_text("ascii").split()[1])


def _may_return() -> bool:
    """Tell whether a thread of this process may leave the idle class again: not everybody's may."""
    found = []

    def there_and_back() -> None:
        try:
            enter(gives_way=True)
            enter(gives_way=False)
            waited_ns()
        except (AttributeError, IndexError, OSError, ValueError):
            return  # a system without the class or the count, or a right that we have not
        found.append(True)

    thread = threading.Thread(target=there_and_back)
    thread.start()
    thread.join()
    return bool(found)


def enter(tasks: Path | None = None, *, gives_way: bool) -> None:
    """Put threads (None: the calling one) into the idle class or back; raises OSError where refused."""
    policy = os.SCHED_IDLE if gives_way else os.SCHED_OTHER
    threads = [0] if tasks is None else [int(path.name) for path in tasks.iterdir()]
    for thread in threads:
        try:
            os.sched_setscheduler(thread, policy, os.sched_param(0))
        except ProcessLookupError:
            continue  # it ended meanwhile
