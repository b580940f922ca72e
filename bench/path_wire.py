"""libzmq called from compiled code: the loop that drives the exchange must not be what is measured.

pyzmq makes the sockets, with CURVE and all settings; their addresses and libzmq's own functions go to
a Numba kernel. A send or a receive costs the call alone, so one thread offers more than the exchange
can take, and no compiler is needed on the machine. With NUMBA_DISABLE_JIT=1 the same calls go through
ctypes.
"""

import ctypes
import sys
import time
from pathlib import Path
from typing import Any, Final

import numba
import zmq

from matching_core.jit import JIT_DISABLED, i64

DONTWAIT: Final = 1
_PR_SET_TIMERSLACK: Final = 29


def _loaded_libzmq() -> str:
    """Return the path of the libzmq that pyzmq has loaded: a second one would not know its sockets."""
    zmq.zmq_version()
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
        path = line.rpartition(" ")[2]
        if "libzmq" in Path(path).name:
            return path
    raise RuntimeError("pyzmq has no libzmq of its own: this driver cannot call it")


def _function(library: ctypes.CDLL, name: str, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype = ctypes.c_int
    function.argtypes = list(arguments)
    return function


_ZMQ: Final = ctypes.CDLL(_loaded_libzmq())
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_WORD: Final = ctypes.c_size_t
# Addresses travel as integers. Each returns −1 on failure; with DONTWAIT that is "not now".
zmq_send = _function(_ZMQ, "zmq_send", _WORD, _WORD, _WORD, ctypes.c_int)
zmq_recv = _function(_ZMQ, "zmq_recv", _WORD, _WORD, _WORD, ctypes.c_int)
_clock_gettime = _function(_LIBC, "clock_gettime", ctypes.c_int, _WORD)
ppoll = _function(_LIBC, "ppoll", _WORD, _WORD, _WORD, _WORD)
_MONOTONIC: Final = time.CLOCK_MONOTONIC
POLLIN_HIGH: Final = 1 << 32  # struct pollfd as one int64: descriptor, then the events asked for


def fine_timers() -> None:
    """Let this thread's sleeps end within a microsecond of their time, where 50 are usual."""
    _LIBC.prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)


def compiled(function: Any) -> Any:
    """Compile a kernel that calls the functions above; never cached, for it holds their addresses."""
    return function if JIT_DISABLED else numba.njit(error_model="numpy")(function)


@compiled
def now_ns(timespec: Any, address: int) -> int:
    """Return the monotonic clock in ns; `timespec` is int64[2] that stands at `address`."""
    _clock_gettime(_MONOTONIC, address)
    return i64(timespec[0]) * 1_000_000_000 + i64(timespec[1])


def own_process(module: str, function: str, *arguments: str) -> list[str]:
    """Return the command that runs a function of a module here in a process of its own."""
    code = f"import sys; from {module} import {function}; sys.exit({function}())"
    return [sys.executable, "-c", code, *arguments]
