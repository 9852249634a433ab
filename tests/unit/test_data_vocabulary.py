"""ICD-9 categories and phecodes."""

from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.vocabulary import Phecodes, icd9_category
from ehrsynth.errors import FileError, TableError


@pytest.mark.parametrize(
    ("code", "category"),
    [
        *(("250.83", "250"), ("25083", "250"), ("428", "428"), ("8", "008"), ("8.45", "008"), ("41.1", "041")),
        *(("V58", "V58"), ("V58.67", "V58"), ("V5867", "V58"), ("E909", "E909"), ("E8859", "E885"), ("e885.9", "E885")),
    ],
)
def test_icd9_category(code: str, category: str) -> None:
    assert icd9_category(code) == category


@pytest.fixture
def phecodes(tmp_path: Path) -> Phecodes:
    rows = [("250.8", "250.2", "Type 2"), ("250", "250", "Diabetes"), ("008", "008", "Gut"), ("427.31", "427.2", None)]
    pd.DataFrame(rows, columns=["ICD9", "PheCode", "Phenotype"]).to_csv(tmp_path / "map.csv.gz", index=False)
    return Phecodes(tmp_path / "map.csv.gz")


def test_unmapped_codes_are_shortened_and_never_dropped(phecodes: Phecodes) -> None:
    codes = pd.Series(["250.8", "250.83", "250.1", "8.45", "427.31", "427.3", "V57.1", "V57", "V57"])
    expected = ["250.2", "250.2", "250", "008", "427.2", "unmapped_427", "unmapped_V57", "unmapped_V57", "unmapped_V57"]
    assert phecodes.map(codes).tolist() == expected
    assert phecodes.labels == {"250.2": "Type 2", "250": "Diabetes", "008": "Gut"}


def test_a_wrong_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="absent"):
        Phecodes(tmp_path / "absent.csv").map(pd.Series(["250"]))
    (tmp_path / "other.csv").write_text("ICD9,Code\n1,2\n")
    with pytest.raises(TableError, match=r"other\.csv: missing columns \['PheCode', 'Phenotype'\]"):
        Phecodes(tmp_path / "other.csv").map(pd.Series(["250"]))
