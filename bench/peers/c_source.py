"""Compile a peer's C for this machine, at bench time, into a folder that goes with the process."""

import atexit
import ctypes
import functools
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.peers.book import Array

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")


class Skipped(Exception):
    """A peer cannot run here; the message says why."""


@functools.cache
def _folder() -> Path:
    made = tempfile.mkdtemp(prefix="curb-bench-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def compiler() -> str:
    """Return the path of a C compiler; Skipped when there is none."""
    for name in ("gcc", "cc", "clang"):
        found = shutil.which(name)
        if found:
            return found
    raise Skipped("no C compiler: gcc, cc or clang")


@functools.cache
def build(source: str, header: str = "") -> ctypes.CDLL:
    """Compile `source`, a file beside this module, with `header` before it, and load it."""
    path = Path(__file__).with_name(source)
    text = f'{header}\n#line 1 "{source}"\n{path.read_text()}'
    code = _folder() / source
    code.write_text(text)
    library = code.with_suffix(".so")
    done = subprocess.run(
        [compiler(), *FLAGS, "-o", str(library), str(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def call(library: ctypes.CDLL, *values: Array | int) -> float:
    """Call `answer_all` with arrays as addresses and numbers as int64; returns how long it took, s."""
    given = [
        ctypes.c_void_p(value.ctypes.data)
        if isinstance(value, np.ndarray)
        else ctypes.c_int64(value)
        for value in values
    ]
    begun = time.perf_counter()
    library.answer_all(*given)
    return time.perf_counter() - begun
