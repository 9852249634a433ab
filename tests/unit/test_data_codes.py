"""Codes to columns, on events made by hand."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.features.codes import Codes
from ehrsynth.data.store import Store
from ehrsynth.data.vocabulary.base import Vocabulary
from ehrsynth.data.vocabulary.icd import AsIs, ThreeCharacters
from ehrsynth.data.vocabulary.maps import TableMap
from ehrsynth.errors import OptionError

EVENTS = [
    *((0, "diagnosis", "ICD9CM", "25000"), (0, "diagnosis", "ICD9CM", "250.00"), (0, "diagnosis", "ICD9CM", "25001")),
    *((0, "diagnosis", "ICD10CM", "I10"), (1, "diagnosis", "ICD9CM", "8"), (1, "diagnosis", "ICD11CM", "5A11")),
    *((2, "diagnosis", "ICD9CM", "E8859"), (2, "diagnosis", "ICD9CM", None), (2, "diagnosis", None, "o'clock")),
    *(
        (2, "procedure", "ICD9PCS", "3893"),
        (2, "procedure", "ICD9PCS", "3891"),
        (1, "procedure", "ICD10PCS", "02HV33Z"),
    ),
]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(threads=1) as made:
        made.register("history", pd.DataFrame(EVENTS, columns=["row", "domain", "vocabulary", "code"]))
        made.register("cohort", pd.DataFrame({"row": range(4)}))
        yield made


def cells(store: Store, codes: Codes) -> dict[str, list[int]]:
    """Return the column of each concept that anybody has, whatever kind it is of."""
    found = codes.collect(store)
    if found.cells is not None:
        return {str(name): column.tolist() for name, column in found.cells.items()}
    table = np.zeros((4, len(found.specs)), int)
    np.add.at(table, (found.row, found.column), 1)
    return dict(zip(found.specs, table.T.tolist(), strict=True))


def test_binary_and_count(store: Store) -> None:
    binary = {
        "dx_008": [0, 1, 0, 0],
        "dx_250": [1, 0, 0, 0],
        "dx_E885": [0, 0, 1, 0],
        "dx_icd10_I10": [1, 0, 0, 0],
        "dx_unmapped_icd11cm_5A11": [0, 1, 0, 0],
        "dx_unmapped_o'clock": [0, 0, 1, 0],
    }
    assert cells(store, Codes(domain="diagnosis", vocabulary=ThreeCharacters(), prefix="dx_")) == binary
    counts = {**binary, "dx_250": [3, 0, 0, 0]}
    codes = Codes(domain="diagnosis", vocabulary=ThreeCharacters(), prefix="dx_", kind="count")
    assert cells(store, codes) == counts
    assert {spec.kind for spec in codes.collect(store).specs.values()} == {"count"}


def test_procedures_have_a_name_space_of_their_own(store: Store) -> None:
    codes = Codes(domain="procedure", vocabulary=ThreeCharacters(), prefix="px_")
    assert cells(store, codes) == {"px_389": [0, 0, 1, 0], "px_icd10_02H": [0, 1, 0, 0]}
    exact = Codes(domain="procedure", vocabulary=AsIs(), prefix="px_")
    assert list(exact.collect(store).specs) == ["px_38.91", "px_38.93", "px_icd10_02HV33Z"]


def test_what_is_dropped_is_counted_and_names_its_vocabulary(store: Store) -> None:
    many = pd.DataFrame([(row, "diagnosis", "ICD11CM", "5A11") for row in range(12)])
    history = pd.DataFrame(EVENTS).set_axis(["row", "domain", "vocabulary", "code"], axis=1)
    store.register("history", pd.concat([history, many.set_axis(history.columns, axis=1)]))
    found = Codes(domain="diagnosis", vocabulary=ThreeCharacters(), prefix="dx_", unmapped="drop").collect(store)
    assert list(found.specs) == ["dx_008", "dx_250", "dx_E885", "dx_icd10_I10"]
    assert found.remarks == {
        "diagnosis (dx_): events": 20,
        "diagnosis (dx_): events with an unmapped code": 14,
        "diagnosis (dx_): unmapped codes": 2,
        "diagnosis (dx_): unmapped codes of less than 10 subjects": 1,
        "diagnosis (dx_): subjects with unmapped ICD11CM 5A11": 12,
    }


def test_words_of_the_provider_are_for_the_code_they_name(store: Store) -> None:
    words = [
        *(("diagnosis", "ICD9CM", "250", "Diabetes"), ("diagnosis", "ICD9CM", "25001", "Type 1 diabetes")),
        *(("procedure", "ICD9PCS", "389", "Puncture of vessel"), ("procedure", "ICD9PCS", "0081", "Not that one")),
    ]
    store.register("labels", pd.DataFrame(words, columns=["domain", "vocabulary", "code", "label"]))
    rolled = Codes(domain="diagnosis", vocabulary=ThreeCharacters(), prefix="dx_").collect(store).specs
    assert (rolled["dx_250"].label, rolled["dx_008"].label) == ("Diabetes", "dx 008")
    exact = Codes(domain="diagnosis", vocabulary=AsIs(), prefix="dx_").collect(store).specs
    assert (exact["dx_250.01"].label, exact["dx_250.00"].label) == ("Type 1 diabetes", "dx 250.00")
    procedures = Codes(domain="procedure", vocabulary=ThreeCharacters(), prefix="px_").collect(store).specs
    assert procedures["px_389"].label == "Puncture of vessel"


def test_concepts_that_are_asked_for(store: Store) -> None:
    asked = Codes(domain="diagnosis", vocabulary=ThreeCharacters(), prefix="dx_", concepts=["V58", "250"])
    assert cells(store, asked) == {"dx_V58": [0, 0, 0, 0], "dx_250": [1, 0, 0, 0]}


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_a_domain_that_nobody_has(store: Store, kind: str) -> None:
    none = Codes(domain="medication", vocabulary=AsIs(), prefix="drug_", kind=kind).collect(store)  # type: ignore[arg-type]
    assert none.specs == {}
    assert none.remarks["medication (drug_): events"] == 0


def test_one_code_may_have_several_concepts_and_a_sex(store: Store, tmp_path: Path) -> None:
    rows: Sequence[str] = ["vocabulary,code,concept,label,sex", "ICD9CM,250,dm,Diabetes,", "ICD9CM,250,metabolic,,F"]
    (tmp_path / "map.csv").write_text("\n".join(rows))
    vocabulary: Vocabulary = TableMap(path=tmp_path / "map.csv", shorten=None)
    codes = Codes(domain="diagnosis", vocabulary=vocabulary, prefix="", unmapped="drop", kind="count")
    assert cells(store, codes) == {"dm": [3, 0, 0, 0], "metabolic": [3, 0, 0, 0]}
    specs = codes.collect(store).specs
    assert {name: (spec.label, spec.sex) for name, spec in specs.items()} == {
        "dm": ("Diabetes", None),
        "metabolic": ("metabolic", "F"),
    }
    assert codes.options()["vocabulary"] == {"vocabulary": "table", "shorten": None}
    assert set(codes.inputs()) == {"map.csv"}


@pytest.mark.parametrize(("name", "value"), [("kind", "weight"), ("unmapped", "forget")])
def test_unknown_choices(name: str, value: str) -> None:
    with pytest.raises(OptionError, match=f"{name}={value} for diagnosis"):
        Codes(domain="diagnosis", vocabulary=AsIs(), prefix="dx_", **{name: value})  # type: ignore[arg-type]


def test_a_concept_is_asked_for_once() -> None:
    with pytest.raises(OptionError, match="concepts for diagnosis: one is named twice"):
        Codes(domain="diagnosis", vocabulary=AsIs(), prefix="dx_", concepts=["250", "250"])
