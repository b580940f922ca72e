"""Arrays that begin with a cache line, and that grow where they stand."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_LINE_BYTES: Final = 64
# A table of a size to notice is made with room to grow in place: to copy half a gigabyte of fills would
# hold everybody up for a third of a second. Address space costs nothing; what is untouched is no memory.
_ROOM_FROM_BYTES: Final = 1 << 20
_ROOM_BYTES: Final = 1 << 30
_ROOM_TIMES_MIN: Final = 4  # of what is larger than that


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


class Rooms:
    """Makes tables larger, and keeps the zeros that stand behind each."""

    def __init__(self) -> None:
        self._rooms: dict[int, Array] = {}

    def table(self, at: int, old: Array, rows: int, words: int) -> Array:
        """Return a table of zeros for `at`, or the old one with zeros behind it where there is room.

        The old one if the address is the same: then nothing is to be copied.
        """
        room = self._rooms.pop(at, None)
        if (
            room is None
            or room.ctypes.data != old.ctypes.data
            or room.shape[1] != words
            or room.shape[0] < rows
        ):
            room = self._new(rows, words, old.dtype)
        self._rooms[at] = room
        table: Array = room[:rows]
        return table

    @staticmethod
    def _new(rows: int, words: int, dtype: Any) -> Array:
        size = max(1, rows * words * np.dtype(dtype).itemsize)
        times = max(_ROOM_TIMES_MIN, _ROOM_BYTES // size)
        if size < _ROOM_FROM_BYTES:
            return lines(rows, words, dtype)
        try:
            return lines(times * rows, words, dtype)
        except MemoryError:  # a machine that promises no more than it has
            return lines(rows, words, dtype)
