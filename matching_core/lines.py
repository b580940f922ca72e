"""Arrays that begin with a cache line."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_LINE_BYTES: Final = 64


def lines(rows: int, words: int, dtype: Any) -> Array:
    """Return zeros [rows, words] that begin with a cache line.

    NumPy begins large arrays 16 bytes behind one: a row of 64 bytes would be two lines, all of them.
    """
    size = rows * words * np.dtype(dtype).itemsize
    memory = np.zeros(size + _LINE_BYTES, np.uint8)
    first = -memory.ctypes.data % _LINE_BYTES
    table: Array = memory[first : first + size].view(dtype).reshape(rows, words)
    return table


def as_lines(table: Array) -> Array:
    """Return a copy of a table that begins with a cache line."""
    copy = lines(table.shape[0], table.shape[1], table.dtype)
    copy[:] = table
    return copy
