"""ICD codes in one form, whatever is written."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth.data.vocabulary.drugs import drug_name
from ehrsynth.data.vocabulary.icd import AsIs, ThreeCharacters, canonical, category, rolled_up
from ehrsynth.data.vocabulary.lookup import tidy_code

NAMES = st.sampled_from(["ICD9CM", "ICD10CM", "ICD9PCS", "ICD10PCS", "ICD11CM", "SNOMED", ""])
CODES = st.text() | st.from_regex(r"[EV]?[0-9]{1,3}\.?[0-9]{0,2}", fullmatch=True)
CODES |= st.from_regex(r"[A-Za-z][0-9][0-9A-Za-z]\.?[0-9A-Za-z]{0,4}", fullmatch=True)


@given(NAMES, CODES)
def test_the_form_of_a_form_is_itself(vocabulary: str, code: str) -> None:
    form = canonical(vocabulary, code)
    if form is not None:
        assert canonical(vocabulary, form) == form
        assert category(vocabulary, form) == category(vocabulary, code)
        assert form.isascii()
        assert form == form.upper()


@given(NAMES, CODES)
def test_blanks_and_case_do_not_matter_and_nothing_raises(vocabulary: str, code: str) -> None:
    assert canonical(vocabulary, f" {code}\t") == canonical(vocabulary, code)
    if code.isascii():
        assert canonical(vocabulary, code.lower()) == canonical(vocabulary, code.upper())
    assert isinstance(rolled_up(vocabulary, code), str)
    assert isinstance(drug_name(code), str)
    tidy_code(vocabulary, code)


@given(st.sampled_from(["ICD9CM", "ICD10CM"]), CODES)
def test_the_dot_does_not_matter_where_all_digits_are_there(vocabulary: str, code: str) -> None:
    form = canonical(vocabulary, code)
    if form is not None:
        assert canonical(vocabulary, form.replace(".", "")) == form


@given(st.lists(st.tuples(NAMES, CODES), unique=True, max_size=20))
def test_what_has_no_concept_is_left_out_and_no_code_has_two(pairs: list[tuple[str, str]]) -> None:
    codes = pd.DataFrame(pairs, columns=["vocabulary", "code"])
    for vocabulary in (AsIs(), ThreeCharacters()):
        mapped = vocabulary.map(codes)
        assert len(mapped.merge(codes)) == len(mapped)
        assert not mapped.duplicated(["vocabulary", "code"]).any()
        assert (mapped["concept"] != "").all()
