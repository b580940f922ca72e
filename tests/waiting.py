"""Waiting for a condition in another process or thread, with a bound; the only sleeps in the tests."""

import asyncio
import time

STEP_S = 0.01


def until(condition, within_s=10.0):
    """Return the condition's first true value; fail the test when none came within the bound."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within_s} s: {condition}"
        time.sleep(STEP_S)
    return value


async def until_async(condition, within_s=10.0):
    """As `until`, leaving the loop to others meanwhile."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within_s} s: {condition}"
        await asyncio.sleep(STEP_S)
    return value
