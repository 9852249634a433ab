"""What is told of the events of a MEDS dataset: by which means they are known, and which options would catch more."""

import re
import shlex
from collections.abc import Iterator

import pandas as pd

from ehrsynth.data.coverage import Coverage
from ehrsynth.data.sources.meds.mapping import LEFT_OUT, MEANS, SHAPE, UNKNOWN
from ehrsynth.data.sources.meds.patterns import OTHER
from ehrsynth.data.sources.meds.words import DIAGNOSES, PROCEDURES
from ehrsynth.data.store import Store
from ehrsynth.disclosure import LEAST
from ehrsynth.words import quoted

MOST_PREFIXES = 5
TIMELINE = (
    "birth",
    "death",
    "admission",
    "discharge",
    "icu_admission",
    "icu_discharge",
    "visit",
    "visit_end",
    "subject",
)
_SEPARATOR = re.compile(r"[|:=/#~^>;_]+")
_GUESSES = {  # what codes may be that begin with a word
    "procedure": PROCEDURES,
    "diagnosis": DIAGNOSES,
    "medication": r"(?:rx|med[a-z]*|drugs?)",
    "lab": r"(?:labs?|tests?|meas[a-z]*|obs[a-z]*|vitals?)",
}
_CODES = "ehrsynth.data.features.codes.Codes"
_AS_COLUMNS = {  # what makes columns of a domain that no feature asks for
    "lab": "labs={_target_: ehrsynth.data.features.panels.Measurements, domain: lab}",
    "vital": "vitals={_target_: ehrsynth.data.features.panels.Measurements, domain: vital}",
    "medication": f"drugs={{_target_: {_CODES}, domain: medication, prefix: rx_,"
    " vocabulary: {_target_: ehrsynth.data.vocabulary.drugs.DrugNames}}",
    **{
        name: f"{name}={{_target_: ehrsynth.data.features.demographics.Attribute, name: {name}, domain: {name}}}"
        for name in ("ethnicity", "language", "marital_status")
    },
}


def coverage(store: Store, data: str, codes: str) -> list[Coverage]:
    """Return the lines about the events.

    Args:
        store: that holds the tables.
        data: the table of rows: ``subject_id, code``.
        codes: of codes: ``raw, domain, means, prefix, events, subjects, numbers, texts``.
    """
    table = store.frame(f"SELECT * FROM {codes}")
    coded = int(table["events"].sum())
    rows = int(store.value(f"SELECT count(*) FROM {data}"))
    unknown = table[(table["means"] == UNKNOWN) | (table["means"] == LEFT_OUT)]
    frequent = unknown["subjects"] >= LEAST
    return [
        *(Coverage("events", _in_words(means, table), _sum(table[table["means"] == means]), rows) for means in MEANS),
        Coverage(
            "events",
            f"nothing: codes of {LEAST} subjects or more, for columns of their own",
            _sum(unknown[frequent]),
            rows,
        ),
        Coverage("events", f"nothing: codes of fewer than {LEAST} subjects, no column", _sum(unknown[~frequent]), rows),
        Coverage("events", "nothing: no code, left out", rows - coded, rows),
        *_prefixes(store, data, table, unknown, rows),
        *_numbers(table, unknown, frequent),
        *_unasked(table, rows),
    ]


def _sum(codes: pd.DataFrame, column: str = "events") -> int:
    return int(codes[column].sum())


def _in_words(means: str, codes: pd.DataFrame) -> str:
    """Return a means in words; of shapes with the prefixes that were learned, if enough subjects share them."""
    if means != SHAPE:
        return means
    mine = codes[codes["means"] == SHAPE]
    common = mine.groupby("prefix").agg({"subjects": "max", "events": "sum"}).query(f"subjects >= {LEAST}")
    names = common.sort_values("events", ascending=False, kind="stable").index[:MOST_PREFIXES]
    return f"{means}{': ' if len(names) else ''}{', '.join(map(repr, names))}"


