"""Every adapter against its cases: one JSON file each, input and exact outcome (contract.py).

`CURB_WRITE_CASES=1 pytest tests/adapters/test_cases.py` writes the outcomes anew, to be read before
they are committed. An adapter joins by its folder under `cases/`, named as its package.
"""

import importlib
import os
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from ssp_adapters.contract import Adapter, AdapterError, Policy, Samples, overcommitted

CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.glob("*/*/*.json"))


class Case(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a case file holds."""

    what: str
    samples: Samples
    policy: Policy = Policy()
    now_ns: int = 0
    offers: list[dict[str, Any]] | None = None
    error: str | None = None


def outcome(case: Case, adapter: Adapter) -> Case:
    try:
        fleet = adapter.read(case.samples)
        offers = adapter.offers(fleet, case.policy, case.now_ns)
    except AdapterError as error:
        return msgspec.structs.replace(case, offers=None, error=str(error))
    assert not overcommitted(fleet, offers)
    assert list(offers) == sorted(offers, key=lambda offer: (offer.site, offer.offer))
    return msgspec.structs.replace(
        case, offers=msgspec.json.decode(msgspec.json.encode(offers)), error=None
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CASES)))
def test_the_adapter_gives_exactly_what_the_case_says(path: Path):
    adapter = cast("Adapter", importlib.import_module(f"ssp_adapters.{path.parts[-3]}"))
    case = msgspec.json.decode(path.read_bytes(), type=Case)
    found = outcome(case, adapter)
    if os.environ.get("CURB_WRITE_CASES"):
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    assert found.error == case.error
    assert found.offers == case.offers


def test_cases_are_of_both_kinds_and_each_says_what_it_shows():
    assert {path.parent.name for path in FILES} == {"exemplary", "supplemental"}
    for path in FILES:
        case = msgspec.json.decode(path.read_bytes(), type=Case)
        assert case.what
        assert (case.offers is None) != (case.error is None), path
