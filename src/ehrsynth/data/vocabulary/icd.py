"""ICD codes as hospitals write them, brought into one form: upper case, no blanks, the dot where ICD puts it.

The vocabularies here make concepts of the codes themselves: as they are, or rolled up to their first characters.
"""

import re

from ehrsynth.data.vocabulary.base import OWN, OneByOne

ICD9CM, ICD9PCS = "ICD9CM", "ICD9PCS"
ICD10CM, ICD10PCS = "ICD10CM", "ICD10PCS"
SPACES = {"": "", OWN: "", ICD9CM: "", ICD9PCS: "", ICD10CM: "icd10_", ICD10PCS: "icd10_"}
_BLANKS = re.compile(r"\s+")
# Head and rest of a code, around the dot that may be missing.
_CODES = {
    ICD9CM: re.compile(r"((?:V[0-9]|[0-9]{2})[0-9]|E[0-9]{3})\.?([0-9]{0,2})"),
    ICD9PCS: re.compile(r"([0-9]{2})\.?([0-9]{0,2})"),
    ICD10CM: re.compile(r"([A-Z][0-9][0-9A-Z])\.?([0-9A-Z]{0,4})"),
    ICD10PCS: re.compile(r"([0-9A-HJ-NP-Z]{3,7})()"),
}
# A spreadsheet takes the zeros at the beginning. That is certain only before a dot or where nothing follows: 845 need
# not have been 0845.
_SHORT = {
    ICD9CM: (3, re.compile(r"([0-9]{1,2})(?:\.([0-9]{0,2}))?")),
    ICD9PCS: (2, re.compile(r"([0-9])(?:\.([0-9]{0,2}))?")),
}


def canonical(vocabulary: str, code: str) -> str | None:
    """Return a code in the form the maps use, such as ``250.83`` for ``25083`` and ``008.45`` for ``8.45``.

    Args:
        vocabulary: ``ICD9CM``, ``ICD9PCS``, ``ICD10CM`` or ``ICD10PCS``.
        code: any text.

    Returns:
        The code; None if it is none of that vocabulary, or the vocabulary is not known.
    """
    text = _BLANKS.sub("", code).upper()
    if vocabulary not in _CODES:
        return None
    if vocabulary in _SHORT:
        width, short = _SHORT[vocabulary]
        if found := short.fullmatch(text):
            return _joined(found[1].zfill(width), found[2])
    found = _CODES[vocabulary].fullmatch(text)
    return None if found is None else _joined(found[1], found[2])


def _joined(head: str, rest: str | None) -> str:
    return f"{head}.{rest}" if rest else head


def category(vocabulary: str, code: str) -> str | None:
    """Return the first three characters of a code, four of an ICD-9 E code: the level above the dot.

    ICD-9 procedures have two digits above the dot; three are taken all the same, as studies of MIMIC do.

    Returns:
        ``250``, ``V58``, ``E885``, ``I10``, ``38.9`` as ``389``; None if ``canonical`` has none.
    """
    found = canonical(vocabulary, code)
    if found is None:
        return None
    return found[:4] if vocabulary == ICD9CM and found.startswith("E") else found.replace(".", "")[:3]


def in_its_space(vocabulary: str, concept: str) -> str:
    """Return a concept under a name that no other vocabulary of the same domain can give.

    ICD-9, the plain names of drugs and whatever has no vocabulary keep their words. ICD-10 shares codes with ICD-9
    (V58 is aftercare in one and a van's occupant in the other), so it always says so: ``icd10_V58``. Any other
    vocabulary stands before its codes in full: ``rxnorm_6809``.
    """
    return SPACES.get(vocabulary, f"{vocabulary.lower()}_") + concept


def rolled_up(vocabulary: str, code: str) -> str:
    """Return the category of a code in its name space, or the tidied code itself where it has none."""
    found = category(vocabulary, code)
    return in_its_space(vocabulary, " ".join(code.split()) if found is None else found)


class AsIs(OneByOne):
    """Codes as they are: those of ICD in one form, others without needless blanks.

    The same code of two vocabularies stays two concepts (see ``in_its_space``). What should be ICD and is not, or is of
    an unknown version, has no concept.
    """

    name = "as_is"
    keeps_codes = True

    def concept(self, vocabulary: str, code: str) -> str | None:
        """Return the tidied code."""
        tidy = canonical(vocabulary, code) if vocabulary.startswith("ICD") else " ".join(code.split())
        return None if tidy is None else in_its_space(vocabulary, tidy)


class ThreeCharacters(OneByOne):
    """The first three characters of ICD codes, four of ICD-9 E codes: the usual level of models of MIMIC-III.

    ICD-10 concepts carry ``icd10_``, since the two versions share characters; diagnoses and procedures are kept apart
    by the prefixes of their features. Codes of other vocabularies have no concept.
    """

    name = "icd3"
    keeps_codes = True

    def concept(self, vocabulary: str, code: str) -> str | None:
        """Return the category of a code."""
        found = category(vocabulary, code)
        return None if found is None else in_its_space(vocabulary, found)