def _prefixes(store: Store, data: str, table: pd.DataFrame, unknown: pd.DataFrame, rows: int) -> list[Coverage]:
    """Return the most frequent beginnings of codes that nothing knows, each with a pattern that would.

    A beginning ends at a separator; it is the shortest that no known code has.
    """
    taken = {prefix for raw in table["raw"][~table.index.isin(unknown.index)] for prefix in _beginnings(raw)}
    prefixes = ((raw, next((p for p in _beginnings(raw) if p not in taken), None)) for raw in unknown["raw"])
    begins = {raw: prefix for raw, prefix in prefixes if prefix is not None}
    store.register("meds_prefixes", pd.DataFrame(begins.items(), columns=["raw", "prefix"], dtype="str"))
    found = store.frame(
        f"""SELECT prefix, count(*) AS events FROM {data} d JOIN meds_prefixes p ON d.code = p.raw
        GROUP BY prefix HAVING count(DISTINCT subject_id) >= {LEAST}
        ORDER BY events DESC, prefix LIMIT {MOST_PREFIXES}"""
    )
    numbers = unknown["numbers"].groupby(unknown["raw"].map(begins)).sum()
    return [
        Coverage(
            "events",
            f"nothing; of these, codes that begin with {prefix!r}",
            int(events),
            rows,
            _pattern(prefix, _guess(prefix, "lab" if 2 * numbers.get(prefix, 0) > events else "diagnosis")),
        )
        for prefix, events in found.itertuples(index=False)
    ]


def _beginnings(raw: str) -> Iterator[str]:
    return (raw[: found.end()] for found in _SEPARATOR.finditer(raw))


def _guess(prefix: str, otherwise: str) -> str:
    words = (domain for domain, word in _GUESSES.items() if re.fullmatch(rf"(?i)(?:.*[\W_])?{word}[\W_].*", prefix))
    return next(words, otherwise)


def _pattern(prefix: str, domain: str) -> str:
    """Return the option that says what codes of a prefix are; the domain is a guess for the user to correct."""
    name = "own_" + re.sub(r"[^a-z0-9]+", "_", prefix.lower()).strip("_")  # a usual name would replace its pattern
    match, code = quoted(f"{re.escape(prefix)}(.+)"), quoted(r"\1")
    local = " vocabulary: LOCAL," if domain in ("diagnosis", "procedure") else ""  # or they were faulty ICD codes
    pattern = f"+source.patterns.{name}={{match: {match}, domain: {domain},{local} code: {code}}}"
    return " ".join(filter(None, (shlex.quote(pattern), _columns(domain))))


def _columns(domain: str) -> str:
    """Return the option that makes columns of a domain, if it takes one."""
    return shlex.quote(f"+features.{_AS_COLUMNS[domain]}") if domain in _AS_COLUMNS else ""


def _numbers(table: pd.DataFrame, unknown: pd.DataFrame, frequent: pd.Series) -> list[Coverage]:
    """Return what becomes of the values."""
    numbers, texts = _sum(table, "numbers"), _sum(table, "texts")
    lost, kept = _sum(unknown[~frequent], "numbers"), _sum(unknown[frequent], "numbers")
    read = _sum(table[table["texts"].gt(0) & table["domain"].isin(("sex", "race", "insurance", "vital"))], "texts")
    return [
        Coverage("numbers", "of codes that are known", numbers - lost - kept, numbers),
        Coverage("numbers", "measurements of their own", kept, numbers),
        Coverage("numbers", f"of codes of fewer than {LEAST} subjects, no column", lost, numbers),
        Coverage("texts", "not read: the code alone counts", texts - read, texts),
    ]


def _unasked(table: pd.DataFrame, rows: int) -> list[Coverage]:
    """Return the domains that are known, to be told if no feature asks for them."""
    domains = table[~table["domain"].isin((*TIMELINE, "sex"))].groupby("domain")["events"].sum()
    return [
        Coverage(
            "events",
            f"{'nothing' if domain == OTHER else f'known as {domain}'}: no column, no feature asks for them",
            int(events),
            rows,
            _columns(domain),
            domain=domain,
        )
        for domain, events in zip(map(str, domains.index), domains, strict=True)
    ]
