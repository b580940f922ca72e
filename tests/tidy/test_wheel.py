"""What is shipped: the packages and nothing else, and the bare wheel serves buyers and sites.

The wheel is built once and installed with its base dependencies alone. These come from this
environment by links, one per file of each distribution, so that a missing extra is truly missing and
nothing is fetched.
"""

import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.tidy.sources import PACKAGES, ROOT, files, python_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Modules of the SDK and the adapters that do need an extra, with the one they need.
NEEDS_EXTRA: dict[str, str] = {}


def closure(requirements):
    """Return the names of the distributions these requirements bring, with all that those bring."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in found and not requirement.extras:
            continue
        found.add(name)
        for text in distribution(name).requires or []:
            inner = Requirement(text)
            chosen = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
            if inner.marker is None or any(inner.marker.evaluate(each) for each in chosen):
                waiting.append(inner)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """Return the folder of programs of an environment with the wheel and no extras."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    there = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    here = Path(sysconfig.get_path("purelib"))
    for name in closure(PROJECT["dependencies"]):
        for file in distribution(name).files or []:
            if file.parts[0] not in {"..", "__pycache__"}:
                link = Path(there, file)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(here / file)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    return home / "bin"


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def modules(*packages):
    for path in python_files(*packages):
        parts = [*path.parts[:-1], *([] if path.stem == "__init__" else [path.stem])]
        if path.stem != "__main__":
            yield ".".join(parts)


def test_the_wheel_holds_the_packages_whole_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    shipped = {path.as_posix() for path in files() if path.parts[0] in PACKAGES}
    assert shipped <= names, "not only code: tables, migrations and py.typed too"
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_bare_environment_has_no_extra(bare, tmp_path):
    """The condition of the tests below: they would prove nothing with the extras in reach."""
    for extra in ("numba", "psycopg", "cryptography", "sortedcontainers", "pytest"):
        done = run(bare / "python", "-c", f"import {extra}", cwd=tmp_path)
        assert f"No module named '{extra}'" in done.stderr


def test_the_bare_wheel_imports_sdk_adapters_and_schemas(bare, tmp_path):
    """Every module of theirs, in one process each package; NEEDS_EXTRA names those that may not."""
    wanted = [
        name for name in modules("schemas", "dsp_sdk", "ssp_adapters") if name not in NEEDS_EXTRA
    ]
    program = (
        "import importlib, sys\n"
        "wrong = []\n"
        "for name in sys.argv[1:]:\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError as error: wrong.append(f'{name}: {error}')\n"
        "print('\\n'.join(wrong))\n"
    )
    done = run(bare / "python", "-W", "error", "-c", program, *wanted, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_importing_the_sdk_loads_no_exchange_and_no_command_line(bare, tmp_path):
    program = "import dsp_sdk, ssp_adapters, sys; print(*sorted(sys.modules))"
    done = run(bare / "python", "-c", program, cwd=tmp_path)
    loaded = set(done.stdout.split())
    assert {"dsp_sdk", "ssp_adapters"} <= loaded
    assert not loaded & {"exchange", "matching_core", "typer", "rich", "numba"}


def test_curb_of_the_bare_wheel_names_the_extra_that_a_command_needs(bare, tmp_path):
    version = run(bare / "curb", "--version", cwd=tmp_path)
    assert (version.returncode, version.stdout) == (0, f"curb {PROJECT['version']}\n")
    assert run(bare / "curb", "--help", cwd=tmp_path).returncode == 0


def test_types_of_the_packages_are_shipped(bare, tmp_path):
    program = (
        "import {0}, pathlib; assert (pathlib.Path({0}.__file__).parent / 'py.typed').exists()"
    )
    for package in ("schemas", "dsp_sdk", "ssp_adapters"):
        done = run(bare / "python", "-c", program.format(package), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
