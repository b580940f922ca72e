"""The core computes with whole numbers in a fixed order: nothing in it may differ by machine or run.

Two replicas that disagree in one bit have different digests, so what could make them differ is
kept out of `matching_core` by its syntax (STYLE.md, determinism in Python and Numba).
"""

import ast

import pytest

from tests.tidy.sources import dotted, python_files, tree

# The door to Numba computes nothing of the market: it names folders, and `/` joins their paths.
CORE = [path for path in python_files("matching_core") if path.as_posix() != "matching_core/jit.py"]


def faults(module):
    """Yield (line, what is wrong) for each thing that could make two replicas differ."""
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"the float {node.value}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "true division: use //"
        elif isinstance(node, ast.Call) and dotted(node.func) in {"float", "hash", "id"}:
            yield node.lineno, f"a call of {dotted(node.func)}()"
        elif isinstance(node, ast.Attribute | ast.Name) and dotted(node).rpartition(".")[2] in {
            "float16",
            "float32",
            "float64",
            "prange",
        }:
            yield node.lineno, dotted(node)
        elif isinstance(node, ast.keyword) and node.arg in {"fastmath", "parallel"}:
            yield node.value.lineno, f"{node.arg}="
        elif isinstance(node, ast.For | ast.comprehension) and is_set(node.iter):
            yield node.iter.lineno, "iteration over a set: its order differs by run"


def is_set(node):
    return isinstance(node, ast.Set | ast.SetComp) or (
        isinstance(node, ast.Call) and dotted(node.func) in {"set", "frozenset"}
    )


@pytest.mark.parametrize("path", CORE, ids=str)
def test_the_core_has_nothing_that_differs_by_machine_or_run(path):
    wrong = [f"{path}:{line}: {what}" for line, what in faults(tree(path))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "planted",
    [
        "x = 0.5",
        "x = a / b",
        "x /= 2",
        "x = hash(a)",
        "x = id(a)",
        "x = np.float64(1)",
        "for x in {1, 2}: pass",
        "y = [x for x in set(a)]",
        "f = njit(fastmath=True)",
        "for x in prange(3): pass",
    ],
)
def test_the_rule_sees_what_it_forbids(planted):
    assert list(faults(ast.parse(planted)))


@pytest.mark.parametrize("fine", ["x = a // b", "for x in sorted({1, 2}): pass", "y = x in {1, 2}"])
def test_the_rule_lets_whole_numbers_and_fixed_orders_pass(fine):
    assert not list(faults(ast.parse(fine)))
