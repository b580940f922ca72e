"""A process that acknowledges what it has committed, until it is killed: `… FOLDER SEED`.

Each line on standard output is `position seq payload-in-hex`, written only after the commit, in one
system call a round, as the exchange's answers are.
"""

import os
import random
import sys
from pathlib import Path

from exchange.journal import PAGE_NAME, DurablePage, FileStorage, JournalWriter, Kind, recover
from tests.journal.book import MARKET

SEGMENT_BYTES = 32 << 10  # Small, so that a kill also meets rolls and recycling.


def main(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    storage = FileStorage(folder)
    page = DurablePage(folder / PAGE_NAME, create=True)
    recovered = recover(storage, MARKET, page.read()[0])
    writer = JournalWriter(storage, recovered, segment_bytes=SEGMENT_BYTES, page=page)
    while True:
        said = []
        for _ in range(rng.choice([1, 1, 1, 30])):
            payload, seq = rng.randbytes(rng.randrange(300)), writer.next_seq
            position = writer.append(
                Kind.FRAME, payload, seq=seq, count=1, agent=7, epoch=1, message=seq, at_ns=seq
            )
            said.append(f"{position} {seq} {payload.hex()}\n")
        writer.commit()
        os.write(1, "".join(said).encode())
        # Only what the test has noted may go: it asks for records of the last 40 KiB.
        writer.recycle(max(0, writer.durable - (96 << 10)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
