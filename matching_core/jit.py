"""The one door to Numba: typed decorators, and tables reached through one vector of addresses.

Every kernel takes the state vector `s` (int64[::1]) and plain integers. `s` holds the market's
scalars and, for each table, its address and its row count; `table(s, AT, words)` makes the
two-dimensional view inside compiled code. One array per call costs 0.2 µs to dispatch, a tuple of
twenty arrays 2.7 µs, which is more than an auction. It also keeps every signature the same, so
nothing compiles twice, and every index is checked under NUMBA_BOUNDSCHECK=1 because the view knows
its shape.

With NUMBA_DISABLE_JIT=1 the same functions run as plain Python over the same memory.
"""

import ctypes
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped,unused-ignore]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

Array = npt.NDArray[Any]
P = ParamSpec("P")
R = TypeVar("R")

_unliteral: Any = getattr(types, "unliteral")  # noqa: B009  # not in its type stubs
JIT_DISABLED: Final = bool(numba.config.DISABLE_JIT)
_CACHES_KEPT: Final = 4  # compiled versions of these sources kept beside one another


def _point_cache_at_these_sources() -> None:
    """Keep compiled kernels in a folder named by the digest of all sources they are made of.

    Numba compares a cached kernel with the file of its own function only: a change in a file that it
    calls into would go unnoticed, and so would an upgrade, since wheels carry one fixed date.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__}".encode())
    sources = [package / "jit.py", package / "columns.py", package / "event_rows.py"]
    sources += sorted((package / "kernels").glob("*.py"))
    sources += sorted(
        (package.parent / "exchange" / "kernels").glob("*.py")
    )  # keep theirs here too
    sources += [
        package.parent / "schemas" / name
        for name in ("limits.py", "lists.py", "records.py", "reasons.py", "token.py")
    ]
    for source in sources:
        digest.update(source.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    given = numba.config.CACHE_DIR
    bases = [Path(given)] if given else [package / "__pycache__", Path.home() / ".cache" / "curb"]
    for base in bases:
        try:
            folder = base / name
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".writable"
            probe.touch()
        except OSError:
            continue
        numba.config.CACHE_DIR = str(folder)
        others = sorted(base.glob("kernels-*"), key=lambda path: path.stat().st_mtime)
        for old in others[:-_CACHES_KEPT]:
            _remove(old)
        return


def _remove(folder: Path) -> None:
    """Remove a stale cache; another process may be doing the same, which is as good."""
    try:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
    except OSError:
        return


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile an entry point called from Python; its machine code is kept on disk."""
    if JIT_DISABLED:

        @functools.wraps(function)
        def plain(*args: P.args, **kwargs: P.kwargs) -> R:
            with np.errstate(over="ignore"):  # uint64 wraps on purpose, as it does when compiled
                return function(*args, **kwargs)

        return plain
    return cast("Callable[P, R]", numba.njit(cache=True, error_model="numpy", _nrt=False)(function))


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that only kernels call; it is part of their machine code.

    It gets no entry for Python, which would be a sixth of all that is compiled: called from there it
    raises TypeError. And Numba would compile it once more for every constant that a caller passes (a
    heap's position, a reason), so what is passed is an int64, constant or not.
    """
    if JIT_DISABLED:
        return function
    compiled = numba.njit(
        error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    template_for = compiled.get_call_template

    def without_constants(args: Any, kws: Any) -> Any:
        return template_for(tuple(_unliteral(arg) for arg in args), kws)

    compiled.get_call_template = without_constants
    kind: Any = type(compiled)
    compiled.__class__ = _without_entry(kind)
    return cast("Callable[P, R]", compiled)


@functools.cache
def _without_entry(dispatcher: Any) -> Any:
    def refuse(self: Any, *_args: Any, **_kwargs: Any) -> None:
        message = f"{self.py_func.__name__} is for kernels only: call a kernel"
        raise TypeError(message)

    return type("Inner", (dispatcher,), {"__call__": refuse})


def _view_maker(dtype: Any, pointer_bits: int) -> Callable[..., Any]:
    """Make the intrinsic that views the table whose address stands at `s[at]`, rows at `s[at+1]`."""

    @intrinsic
    def view(_context: Any, state: Any, at: Any, words: Any) -> Any:  # noqa: ARG001  # typed by name
        array_type = types.Array(dtype, 2, "C")

        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            vector, position, columns = args
            source = make_array(state)(context, builder, vector)
            one = ir.Constant(ir.IntType(64), 1)
            address = builder.load(builder.gep(source.data, [position]))
            rows = builder.load(builder.gep(source.data, [builder.add(position, one)]))
            item = ir.Constant(ir.IntType(64), pointer_bits // 8)
            result = make_array(array_type)(context, builder)
            populate_array(
                result,
                data=builder.inttoptr(address, context.get_data_type(dtype).as_pointer()),
                shape=cgutils.pack_array(builder, [rows, columns]),
                strides=cgutils.pack_array(builder, [builder.mul(columns, item), item]),
                itemsize=item,
                meminfo=None,
            )
            return result._getvalue()  # noqa: SLF001  # how Numba's own intrinsics end

        return array_type(state, types.int64, types.int64), codegen

    return cast("Callable[..., Any]", view)


def _plain_view(dtype: Any, item: Any) -> Callable[[Array, int, int], Array]:
    """Make the same view for plain Python."""

    def view(s: Array, at: int, words: int) -> Array:
        rows, columns = int(s[at + 1]), int(words)
        memory = (item * (rows * columns)).from_address(int(s[at]))
        return np.frombuffer(memory, dtype=dtype).reshape(rows, columns)

    return view


@intrinsic
def _compiled_inbox(_context: Any, state: Any, at: Any, dtype: Any) -> Any:  # noqa: ARG001
    record = dtype.dtype
    array_type = types.Array(record, 1, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        vector, position, _ = args
        source = make_array(state)(context, builder, vector)
        one = ir.Constant(ir.IntType(64), 1)
        address = builder.load(builder.gep(source.data, [position]))
        rows = builder.load(builder.gep(source.data, [builder.add(position, one)]))
        item = ir.Constant(ir.IntType(64), record.size)
        result = make_array(array_type)(context, builder)
        populate_array(
            result,
            data=builder.inttoptr(address, context.get_data_type(record).as_pointer()),
            shape=cgutils.pack_array(builder, [rows]),
            strides=cgutils.pack_array(builder, [item]),
            itemsize=item,
            meminfo=None,
        )
        return result._getvalue()  # noqa: SLF001  # how Numba's own intrinsics end

    return array_type(state, types.int64, dtype), codegen


def _plain_inbox(s: Array, at: int, dtype: Any) -> Array:
    memory = (ctypes.c_uint8 * (int(s[at + 1]) * dtype.itemsize)).from_address(int(s[at]))
    return np.frombuffer(memory, dtype=dtype)


@intrinsic
def _compiled_prefetch(_context: Any, state: Any, at: Any, offset: Any) -> Any:  # noqa: ARG001
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        vector, position, place = args
        source = make_array(state)(context, builder, vector)
        address = builder.add(builder.load(builder.gep(source.data, [position])), place)
        where = builder.inttoptr(address, cgutils.voidptr_t)
        kind = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, kind, kind, kind])
        function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], shape)
        # A read, to be kept in all caches, of data.
        builder.call(function, [where, kind(0), kind(3), kind(1)])
        return context.get_dummy_value()

    return types.none(state, types.int64, types.int64), codegen


def _plain_prefetch(_s: Any, _at: int, _offset: int) -> None:
    return


@intrinsic
def _compiled_lowest_bit(_context: Any, word: Any) -> Any:  # noqa: ARG001  # typed by name
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], cgutils.true_bit)

    return types.int64(types.uint64), codegen


@intrinsic
def _compiled_count_bits(_context: Any, word: Any) -> Any:  # noqa: ARG001  # typed by name
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


def _plain_count_bits(word: Any) -> int:
    return int(word).bit_count()


def _plain_lowest_bit(word: Any) -> int:
    number = int(word)
    return (number & -number).bit_length() - 1


# What a record or a small table holds, as the int64 that kernels compute in.
i64 = cast("Callable[[Any], int]", np.int64)

# Views of a table as int64, uint64, int32, uint16 and uint8, `(s, AT, words) -> array[rows, words]`; the number of
# the lowest bit set in a uint64 (undefined for 0), and how many are set; a table's bytes as records of a dtype; and
# `prefetch(s, AT, bytes)`, which asks for a table's cache line before it is needed.
table: Callable[[Array, int, int], Array]
bits_table: Callable[[Array, int, int], Array]
small_table: Callable[[Array, int, int], Array]
short_table: Callable[[Array, int, int], Array]
byte_table: Callable[[Array, int, int], Array]
lowest_bit: Callable[[Any], int]
count_bits: Callable[[Any], int]
inbox: Callable[[Array, int, Any], Array]
prefetch: Callable[[Array, int, int], None]
if JIT_DISABLED:
    table = _plain_view(np.int64, ctypes.c_int64)
    bits_table = _plain_view(np.uint64, ctypes.c_uint64)
    small_table = _plain_view(np.int32, ctypes.c_int32)
    short_table = _plain_view(np.uint16, ctypes.c_uint16)
    byte_table = _plain_view(np.uint8, ctypes.c_uint8)
    lowest_bit = _plain_lowest_bit
    count_bits = _plain_count_bits
    inbox = _plain_inbox
    prefetch = _plain_prefetch
else:
    table = _view_maker(types.int64, 64)
    bits_table = _view_maker(types.uint64, 64)
    small_table = _view_maker(types.int32, 32)
    short_table = _view_maker(types.uint16, 16)
    byte_table = _view_maker(types.uint8, 8)
    lowest_bit = _compiled_lowest_bit
    count_bits = _compiled_count_bits
    inbox = _compiled_inbox
    prefetch = _compiled_prefetch

_point_cache_at_these_sources()
