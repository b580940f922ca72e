"""What a site must not forget: its journal, cut anywhere, and on a disk that refuses."""

import asyncio
import os

import pytest

from ssp_adapters.site_proxy import journal as journal_module
from ssp_adapters.site_proxy.journal import JournalFailedError, SiteJournal

LATE = 10**18


def test_what_was_synced_is_known_in_the_next_life(tmp_path):
    async def main():
        path = tmp_path / "site.journal"
        journal = SiteJournal(path, 0)
        assert await journal.use(1, LATE)
        assert not await journal.use(1, LATE)
        assert await journal.use(2, LATE)
        assert await journal.use(3, LATE)
        await journal.complete(2, 10, 20, 30)
        await journal.decline(3, "failed")
        journal.void(9, LATE)
        journal.told(3, 0)
        journal.close()
        again = SiteJournal(path, 0)
        assert set(again.used) == {1, 2, 3}
        assert set(again.voided) == {9}
        assert set(again.owed) == {1, 2}
        assert again.owed[2].complete == (10, 20, 30)
        assert again.owed[1].complete is None
        again.close()
        third = SiteJournal(path, 0)  # rewritten twice, still the same
        assert (third.used, third.owed, third.voided) == (again.used, again.owed, again.voided)
        third.close()

    asyncio.run(main())


def test_a_cut_at_any_byte_is_a_prefix_and_never_a_guess(tmp_path):
    async def main():
        path = tmp_path / "whole"
        journal = SiteJournal(path, 0)
        for fill in (1, 2, 3):
            await journal.use(fill, LATE)
        journal.close()
        whole = path.read_bytes()
        ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
        for cut in range(len(whole) + 1):
            part = tmp_path / "part"
            part.write_bytes(whole[:cut])
            known = SiteJournal(part, 0)
            assert len(known.used) == sum(end <= cut for end in ends)
            known.close()
        flipped = bytearray(whole)
        flipped[ends[0] + 15] ^= 1
        path.write_bytes(flipped)
        known = SiteJournal(path, 0)
        assert set(known.used) == {1}
        known.close()

    asyncio.run(main())


def test_the_file_does_not_grow_with_uptime(tmp_path, monkeypatch):
    bytes_max = 64 << 10
    monkeypatch.setattr(journal_module, "BYTES_MAX", bytes_max)

    async def main():
        path = tmp_path / "site.journal"
        journal = SiteJournal(path, 0)
        for fill in range(1, 5_000):
            now_ns = fill * 10**7  # a hundred tokens are alive at a time
            journal._append(journal_module._Fact("use", fill, until_ns=now_ns + 10**9))
            journal.told(fill, now_ns)
        assert path.stat().st_size < bytes_max + 1_024
        assert await journal.use(10**6, LATE)  # a sync after a rewrite ends
        assert len(journal.used) < 1_000
        assert 4_999 in journal.used
        journal.close()

    asyncio.run(main())


def test_many_tokens_share_a_sync_and_each_waits_for_its_own(tmp_path, monkeypatch):
    syncs = []
    sync = os.fdatasync

    def counted(descriptor):
        syncs.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)

    async def main():
        journal = SiteJournal(tmp_path / "site.journal", 0)
        before = len(syncs)
        assert all(await asyncio.gather(*(journal.use(fill, LATE) for fill in range(50))))
        assert 1 <= len(syncs) - before <= 3
        journal.close()

    asyncio.run(main())


@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_a_disk_that_refuses_admits_nothing_more(tmp_path, monkeypatch, call):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    async def main():
        journal = SiteJournal(tmp_path / "site.journal", 0)
        monkeypatch.setattr(os, call, refuse)
        with pytest.raises(JournalFailedError, match="No space"):
            await journal.use(1, LATE)
        monkeypatch.undo()
        with pytest.raises(JournalFailedError, match="No space"):  # a failed sync is never retried
            await journal.use(2, LATE)
        journal.close()

    asyncio.run(main())
