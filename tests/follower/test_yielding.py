"""Promises about giving way: the follower yields while it gets its share, and no longer."""

import os
import subprocess
import sys
import threading

import pytest

from exchange.follower.yielding import (
    ORDINARY_NS,
    WAITED_NS_MAX,
    WINDOW_NS,
    Share,
    enter,
    waited_ns,
)


@pytest.mark.parametrize(
    "window, waited, gives_way",
    [
        (WINDOW_NS, 0, True),
        (WINDOW_NS, WAITED_NS_MAX, True),
        (WINDOW_NS, WAITED_NS_MAX + 1, False),
        (3 * WINDOW_NS, 3 * WAITED_NS_MAX, True),
        (3 * WINDOW_NS, 3 * WAITED_NS_MAX + 1, False),
    ],
)
def test_who_stands_in_line_for_too_long_gives_way_no_more(window, waited, gives_way):
    share = Share(7, 5)
    assert not share.due(7 + WINDOW_NS - 1)
    assert share.due(7 + window)
    assert share.look(7 + window, 5 + waited) is gives_way


def test_it_gives_way_again_after_a_while_and_is_judged_anew():
    share = Share(0, 0)
    assert not share.look(WINDOW_NS, WINDOW_NS)
    assert not share.due(WINDOW_NS + ORDINARY_NS - 1)
    assert share.due(WINDOW_NS + ORDINARY_NS)
    # What it waited in an ordinary place does not count.
    assert share.look(WINDOW_NS + ORDINARY_NS, WINDOW_NS + ORDINARY_NS)
    assert not share.due(2 * WINDOW_NS + ORDINARY_NS - 1)
    assert share.look(2 * WINDOW_NS + ORDINARY_NS, WINDOW_NS + ORDINARY_NS + WAITED_NS_MAX)
    assert not share.look(3 * WINDOW_NS + ORDINARY_NS, 3 * WINDOW_NS + ORDINARY_NS)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the class is Linux's")
def test_only_a_process_whose_threads_may_come_back_goes():
    """In a process of its own: what it prints is the class of its two threads, there and back."""
    code = """if True:
        import os, threading
        from exchange.follower.yielding import ORDINARY_NS, WINDOW_NS, GivingWay
        done = threading.Event()
        threading.Thread(target=done.wait).start()
        def say():
            print(*(os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")))
        place = GivingWay(0)
        say()
        place._share and place.look(10 * WINDOW_NS)
        if place._share:
            place._share._waited_ns = -100 * WINDOW_NS
        place.look(20 * WINDOW_NS)
        say()
        place.look(20 * WINDOW_NS + ORDINARY_NS)
        say()
        done.set()
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [[int(word) for word in line.split()] for line in ran.stdout.splitlines()]
    ordinary = [os.SCHED_OTHER] * 2
    idle = [os.SCHED_IDLE] * 2
    assert said in ([idle, ordinary, idle], [ordinary] * 3)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the class is Linux's")
def test_a_thread_goes_and_comes_back_alone():
    found = {}

    def there_and_back():
        found["before"] = waited_ns()
        enter(gives_way=True)
        found["policy"] = os.sched_getscheduler(0)

    before = os.sched_getscheduler(0)
    thread = threading.Thread(target=there_and_back)
    thread.start()
    thread.join()
    assert found["policy"] == os.SCHED_IDLE
    assert found["before"] >= 0
    assert os.sched_getscheduler(0) == before
