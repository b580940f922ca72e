"""The durable page is readable at every instant, and never says more than was published."""

import subprocess
import sys
from pathlib import Path

import pytest

from exchange.journal import DurablePage
from exchange.journal.page import PAGE_BYTES


def test_what_is_published_is_read_by_another_mapping(tmp_path: Path):
    one = DurablePage(tmp_path / "p", create=True)
    two = DurablePage(tmp_path / "p")
    assert two.read() == (0, 0)
    for n in range(1, 1000):
        one.publish(8 * n, n)
        assert two.read() == (8 * n, n)


def test_a_page_outlives_its_process(tmp_path: Path):
    one = DurablePage(tmp_path / "p", create=True)
    one.publish(4096, 17)
    one.counters[3] = 5
    one.close()
    two = DurablePage(tmp_path / "p", create=True)
    assert two.read() == (4096, 17)
    assert two.counters[3] == 5
    two.publish(8192, 18)
    assert two.read() == (8192, 18)


def test_a_page_torn_at_any_byte_says_the_round_before_or_the_round_itself(tmp_path: Path):
    """Every cut between two images of the page: killed in the middle, or written back in part."""
    path = tmp_path / "p"
    page = DurablePage(path, create=True)
    page.publish(100 * 8, 100)
    page.publish(101 * 8, 101)
    before = path.read_bytes()
    page.publish(102 * 8, 102)
    after = path.read_bytes()
    page.close()
    met = set()
    for cut in [*range(560), PAGE_BYTES]:
        for torn in (after[:cut] + before[cut:], before[:cut] + after[cut:]):
            path.write_bytes(torn)
            page = DurablePage(path)
            met.add(page.read())
            page.close()
    assert met == {(101 * 8, 101), (102 * 8, 102)}


def test_a_spoilt_page_says_nothing_rather_than_something(tmp_path: Path):
    path = tmp_path / "p"
    page = DurablePage(path, create=True)
    page.publish(800, 1)
    page.publish(1600, 2)
    page.close()
    whole = path.read_bytes()
    for byte in (*range(32), *range(512, 544)):
        for bit in range(8):
            spoilt = bytearray(whole)
            spoilt[byte] ^= 1 << bit
            path.write_bytes(spoilt)
            page = DurablePage(path)
            assert page.read() in {(800, 1), (1600, 2)}
            page.close()


def test_a_file_that_is_no_page_is_refused_or_made_anew(tmp_path: Path):
    path = tmp_path / "p"
    with pytest.raises(FileNotFoundError):
        DurablePage(path)
    for content in (b"", b"x" * 100, b"\xff" * PAGE_BYTES):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a durable page"):
            DurablePage(path)
        page = DurablePage(path, create=True)
        assert page.read() == (0, 0)
        assert not page.counters.any()
        page.publish(8, 1)
        assert page.read() == (8, 1)
        page.close()


WRITER = """
import sys
from exchange.journal import DurablePage
page = DurablePage(sys.argv[1])
n = 0
while True:
    n += 1
    page.publish(n * 8, n)
"""


def test_a_reader_beside_a_racing_writer_never_sees_half_a_round(tmp_path: Path):
    page = DurablePage(tmp_path / "p", create=True)
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "p")])
    try:
        last = changes = 0
        while changes < 2000:
            durable, number = page.read()
            assert durable == 8 * number
            assert number >= last
            changes += number != last
            last = number
    finally:
        process.kill()
        process.wait()
    assert page.read()[0] == 8 * page.read()[1]
