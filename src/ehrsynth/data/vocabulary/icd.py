"""ICD codes as hospitals write them, brought into one form: upper case, no blanks, the dot where ICD puts it."""

import re

ICD9CM, ICD9PCS = "ICD9CM", "ICD9PCS"
ICD10CM, ICD10PCS = "ICD10CM", "ICD10PCS"
SPACES = {"": "", ICD9CM: "", ICD9PCS: "", ICD10CM: "icd10_", ICD10PCS: "icd10_"}
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
