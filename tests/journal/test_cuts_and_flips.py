"""D3, D4: a journal cut or altered anywhere yields a prefix of what was written, never a guess."""

import random
from bisect import bisect_right
from itertools import pairwise

import pytest

from exchange.journal import JournalDamaged, JournalReader, recover, survey
from exchange.journal.recovery import Act
from exchange.journal.storage import segment_name
from tests.journal.book import MARKET, filled, records
from tests.journal.disk import SimulatedDisk

FIRST = segment_name(0)


def test_cut_at_every_byte_recovers_a_prefix():
    """64 KiB, records of 80 bytes to 8 KiB; nothing but the file tells how far it went."""
    size = 64 << 10
    disk = SimulatedDisk()
    book = filled(disk, 1, until=size, segment_bytes=2 * size, lengths=(8000,))
    data = disk.get(FIRST)[:size]
    starts = [w[0] for w in book.written]
    for cut in range(size + 1):
        disk.put(FIRST, data[:cut])
        disk.restart()
        found = survey(disk, MARKET)
        kept = bisect_right(starts, cut) - 1  # records wholly before the cut
        assert found.end == starts[kept], cut
        assert found.next_seq == book.written[kept][1], cut
        assert found.row.act is not Act.HALT, cut
        if cut % 251 == 0:
            recovered = recover(disk, MARKET)
            assert recovered.end_position == found.end
            assert records(disk, found.end) == book.written[:kept]


def test_a_cut_before_the_acknowledged_end_always_halts():
    """8 KiB of small records, every byte, with the durable page at hand: what it proves is not
    trimmed. Without the page the same cut is a torn tail, and a prefix is kept.
    """
    size = 8 << 10
    disk = SimulatedDisk()
    book = filled(disk, 2, until=size, segment_bytes=4 * size, lengths=(0, 8, 600))
    starts = [w[0] for w in book.written]
    end = survey(disk, MARKET).end
    data = disk.get(FIRST)
    for cut in range(end):
        disk.put(FIRST, data[:cut])
        found = survey(disk, MARKET, end)
        assert found.row.act is Act.HALT, cut
        assert found.end == starts[bisect_right(starts, cut) - 1], cut
        unproven = survey(disk, MARKET)
        assert unproven.row.act is not Act.HALT
        assert unproven.end == found.end


@pytest.mark.parametrize("size", [6 << 10, pytest.param(64 << 10, marks=pytest.mark.long)])
def test_no_flipped_bit_is_read_as_another_command(size):
    """Every bit, zeros of the padding included: the record that holds it is the place of the halt."""
    disk = SimulatedDisk()
    book = filled(disk, 3, until=size, segment_bytes=2 * size, lengths=(0, 7, 64, 900))
    end = survey(disk, MARKET).end
    data = bytearray(disk.get(FIRST))
    starts = [w[0] for w in book.written]
    inode = disk._folder[FIRST]
    for byte in range(end):
        holder = bisect_right(starts, byte) - 1
        for bit in range(8):
            inode.cache[byte] = data[byte] ^ (1 << bit)
            found = survey(disk, MARKET, end)
            assert found.end == starts[holder], (byte, bit)
            assert found.row.act is Act.HALT, (byte, bit)
            if byte % 197 == 0:
                reader = JournalReader(disk, market=MARKET)
                read: list[bytes] = []
                with pytest.raises(JournalDamaged) as caught:
                    read.extend(bytes(r.payload) for r in reader.read(end))
                assert caught.value.position == starts[holder]
                assert read == [w[3] for w in book.written[:holder]]
        inode.cache[byte] = data[byte]


def test_without_any_proof_a_flipped_bit_still_only_shortens():
    """A folder copied without its page: prefix or halt, by what later records say themselves."""
    size = 6 << 10
    disk = SimulatedDisk()
    book = filled(disk, 4, until=size, segment_bytes=2 * size)
    end = survey(disk, MARKET).end
    data = bytearray(disk.get(FIRST))
    rng = random.Random(4)
    starts = [w[0] for w in book.written]
    inode = disk._folder[FIRST]
    for _ in range(3000):
        byte, bit = rng.randrange(end), rng.randrange(8)
        inode.cache[byte] ^= 1 << bit
        found = survey(disk, None)
        assert found.end == starts[bisect_right(starts, byte) - 1]
        inode.cache[byte] = data[byte]


@pytest.mark.parametrize("block", [8, 80, 512, 4096])
def test_no_two_blocks_swapped_are_read_as_other_commands(block):
    """Both block 8-aligned, 600 pairs drawn; a misdirected write is such a swap halfway."""
    size = 32 << 10
    disk = SimulatedDisk()
    book = filled(disk, 5, until=size, segment_bytes=2 * size, lengths=(200,))
    end = survey(disk, MARKET).end
    data = disk.get(FIRST)
    starts = [w[0] for w in book.written]
    seed = block
    print(f"seed {seed}: pytest tests/journal -k 'blocks_swapped and {block}'")
    rng = random.Random(seed)
    for _ in range(600):
        a, b = sorted(rng.sample(range(end // block), 2))
        one, two = data[a * block : (a + 1) * block], data[b * block : (b + 1) * block]
        if one == two:
            continue
        both = rng.random() < 0.5
        mixed = bytearray(data)
        mixed[a * block : (a + 1) * block] = two
        if both:
            mixed[b * block : (b + 1) * block] = one
        disk.put(FIRST, bytes(mixed))
        changed = next(i for i in range(a * block, (a + 1) * block) if mixed[i] != data[i])
        found = survey(disk, MARKET, end)
        assert found.row.act is Act.HALT
        assert found.end == starts[bisect_right(starts, changed) - 1]


def test_a_record_in_anothers_place_is_refused_though_it_is_whole():
    """Equal sizes, so nothing but position and chain speaks against it."""
    disk = SimulatedDisk()
    book = filled(disk, 6, until=16 << 10, segment_bytes=32 << 10, lengths=(0,))
    end = survey(disk, MARKET).end
    data = disk.get(FIRST)
    starts = [w[0] for w in book.written]
    sizes: dict[int, list[int]] = {}
    for start, after in pairwise(starts):
        sizes.setdefault(after - start, []).append(start)
    swapped = 0
    for size, places in sizes.items():
        for one, two in pairwise(places):
            mixed = bytearray(data)
            mixed[one : one + size] = data[two : two + size]
            disk.put(FIRST, bytes(mixed))
            found = survey(disk, MARKET, end)
            assert found.end == one
            assert found.row.act is Act.HALT
            swapped += 1
    assert swapped > 50
