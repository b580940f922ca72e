"""The sync floor: what this disk takes to make one small record durable, with nothing else around."""

import os
import statistics
import time
from pathlib import Path
from typing import Final

SYNCS: Final = 64
RECORD_BYTES: Final = 4096


def sync_floor_us(folder: Path) -> int:
    """Return the median of writing 4 KiB and syncing it into a preallocated file, in µs."""
    path = folder / "floor.tmp"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        record = bytes(RECORD_BYTES)
        os.pwrite(handle, record * SYNCS, 0)
        os.fsync(handle)
        took = []
        for number in range(SYNCS):
            started = time.perf_counter_ns()
            os.pwrite(handle, record, number * RECORD_BYTES)
            os.fdatasync(handle)
            took.append(time.perf_counter_ns() - started)
    finally:
        os.close(handle)
        path.unlink()
    return round(statistics.median(took) / 1_000)
