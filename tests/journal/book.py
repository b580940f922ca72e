"""What a test knows of a journal by its own account, and the word for comparing the two."""

import random
from dataclasses import dataclass, field

from exchange.journal import DurablePage, JournalReader, JournalWriter, Kind, Storage, recover

MARKET = 0xC0FFEE
LENGTHS = (0, 1, 7, 8, 64, 700)
SEGMENT_BYTES = 4096  # A few dozen records fill it, so rolls, pads and recycling are common.


@dataclass
class Book:
    """Records as they were appended: (position, seq, count, payload), and how many were committed."""

    written: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    committed: int = 0

    def append(
        self, writer: JournalWriter, rng: random.Random, *, lengths: tuple[int, ...] = LENGTHS
    ) -> None:
        """Append one random record: any kind, a length up to one of `lengths`, 0 to 5 commands."""
        payload = rng.randbytes(rng.randint(0, rng.choice(lengths)))
        seq, count = writer.next_seq, rng.randrange(6)
        position = writer.append(
            rng.choice([Kind.FRAME, Kind.RARE, Kind.NOTE]),
            payload,
            seq=seq,
            count=count,
            agent=rng.randrange(4096),
            epoch=rng.randrange(2**32),
            message=rng.randrange(2**64),
            at_ns=rng.randrange(2**62),
        )
        self.written.append((position, seq, count, payload))

    def commit(self, writer: JournalWriter) -> None:
        """Commit, and note what may have been acknowledged."""
        writer.commit()
        self.committed = len(self.written)

    def forget(self, kept: int) -> None:
        """Go on after a restart that kept the first `kept` records, all of them durable."""
        del self.written[kept:]
        self.committed = kept


def start(
    storage: Storage,
    *,
    durable: int | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    page: DurablePage | None = None,
) -> JournalWriter:
    """Recover and write on, as the exchange does at every start."""
    recovered = recover(storage, MARKET, durable)
    return JournalWriter(storage, recovered, segment_bytes=segment_bytes, page=page)


def records(storage: Storage, upto: int, position: int = 0) -> list[tuple[int, int, int, bytes]]:
    """Read everything from `position` to `upto` in the form of `Book.written`."""
    reader = JournalReader(storage, position, market=MARKET)
    found = [(r.position, r.seq, r.count, bytes(r.payload)) for r in reader.read(upto)]
    reader.close()
    return found


def filled(
    storage: Storage,
    seed: int,
    *,
    until: int,
    segment_bytes: int,
    lengths: tuple[int, ...] = LENGTHS,
) -> Book:
    """Fill a new journal with committed random records until its end passes `until`."""
    rng, book = random.Random(seed), Book()
    writer = start(storage, segment_bytes=segment_bytes)
    while writer.end < until:
        book.append(writer, rng, lengths=lengths)
        if rng.random() < 0.3:
            book.commit(writer)
    book.commit(writer)
    writer.close()
    return book
