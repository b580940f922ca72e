"""D1 with real processes and a real disk: every noted acknowledgement is found after `kill -9`."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exchange.journal import PAGE_NAME, DurablePage, FileStorage, JournalReader, recover
from tests.journal.book import MARKET

KILLS, KILLS_LONG = 10, 3000
ROOT = Path(__file__).parents[2]


def one_life(folder: Path, seed: int, acknowledged_bytes: int) -> list[tuple[int, int, bytes]]:
    """Run the process until it has said so many bytes, kill it, return all that it said."""
    command = [sys.executable, "-m", "tests.journal.acknowledge", str(folder), str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    heard = b""
    while len(heard) < acknowledged_bytes:
        more = os.read(process.stdout.fileno(), 1 << 16)
        assert more, f"seed {seed}: the process ended by itself"
        heard += more
    process.send_signal(signal.SIGKILL)
    heard += process.stdout.read()
    process.stdout.close()
    process.wait()
    # The pipe takes what fits; a line cut off at the end was not heard.
    lines = heard[: heard.rfind(b"\n")].decode().split("\n")
    noted = [line.split(" ") for line in lines]
    return [(int(p), int(s), bytes.fromhex(payload)) for p, s, payload in noted]


@pytest.mark.alone
@pytest.mark.timeout(7200)
def test_every_acknowledged_record_is_found_after_kill_9(tmp_path: Path, long):
    """One journal lives through all kills; each restart recovers it, with the page as it was left."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(KILLS_LONG if long else KILLS):
        # Up to some 300 rounds; the kill lands wherever the process has got to by then.
        noted = one_life(tmp_path, rng.randrange(2**32), rng.randrange(1, 200_000))
        page = DurablePage(tmp_path / PAGE_NAME)
        storage = FileStorage(tmp_path)
        durable, _ = page.read()
        recovered = recover(storage, MARKET, durable)
        assert recovered.end_position >= durable
        first = recovered.first_position
        reader = JournalReader(storage, first, market=MARKET)
        found = {r.position: (r.seq, bytes(r.payload)) for r in reader.read(recovered.end_position)}
        kept = [n for n in noted if n[0] >= first]
        assert kept
        for position, seq, payload in kept:
            assert found[position] == (seq, payload)
        # Numbers go on without a gap over every restart.
        numbers = [seq for seq, _ in found.values()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        reader.close()
        page.close()
        storage.shut()
