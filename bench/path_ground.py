"""The data folder that the whole path is measured on: everybody enrolled, the market registered.

Written as a journal, by the exchange's own sequencer and writer, so that the exchange and the
follower start on it as after any stop. Offers and bids come over the wire. What differs from `W`:
leases of a minute, since the wire takes none below three seconds, and slots up to the limit, so that
fills which nobody ends do not sell the market out within the run.
"""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct

from bench import workload
from exchange import identity, notes, ports
from exchange.config import Config, FollowerSettings
from exchange.identity import Identity
from exchange.journal.page import PAGE_NAME, DurablePage
from exchange.journal.recovery import recover
from exchange.journal.storage import FileStorage
from exchange.journal.writer import JournalWriter
from exchange.ports import Addresses
from exchange.sequencer import Sequencer
from schemas import limits, records
from schemas.link import new_keypair

UNITS_PER_SECOND: Final = 2**31  # as fast as it can: the rate is not what is measured
LEASE_US: Final = limits.TTL_US_MAX
COMMIT_EVERY: Final = 500  # records of the journal
# Beyond the run. The public book of 100,000 (site, model) pairs in 200 metros takes the follower
# seconds of a core, a snapshot of a million open fills as well: neither is on the path.
PUT_OFF: Final = 10**12
_BATCH: Final = limits.RECORDS_PER_FRAME_MAX


class Member(Struct, frozen=True, kw_only=True):
    """One enrolled agent: whose it is, its key, and (operators) handles of its sites."""

    handle: int
    public: str
    secret: str
    sites: tuple[int, ...] = ()


class Ground(Struct, frozen=True, kw_only=True):
    """What a driver must know; `folder` is the data folder."""

    folder: str
    server_key: str
    addresses: Addresses
    buyers: tuple[Member, ...]
    operators: tuple[Member, ...]


def settings(folder: Path) -> Config:
    """Return the configuration of the processes."""
    follower = FollowerSettings(snapshot_every=PUT_OFF, book_every_us=PUT_OFF)
    return Config(data=folder, follower=follower)


def environment() -> dict[str, str]:
    """Return the same settings as the variables that the processes read."""
    return {
        "CURB_FOLLOWER__SNAPSHOT_EVERY": str(PUT_OFF),
        "CURB_FOLLOWER__BOOK_EVERY_US": str(PUT_OFF),
    }


def prepare(folder: Path, world: workload.Workload) -> Ground:
    """Write the folder; returns who may connect where."""
    config = settings(folder)
    keys = identity.prepare(config)
    addresses = ports.resolve(config)
    buyers = tuple(_member(n) for n in range(1, workload.BUYERS + 1))
    owner = world.sites["operator"]
    operators = tuple(
        _member(n, tuple((1 + np.flatnonzero(owner == n)).tolist()))
        for n in range(1, workload.OPERATORS + 1)
    )
    _write_journal(config, keys, world, buyers, operators)
    return Ground(
        folder=str(folder), server_key=keys.server.public, addresses=addresses, buyers=buyers,
        operators=tuple(member for member in operators if member.sites),
    )  # fmt: skip


def offers_of(world: workload.Workload) -> np.ndarray:
    """Return the offers of `W` with slots up to the limit."""
    offers = world.offers.copy()
    rng = np.random.default_rng(workload.SEED)
    offers["slots"] = rng.integers(1, limits.SLOTS_MAX + 1, len(offers))
    offers["ttl_us"] = limits.TTL_US_MAX
    return offers


def bids_of(world: workload.Workload) -> list[np.ndarray]:
    """Return the bids of `W` by buyer, with leases as long as the wire allows."""
    made: list[list[np.ndarray]] = [[] for _ in range(workload.BUYERS)]
    for buyer, batch in world.bids:
        leased = batch.copy()
        leased["lease_us"] = LEASE_US
        made[buyer - 1].append(leased)
    return [np.concatenate(batches) for batches in made]


def _member(handle: int, sites: tuple[int, ...] = ()) -> Member:
    public, secret = new_keypair()
    return Member(handle=handle, public=public, secret=secret, sites=sites)


def _write_journal(
    config: Config, keys: Identity, world: workload.Workload, buyers: tuple[Member, ...],
    operators: tuple[Member, ...],
) -> None:  # fmt: skip
    storage = FileStorage(config.journal_folder)
    page = DurablePage(config.journal_folder / PAGE_NAME, create=True)
    recovered = recover(storage, keys.market)
    writer = JournalWriter(storage, recovered, page=page)
    sequencer = Sequencer(writer, next_seq=recovered.next_seq, last_at_ns=0)
    sequencer.begin(time.time_ns())
    said = 0

    def commit(every: int = COMMIT_EVERY) -> None:
        nonlocal said
        said += 1
        if said % every == 0:
            sequencer.commit()

    for index, (role, member) in enumerate(_agents(keys, buyers, operators), start=1):
        named: dict[str, Any] = {"member": role, "number": 0, "public_key": member.public}
        if member.handle:
            named["member"] = f"{role[0]}{member.handle}"
            named["sites"] = tuple(f"s{site}" for site in member.sites)
            named["units_per_second"] = UNITS_PER_SECOND
        sequencer.note(notes.AgentNote(agent_index=index, role=role, **named), 0, 0, 0)
        commit()
    for command in (*world.reference, *world.campaigns):
        sequencer.rare(command, 0, 0, 0)
        commit()
    for metro, row in enumerate(world.rtt_us):
        batch = np.zeros(len(row), records.RTT_RECORD)
        batch["site"] = np.arange(1, len(row) + 1)
        batch["metro"] = metro + 1
        batch["p99_us"] = row
        for first in range(0, len(row), _BATCH):
            sequencer.frame(records.RTT, batch[first : first + _BATCH], 0, 0, 0)
            commit()
    sequencer.commit()
    writer.close()
    page.close()
    storage.shut()


def _agents(
    keys: Identity, buyers: tuple[Member, ...], operators: tuple[Member, ...]
) -> list[tuple[str, Member]]:
    host = [
        (role, Member(handle=0, public=pair.public, secret=""))
        for role, pair in (("admin", keys.admin), ("verifier", keys.verifier))
    ]
    members = [("buyer", member) for member in buyers]
    members += [("operator", member) for member in operators]
    return host + members
