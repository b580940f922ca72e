"""The follower as one object: start from a snapshot, take rounds of the journal, stop.

    journal ──▶ Collector (the core again) ──▶ batch ─┬─▶ event files ──▶ ledger writer
                                                      ├─▶ members' files ──▶ EventDoor
                                                      └─▶ tape, totals
Start and recovery are one path. A snapshot counts on event files and members' files up to its
position, so those are synced before it is written; what they hold beyond it is kept (events) or cut
off and made again (members), which comes to the same, all being functions of the journal.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from exchange import snapshots
from exchange.explaining import Explanations
from exchange.follower.aggregates import Aggregates
from exchange.follower.collect import Collector
from exchange.follower.event_files import Batch, EventWriter
from exchange.follower.member_files import MemberFiles, MemberFilesDamaged
from exchange.follower.redaction import ROLES, copies
from exchange.journal.reader import JournalReader
from exchange.journal.storage import FileStorage
from exchange.sealer import Sealer
from schemas.records import EVENT_TYPES
from schemas.token import TokenMaker

TOTALS_SUFFIX: Final = ".totals"
MEMBERS_FOLDER: Final = "members"
BYTES_PER_ROUND: Final = 4 << 20
EVENTS_PER_ROUND: Final = 16_384
MARK_EVERY_NS: Final = 250_000_000  # without events, how far we are is said so often

Progress = Callable[[str, int, int], None]


class Folders(NamedTuple):
    """Where a follower reads and writes."""

    journal: Path
    events: Path
    snapshots: Path


class Follower:
    """A market's second copy. `round` takes it forward; everything else asks it or saves it.

    `publish` is called with each new batch, once; after a restart not again for what was written
    before. `explanations` are made of flagged bids once its `following` is set. Raises JournalDamaged, JournalFailed and OSError; then start anew.
    """

    def __init__(
        self,
        folders: Folders,
        market_number: int,
        tokens: TokenMaker | Sealer,
        publish: Callable[[Batch], None],
        explain_per_second: int = 0,
    ) -> None:
        self._folders = folders
        self._number = market_number
        self._tokens = tokens
        self._publish = publish
        self.events = EventWriter(folders.events, market_number)
        self.members = MemberFiles(folders.events / MEMBERS_FOLDER, market_number)
        self.totals = Aggregates()
        started = self._start()
        self.market = started.market
        self.registry = started.registry
        self.snapshot_position = started.position
        self._snapshot_seq = started.market.seq
        self.explanations = Explanations(self.market, explain_per_second)
        self._collector = Collector(
            self.market,
            self.registry,
            started.position,
            self.market.seq + 1,
            self.explanations.watch,
        )
        self._storage = FileStorage(folders.journal, readonly=True)
        self._reader = JournalReader(
            self._storage,
            started.position,
            market=market_number,
            prior=started.prior,
        )
        self._marked_ns = 0

    @property
    def position(self) -> int:
        """Up to where the journal is applied."""
        return self._reader.position

    @property
    def next_seq(self) -> int:
        """The number of the next command."""
        return self._collector.next_seq

    def round(self, durable: int, now_ns: int) -> bool:
        """Apply what is durable, a few megabytes at most; tell whether there was anything."""
        begin = self.position
        # What was written before the last stop is applied, and not written a second time.
        again = begin < self.events.end
        upto = min(durable, self.events.end) if again else durable
        while (
            self.position < upto
            and self.position - begin < BYTES_PER_ROUND
            and self._collector.event_count < EVENTS_PER_ROUND
        ):
            bids = self._reader.bids(upto)
            if bids is not None:
                self._collector.add_bids(bids, self.position)
                continue
            record = next(self._reader.read(upto), None)
            if record is None:
                break
            self._collector.add(record)
        if self.position == begin:
            self._mark(now_ns)
            return False
        self._collector.position = self.position  # behind the padding too
        if again:
            batch = self._collector.take()
            self._derive(batch)
        elif self._collector.something:
            self._write(now_ns)
        else:
            self._mark(now_ns)
        return True

    def snapshot_due(self, every: int) -> bool:
        """Tell whether so many commands have been applied since the last snapshot."""
        return self.market.seq - self._snapshot_seq >= every

    def save(self, now_ns: int) -> Path | None:
        """Write a snapshot of here and now; None while what was written before is not reached."""
        if self.position < self.events.end:
            return None
        if self.events.end < self.position:
            self._write(now_ns)
        if self.position == self.snapshot_position:
            return None
        self.events.sync()
        self.members.sync()
        prior = self._reader.prior
        assert prior is not None
        self._save_totals(self._folders.snapshots / f"{self.position:020d}{TOTALS_SUFFIX}")
        path = snapshots.save(
            self._folders.snapshots, self._number, self.market, self.registry, self.position, prior
        )
        self.snapshot_position = self.position
        self._snapshot_seq = self.market.seq
        for totals in self._folders.snapshots.glob(f"*{TOTALS_SUFFIX}"):
            if not totals.with_suffix(snapshots.SUFFIX).exists():
                totals.unlink()
        return path

    def digest(self) -> dict[str, Any]:
        """Return the digest of the market here and now, and where that is."""
        return {"position": self.position, "seq": self.market.seq, "digest": self.market.digest()}

    def summary(self) -> dict[str, Any]:
        """Return the market's numbers for people and metrics; prices in pico-dollars per token."""
        counts = self.market.counts()
        by_type = dict(zip(EVENT_TYPES, self.totals.by_type, strict=True))
        name = self.market.names.name
        return {
            "market": self._number,
            "position": self.position,
            "seq": self.market.seq,
            "next_seq": self.next_seq,
            "at_ns": self.market.at_ns,
            "commands": self.market.seq,
            "auctions": counts["auctions"],
            "explained": self.explanations.made,
            "fills": by_type["fill"],
            "contested": self.totals.contested,
            "unfilled": by_type["unfilled"],
            "unfilled_by_reason": self.totals.unfilled_by_reason(),
            "rejected": by_type["rejected"],
            "rejected_by_reason": self.totals.rejected_by_reason(),
            "released": by_type["released"],
            "declined": by_type["declined"],
            "disputed": by_type["disputed"],
            "settled": by_type["settled"],
            "offers_live": counts["offers"],
            "resting_bids": counts["resting_bids"],
            "resting_units": counts["resting_units"],
            "open_fills": counts["open_fills"],
            "campaigns": counts["campaigns"],
            "operators": counts["operators"],
            "buyers": counts["buyers"],
            "sites": counts["sites"],
            "models": counts["models"],
            "median_price_by_band": self.totals.medians_by_band(),
            "median_price_by_country": self.totals.medians_by_country(),
            "median_price_by_jurisdiction": self.totals.medians_by_jurisdiction(),
            "revenue_nusd": {
                name("operator", operator): earned
                for operator, earned in sorted(self.totals.earned.items())
            },
            "volume_nusd": self.totals.volume,
            "fees_nusd": self.totals.fees,
            "withheld_nusd": self.totals.withheld,
            "snapshot_position": self.snapshot_position,
        }

    def catch_up(self, durable: int, progress: Progress, now_ns: int) -> None:
        """Apply all that is durable, saying how far it is."""
        while self.round(durable, now_ns):
            progress("replaying the journal", self.position, durable)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()
        self._storage.shut()
        self.events.close()
        self.members.close()

    # ------------------------------------------------------------------------- one batch
    def _write(self, now_ns: int) -> None:
        batch = self._collector.take()
        self.events.append(batch)
        self._derive(batch)
        self._publish(batch)
        self._marked_ns = now_ns

    def _derive(self, batch: Batch) -> None:
        for role in ROLES:
            self.members.append(role, copies(batch.events, role, self._tokens))
        self.totals.add(batch.events)

    def _mark(self, now_ns: int) -> None:
        """Say how far we are although nothing happened, so that nobody takes quiet for lag."""
        if self.events.end < self.position and now_ns - self._marked_ns >= MARK_EVERY_NS:
            self._write(now_ns)

    # ------------------------------------------------------------------------- start
    def _start(self) -> snapshots.Snapshot:
        """Return the newest snapshot that everything else is there for; else the empty market."""
        upto = self.events.end
        while True:
            found = snapshots.load_newest(self._folders.snapshots, self._number, upto)
            if found.path is None:
                self.members.rewind({})
                return found
            try:
                self._load_totals(found.path.with_suffix(TOTALS_SUFFIX))
            except (OSError, msgspec.MsgspecError, KeyError, ValueError, MemberFilesDamaged):
                upto = found.position - 1
            else:
                return found

    def _load_totals(self, path: Path) -> None:
        plain = msgspec.msgpack.decode(path.read_bytes())
        totals = Aggregates.restore(plain["totals"])
        self.members.rewind({(role, handle): count for role, handle, count in plain["members"]})
        self.totals = totals

    def _save_totals(self, path: Path) -> None:
        members = [(*owner, count) for owner, count in self.members.counts.items()]
        body = msgspec.msgpack.encode({"members": members, "totals": self.totals.plain()})
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
