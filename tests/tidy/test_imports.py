"""Imports point one way, and the pure half has no clock, disk, socket, randomness or log."""

import ast
import fnmatch
import sys

import pytest

from tests.tidy.sources import PACKAGES, dotted, imports, python_files, tree

# Who may import whom. Everybody may import itself.
MAY_IMPORT = {
    "schemas": set(),
    "matching_core": {"schemas"},
    "exchange": {"schemas", "matching_core"},
    "dsp_sdk": {"schemas"},
    "ssp_adapters": {"schemas"},
}

# The pure half, and inside it what stands at the edge, with the reason.
PURE = (
    "schemas/*",
    "matching_core/*",
    "exchange/admission/*",
    "exchange/kernels/*",
    "ssp_adapters/contract.py",
    "ssp_adapters/yield_policy.py",
    "ssp_adapters/*/read.py",
    "ssp_adapters/*/offers.py",
)
EDGE = {
    "schemas/link.py": "the one ZeroMQ pump",
    "schemas/command.py": "the loader of the command line",
    "schemas/startup.py": "judges how the process was started, before there is anything else",
    "schemas/bundle.py": "reads and writes the one file with an agent's keys, for both ends",
    "matching_core/jit.py": "keeps machine code on disk, named after the sources; sees no market",
}
# Files that import by a name made at run time, with the reason.
BY_NAME = {
    "matching_core/engines.py": "two engines of its own package; the definition needs no Numba",
}
# Single modules that one pure file may have all the same.
EXCEPTIONS = {
    (
        "schemas/channel.py",
        "asyncio",
    ): "a session's futures, for SDK and adapters; clock and link given",
    ("schemas/feed.py", "asyncio"): "hands on what the pump brings, in the loop that made it",
}

IMPURE_MODULES = frozenset({
    *("aiohttp", "asyncio", "fcntl", "http", "io", "logging", "mmap", "multiprocessing", "os"),
    *("psycopg", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl"),
    *("structlog", "subprocess", "tempfile", "threading", "time", "urllib", "uuid", "zmq"),
    *("numpy.random", "pathlib", "uvloop", "prometheus_client"),
})  # fmt: skip
IMPURE_CALLS = frozenset({"input", "open", "print", "breakpoint"})
CLOCK_METHODS = frozenset({"now", "today", "utcnow"})


def is_pure(path):
    name = path.as_posix()
    return name not in EDGE and any(fnmatch.fnmatch(name, pattern) for pattern in PURE)


def impure_import(module):
    parts = module.split(".")
    return next(
        (head for n in range(1, len(parts) + 1) if (head := ".".join(parts[:n])) in IMPURE_MODULES),
        None,
    )


PURE_FILES = [path for path in python_files(*PACKAGES) if is_pure(path)]


def test_the_table_of_directions_is_whole_and_has_no_way_round():
    assert set(MAY_IMPORT) == set(PACKAGES)
    for package, others in MAY_IMPORT.items():
        for other in others:
            assert package not in MAY_IMPORT[other]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    allowed = {package, *MAY_IMPORT[package]}
    ours = {*PACKAGES, "tests", "bench"}
    wrong = [
        f"{path}:{line}: imports {module}"
        for path in python_files(package)
        for module, line in imports(path)
        if (head := module.partition(".")[0]) in ours and head not in allowed
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_imported_by_a_name_made_at_run_time(package):
    """A direction hidden in a string would be a hole in the table above."""
    hidden = {"import_module", "importlib.import_module", "__import__"}
    wrong = [
        f"{path}:{node.lineno}: {dotted(node.func)}"
        for path in python_files(package)
        if path.as_posix() not in BY_NAME
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and dotted(node.func) in hidden
    ]
    assert not wrong, "\n".join(wrong)


def test_the_pure_half_imports_no_clock_disk_socket_randomness_or_log():
    wrong = [
        f"{path}:{line}: imports {module}"
        for path in PURE_FILES
        for module, line in imports(path)
        if (found := impure_import(module)) and (path.as_posix(), found) not in EXCEPTIONS
    ]
    assert not wrong, "\n".join(wrong)


def test_the_pure_half_opens_prints_and_asks_the_time_nowhere():
    wrong = []
    for path in PURE_FILES:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func)
            head, _, last = name.rpartition(".")
            clock = last in CLOCK_METHODS and head.rpartition(".")[2] in {"date", "datetime"}
            if name in IMPURE_CALLS or clock:
                wrong.append(f"{path}:{node.lineno}: calls {name}")
    assert not wrong, "\n".join(wrong)


def test_every_exception_is_still_needed():
    """Goal: the lists above shrink when the code gets better; a stale line would hide the next fall."""
    found = {
        (path.as_posix(), head)
        for path in PURE_FILES
        for module, _ in imports(path)
        if (head := impure_import(module))
    }
    assert set(EXCEPTIONS) <= found
    assert {*EDGE, *BY_NAME} <= {path.as_posix() for path in python_files(*PACKAGES)}


def test_the_rules_see_what_they_forbid(tmp_path):
    """Method: a planted file with each kind of fault, read as the others are."""
    planted = tmp_path / "planted.py"
    planted.write_text(
        "from numpy.random import default_rng\nimport os.path\nfrom .. import zmq\ndef f():\n  import time\n"
    )
    found = {impure_import(module) for module, _ in imports(planted)} - {None}
    assert {"numpy.random", "os", "time"} <= found
    assert impure_import("timeit") is None
    assert set(sys.stdlib_module_names) >= {"os", "time", "socket", "logging"}
