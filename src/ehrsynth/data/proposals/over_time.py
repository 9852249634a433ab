"""The rules over time of a trajectories folder: those worth proposing, or those of a file, or none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.constraints.over_time import NeverBefore, NothingAfterDeath, OnlyAfter, RuleOverTime, RulesOverTime
from ehrsynth.constraints.over_time import read_over_time as read_entries
from ehrsynth.data.proposals.file import ALLOW, FOR_PEOPLE, allows, read_content, shown
from ehrsynth.data.proposals.propose import PROPOSE, rules_file
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import OptionError, SchemaError
from ehrsynth.files import write_text
from ehrsynth.visits import Integers, Visits, VisitSchema

LEAST_EXPECTED = 10.0  # patients who would break a rule by chance
CHANCE = 0.01  # of one among all rules that were looked at which holds by accident
MOST = 20  # of each kind: those with most evidence
MOST_REASONS = 3  # diagnoses of one drug
RANKS = 32  # visits at which a code can begin, that are told apart when chance is reckoned
DRUGS, REASONS = "medication", "diagnosis"
HEADER = f"""\
# Rules over time, of the visits of a patient:
#   nothing_after_death   no visit a day or more after death
#   never_before (code, first)   who has both never has code in a visit before the first with first
#   only_after (code, after)     code only in a visit at or after one that has any of the codes of after
# support, exceptions and {ALLOW} are of patients, as above
"""


def over_time_of(option: str, schema: VisitSchema, train: Visits) -> tuple[RuleOverTime, ...]:
    """Return the rules.

    Args:
        option: ``propose`` those that hold in the training patients, ``none``, or the YAML file that declares them, in
            a list ``over_time``, which may be missing.
        schema: of the visits.
        train: of the training patients.

    Raises:
        InputError: the file is not readable, or a rule does not fit schema or training patients.
    """
    file = rules_file(option)
    if file is not None:
        return read_over_time(file, schema, train)
    return propose_over_time(schema, train) if option == PROPOSE else ()


def propose_over_time(schema: VisitSchema, train: Visits) -> tuple[RuleOverTime, ...]:
    """Return rules that no training patient breaks, though ``LEAST_EXPECTED`` or more would by chance.

    Nothing after death, of ten deaths or more. Of two codes that one never comes before the other, in whom has both:
    by chance each would begin at visits as it does in all who have it; in ten patients or more the other must have come
    earlier. Of a drug that it is given only at or after one of up to three diagnoses, of which each accounts for ten
    patients or more: by chance as many would be without these diagnoses as of all patients are.

    Args:
        schema: of the visits.
        train: of the training patients.
    """
    onsets = Onsets.of(schema, train)
    drugs = only_after(schema, onsets)
    said = {(rule.code, rule.after[0]) for rule in drugs if len(rule.after) == 1}  # which says more
    orders = [rule for rule in never_before(schema, onsets) if (rule.code, rule.first) not in said]
    candidates = [NothingAfterDeath(), *orders[:MOST], *drugs[:MOST]]
    could, does = RulesOverTime(candidates, schema).judged(train)
    return tuple(
        rule
        for rule, support, exceptions in zip(candidates, could.sum(0), does.sum(0), strict=True)
        if support >= LEAST and not exceptions
    )


@dataclass(frozen=True, eq=False)
class Onsets:
    """When codes begin, for each patient and code that meet: m of them.

    Attributes:
        patient, code: int64 [m].
        rank: int64 [m], how many earlier days or hours the patient has a visit at.
        patients: who have a visit.
        shape: of a matrix of patients and codes.
    """

    patient: Integers
    code: Integers
    rank: Integers
    patients: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, schema: VisitSchema, visits: Visits) -> "Onsets":
        """Find them; visits that start at the same time have the same rank."""
        later = np.r_[False, (np.diff(visits.starts) > 0) & (np.diff(visits.patient) == 0)][: visits.count]
        rises = np.cumsum(later)
        some = visits.per_patient > 0
        base = np.zeros(len(visits), np.int64)
        base[some] = rises[visits.offsets[:-1][some]]
        rank = rises - base[visits.patient]
        patient, codes = visits.patient[visits.visit_of_code], len(schema.codes)
        key, first = np.unique(patient * codes + visits.codes, return_index=True)  # the first, for they come in time
        return cls(key // codes, key % codes, rank[visits.visit_of_code[first]], int(some.sum()), (len(visits), codes))

    def matrix(self, which: NDArray[np.bool_] | slice = slice(None)) -> sparse.csr_array:
        """Return who has which code, or those of some onsets only, int32 [patients, codes]."""
        patient, code = self.patient[which], self.code[which]
        return sparse.csr_array((np.ones(len(code), np.int32), (patient, code)), shape=self.shape)


def never_before(schema: VisitSchema, onsets: Onsets) -> list[NeverBefore]:
    """Return pairs of codes of which one never comes before the other, those with most evidence first."""
    codes = onsets.shape[1]
    before, so_far = np.zeros((codes, codes), np.int64), onsets.matrix(onsets.rank < 0)
    for rank in range(int(onsets.rank.max(initial=-1)) + 1):
        here = onsets.matrix(onsets.rank == rank)
        before += (so_far.T @ here).toarray()  # patients in whom the row's code begins before the column's
        so_far = so_far + here
    has = onsets.matrix()
    both = (has.T @ has).toarray()
    begins = np.zeros((codes, RANKS))
    np.add.at(begins, (onsets.code, onsets.rank.clip(max=RANKS - 1)), 1)
    begins /= np.maximum(begins.sum(1, keepdims=True), 1)
    earlier = begins.cumsum(1) - begins
    expected = both * (begins @ earlier.T).T  # that the row's begins before the column's
    np.fill_diagonal(expected, 0)
    pairs = max(int((both >= LEAST).sum()), 1)
    enough = (both >= LEAST) & (before == 0) & (before.T >= LEAST)
    enough &= expected >= max(LEAST_EXPECTED, log(pairs / CHANCE))
    rows, columns = np.nonzero(enough)
    best = np.argsort(-expected[rows, columns], kind="stable")
    names = [code.name for code in schema.codes]
    return [NeverBefore(names[row], names[column]) for row, column in zip(rows[best], columns[best], strict=True)]


def only_after(schema: VisitSchema, onsets: Onsets) -> list[OnlyAfter]:
    """Return drugs with the diagnoses at or after which alone they are given, those with most evidence first."""
    if not {DRUGS, REASONS} <= set(schema.domains):
        return []
    drugs, reasons = schema.domains[DRUGS], schema.domains[REASONS]
    names = [code.name for code in schema.codes]
    of_reason = (onsets.code >= reasons.start) & (onsets.code < reasons.stop)
    ever = onsets.matrix(of_reason)[:, reasons].tocsc()
    found = []
    for drug in range(drugs.start, drugs.stop):
        mine = onsets.code == drug
        given = np.full(onsets.shape[0], -1)
        given[onsets.patient[mine]] = onsets.rank[mine]
        there = onsets.matrix(of_reason & (onsets.rank <= given[onsets.patient]))[:, reasons]
        who = np.flatnonzero(given >= 0)
        chosen = _reasons(there[who]) if len(who) >= LEAST else []
        if chosen:
            without = 1 - len(np.unique(ever[:, chosen].indices)) / onsets.patients
            looked_at = (drugs.stop - drugs.start) * (reasons.stop - reasons.start) ** len(chosen)
            if (expected := len(who) * without) >= max(LEAST_EXPECTED, log(looked_at / CHANCE)):
                found.append((-expected, OnlyAfter(names[drug], tuple(names[reasons.start + i] for i in chosen))))
    return [rule for _, rule in sorted(found, key=lambda one: one[0])]


def _reasons(there: sparse.csr_array) -> list[int]:
    """Return few columns of which every row has one, each for ten rows or more that had none yet; or none."""
    chosen: list[int] = []
    open_rows = there
    while open_rows.shape[0] and len(chosen) < MOST_REASONS:
        counts = np.asarray(open_rows.sum(0)).reshape(-1)
        best = int(counts.argmax())
        if counts[best] < LEAST:
            return []
        chosen.append(best)
        open_rows = open_rows[np.asarray(open_rows[:, [best]].sum(1)).reshape(-1) == 0]
    return [] if open_rows.shape[0] else sorted(chosen)


def write_over_time(
    path: Path, rules: Sequence[RuleOverTime], schema: VisitSchema, parts: Mapping[str, Visits]
) -> None:
    """Add the rules to ``constraints.yaml``, with words, support and exceptions; a small count is not told.

    Args:
        path: of the file, which is there already.
        rules: over time.
        schema: of the visits.
        parts: visits of ``train`` and ``holdout``.
    """
    compiled = RulesOverTime(rules, schema)
    counts = {part: [each.sum(0).tolist() for each in compiled.judged(parts[part])] for part in ("train", "holdout")}
    entries = []
    for place, (rule, words) in enumerate(zip(rules, compiled.describe(), strict=True)):
        (support, exceptions), there = (counts[part] for part in ("train", "holdout"))
        for_people = {
            "words": words,
            "support": shown(support[place]),
            **({"train_exceptions": shown(exceptions[place])} if exceptions[place] else {}),
            "holdout_exceptions": shown(there[1][place]),
        }
        entries.append({**rule.to_dict(), **for_people, **({ALLOW: True} if exceptions[place] else {})})
    listed = yaml.safe_dump({"over_time": entries}, sort_keys=False, allow_unicode=True, width=120)
    write_text(path, f"{path.read_text(encoding='utf-8')}{HEADER}{listed}")


def read_over_time(path: Path, schema: VisitSchema, train: Visits) -> tuple[RuleOverTime, ...]:
    """Read rules that somebody wrote or edited.

    Raises:
        FileError: missing, or no YAML.
        SchemaError: a rule is malformed or names a code that visits do not have.
        OptionError: training patients break a rule that does not say ``allow_exceptions: true``.
    """
    entries = read_content(path).get("over_time", [])
    if not isinstance(entries, list):
        raise SchemaError(f"{path}: over_time: a list of rules was expected")
    rules = read_entries(list(_plain(entries)), schema, str(path))
    _, does = RulesOverTime(rules, schema).judged(train)
    for place, (entry, rule, exceptions) in enumerate(zip(entries, rules, does.sum(0).tolist(), strict=True), 1):
        if exceptions and not allows(entry):
            raise OptionError(
                f"{path}: over_time {place}: {rule.describe()!r}: {shown(exceptions)} of {len(train)} training patients"
                f" break it; correct it, or add {ALLOW}: true"
            )
    return rules


def _plain(entries: Sequence[Any]) -> Iterator[Any]:
    """Yield the entries without what stands beside the rules."""
    for entry in entries:
        beside = (*FOR_PEOPLE, ALLOW)
        yield {k: v for k, v in entry.items() if k not in beside} if isinstance(entry, dict) else entry
