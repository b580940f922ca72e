"""The kernels as plain Python, and with every index checked (STYLE.md, Determinism).

Each runs in a process of its own, because Numba reads its switches once, and with a cache of its own,
because a warm cache is used unchecked.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MARKET_FILES = """
from matching_core.market import Market
from matching_core.reference import ReferenceMarket
from tests.market.generator import commands
for seed in range({first}, {last}):
    market, reference = Market(), ReferenceMarket()
    for command in commands(seed, {count}):
        assert market.apply_command(command) == reference.apply(command), (seed, command)
    market.audit()
    assert market.digest() == reference.digest(), seed
print("equal")
"""

PLANTED = """
import numpy as np
from matching_core.jit import kernel, table

@kernel
def read(s, row):
    return table(s, 0, 4)[row, 3]

rows = np.arange(12, dtype=np.int64).reshape(3, 4)
s = np.array([rows.ctypes.data, 3], np.int64)
assert read(s, 2) == 11
try:
    read(s, 3)
except IndexError:
    print("caught")
"""


def run(program, cache, **switches):
    script = cache / "program.py"  # Numba caches only what stands in a file
    script.write_text(program)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)} | switches
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


def test_without_compilation_the_kernels_do_the_same(tmp_path):
    program = MARKET_FILES.format(first=500, last=504, count=160)
    done = run(program, tmp_path, NUMBA_DISABLE_JIT="1")
    assert done.stdout == "equal\n", done.stderr


def test_an_index_out_of_bounds_is_caught_where_it_is_looked_for(tmp_path):
    """A planted kernel reads one row too far of a table made as all tables are made."""
    done = run(PLANTED, tmp_path, NUMBA_BOUNDSCHECK="1")
    assert done.stdout == "caught\n", done.stderr


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_kernel_leaves_its_tables(tmp_path):
    """Every index of every kernel checked, over market files that reach every command and ending."""
    program = MARKET_FILES.format(first=600, last=640, count=300)
    done = run(program, tmp_path, NUMBA_BOUNDSCHECK="1")
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.long
@pytest.mark.timeout(900)
def test_without_compilation_many_market_files_give_the_same(tmp_path):
    program = MARKET_FILES.format(first=700, last=740, count=300)
    done = run(program, tmp_path, NUMBA_DISABLE_JIT="1")
    assert done.stdout == "equal\n", done.stderr
