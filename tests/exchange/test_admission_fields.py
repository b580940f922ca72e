"""Promise A7 at the wire: every field of every hot record is held to the Struct's own limits."""

import msgspec
import numpy as np
import pytest

from exchange.admission.fields import RANGES, FieldTable
from schemas import commands, limits, lists, records
from schemas.reasons import REFUSED

# Fields whose wire form is a number of a closed list, a bitmask or a flag: no range in the Struct.
LISTS = {
    "hardware": len(lists.HARDWARE) - 1,
    "precision": len(lists.PRECISIONS) - 1,
    "contract": len(lists.CONTRACTS) - 1,
    "capabilities": 2 ** len(lists.CAPABILITIES) - 1,
    "reason": len(lists.DECLINE_REASONS) - 1,
    "estimate": 1,
    "flags": 1,
}
HANDLES = {
    "site": 7,
    "model": 6,
    "deal": 5,
    "adapter_set": 4,
    "campaign": 3,
    "origin": 2,
    "metro": 2,
    "adapter": 1,
}
KIND_OF_FIELD = {"origin": "metro"}
MAY_BE_NONE = {"deal", "adapter_set", "adapter"}
FIELDS = [(kind, name) for kind, fields in RANGES.items() for name in fields]


@pytest.fixture
def table() -> FieldTable:
    made = FieldTable()
    made.set_handles({KIND_OF_FIELD.get(name, name): highest for name, highest in HANDLES.items()})
    return made


def struct_range(kind: int, name: str) -> tuple[int, int]:
    """The range that the market file's decoder enforces, read off the Struct's annotations."""
    struct = commands.COMMAND_OF_NAME[records.COMMAND_NAMES[kind]]
    field = next(f for f in msgspec.inspect.type_info(struct).fields if f.name == name)  # type: ignore[attr-defined]
    kinds = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
    number = next(k for k in kinds if isinstance(k, msgspec.inspect.IntType))
    assert number.ge is not None
    assert number.le is not None
    return number.ge, number.le


def expected_range(kind: int, name: str) -> tuple[int, int]:
    if name in HANDLES:
        return (0 if name in MAY_BE_NONE else 1), HANDLES[name]
    if name in LISTS:
        return 0, LISTS[name]
    if name == "lease_us":
        return limits.WIRE_LEASE_US_MIN, limits.TTL_US_MAX
    return struct_range(kind, name)


def valid(kind: int) -> np.ndarray:
    record = np.zeros(1, records.COMMAND_RECORDS[kind])
    for name in RANGES[kind]:
        record[name] = expected_range(kind, name)[0]
    return record


@pytest.mark.parametrize("kind, name", FIELDS)
def test_a_field_passes_at_its_limits_and_not_beyond(
    table: FieldTable, kind: int, name: str
) -> None:
    """Goal: limit − 1, limit, limit + 1 for every bound; the code says what kind of fault it is."""
    lowest, highest = expected_range(kind, name)
    record = valid(kind)
    fields = record.dtype.fields
    assert fields is not None
    room = np.iinfo(fields[name][0])
    for value, good in ((lowest, True), (highest, True), (lowest - 1, False), (highest + 1, False)):
        if not int(room.min) <= value <= int(room.max):
            continue  # the record cannot even say it
        record[name] = value
        (code,) = table.check(kind, record)
        assert bool(code == 0) is good, f"{name} = {value}"
        if not good and name in HANDLES:
            assert code == REFUSED["handle"]


@pytest.mark.parametrize("kind", sorted(RANGES))
def test_every_field_but_the_reserved_ones_is_ranged(kind: int) -> None:
    """Goal: a field appended to a record cannot be forgotten here."""
    names = records.COMMAND_RECORDS[kind].names
    assert names is not None
    assert {name for name in names if not name.startswith("reserved")} == set(RANGES[kind])


@pytest.mark.parametrize(
    "name, kind",
    [("latency_budget_us", records.BID), ("max_price", records.BID), ("p99_us", records.RTT)],
)
def test_not_given_is_a_value_of_its_own(table: FieldTable, name: str, kind: int) -> None:
    """Goal: all ones stand for null where the market file says null, and nowhere else."""
    record = valid(kind)
    fields = record.dtype.fields
    assert fields is not None
    record[name] = np.iinfo(fields[name][0]).max
    assert table.check(kind, record).tolist() == [0]
    other = valid(records.BID)
    other["tokens_in"] = records.NONE_U32
    assert table.check(records.BID, other).tolist() == [REFUSED["field"]]


def test_one_bad_record_costs_only_itself(table: FieldTable) -> None:
    """Goal: records are judged one by one, whatever stands around them."""
    batch = np.concatenate([valid(records.BID)] * 3)
    batch["quantity"][1] = limits.QUANTITY_MAX + 1
    assert table.check(records.BID, batch).tolist() == [0, REFUSED["field"], 0]
