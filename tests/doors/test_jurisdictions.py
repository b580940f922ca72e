"""The table of named country sets: consistent in itself, with ISO 3166 and with counted data."""

import csv
import re
from pathlib import Path

import iso3166
import pytest

from schemas import jurisdictions as j

COUNTRIES = Path(__file__).parents[3] / "shared" / "data" / "geo" / "countries.csv"


@pytest.mark.parametrize("entry", j.COUNTRY_SETS, ids=lambda entry: entry.name)
def test_every_set_is_sorted_dated_sourced_and_made_of_real_countries(entry: j.CountrySet):
    assert list(entry.countries) == sorted(set(entry.countries))
    assert all(code in iso3166.countries_by_alpha2 for code in entry.countries)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", entry.since)
    assert entry.source.startswith("https://")
    assert entry.name not in iso3166.countries_by_alpha2 or entry.name == "EU"


def test_names_are_unique_over_sets_and_requirements():
    names = [entry.name for entry in j.COUNTRY_SETS] + [entry.name for entry in j.REQUIREMENTS]
    assert len(names) == len(set(names))


def test_the_union_lies_in_the_area_and_adequacy_lies_outside_it():
    union, area = (set(j.SET_OF_NAME[name].countries) for name in ("EU", "EEA"))
    full, partial = (
        set(j.SET_OF_NAME[name].countries) for name in ("GDPR_ADEQUACY", "GDPR_ADEQUACY_PARTIAL")
    )
    assert len(union) == 27
    assert area - union == {"IS", "LI", "NO"}
    assert not area & (full | partial)
    assert not full & partial
    assert set(j.SET_OF_NAME["EFTA"].countries) == (area - union) | {"CH"}


def test_sets_agree_with_the_counted_table_of_countries():
    if not COUNTRIES.exists():
        pytest.skip(f"{COUNTRIES} is not here: the table is compared where it is")
    rows = list(csv.DictReader(COUNTRIES.read_text(encoding="utf-8").splitlines()))
    told = {row["iso2"]: row["gdpr_adequacy"].partition(":")[0] for row in rows}
    expected = {
        "EU": {row["iso2"] for row in rows if row["eu"] == "1"},
        "EEA": {row["iso2"] for row in rows if row["eea"] == "1"},
        "GDPR_ADEQUACY": {code for code, how in told.items() if how == "full"},
        "GDPR_ADEQUACY_PARTIAL": {code for code, how in told.items() if how == "partial"},
    }
    assert {name: set(j.SET_OF_NAME[name].countries) for name in expected} == expected


def test_gdpr_means_the_area_for_processing_and_storage_and_nothing_else():
    area = j.SET_OF_NAME["EEA"].countries
    assert j.require("GDPR") == {"residency": area, "data_residency": area}
    assert "CH" not in area


def test_adequacy_is_had_only_by_name_and_never_widens_sovereignty():
    given = j.require("EU_SOVEREIGN", adequacy=["GDPR_ADEQUACY"])
    assert "JP" in given["residency"]
    assert "JP" in given["data_residency"]
    assert given["sovereignty"] == j.SET_OF_NAME["EU"].countries
    assert j.require("GDPR", adequacy=["CH"])["residency"] == j.expand(["EEA", "CH"])


def test_expanding_gives_each_country_once_in_order():
    assert j.expand(["CH", "EFTA", "DE"]) == ("CH", "DE", "IS", "LI", "NO")
    assert j.expand([]) == ()


@pytest.mark.parametrize("word", ["Eea", "de", "GERMANY", "", "E1", "ÄÖ", "GDPR"])
def test_an_unknown_word_is_named_and_never_passed_over(word: str):
    with pytest.raises(j.UnknownJurisdictionError, match=re.escape(repr(word))) as caught:
        j.expand(["EU", word])
    assert caught.value.word == word


def test_an_unknown_requirement_names_the_known_ones():
    with pytest.raises(j.UnknownJurisdictionError, match="EU_SOVEREIGN, GDPR"):
        j.require("HIPAA")
