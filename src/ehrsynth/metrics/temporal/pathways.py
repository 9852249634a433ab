"""Lines of treatment: which codes of a class come first, second and third (OHDSI treatment pathways)."""

from collections.abc import Sequence

import numpy as np

from ehrsynth.metrics.temporal.content import first_seen, patient_of_code
from ehrsynth.metrics.temporal.ngrams import Counts
from ehrsynth.visits import Integers, Visits

LINES = 3
MOST = 20  # codes of a class: a line is a set of them, three lines fit 60 bits


def pathways(visits: Visits, width: int, codes: Integers) -> Counts:
    """Count the patients on each path of up to three lines.

    A line is the set of codes of the class that first come at one visit, after those of the lines before (Hripcsak et
    al., PNAS 2016). Patients without any code of the class are on no path.

    Args:
        visits: the visits.
        width: number of codes of the schema.
        codes: of the class, at most ``MOST``.

    Returns:
        Under the key sum over lines l of (sum of 2^(place of code)) 2^(20 l).
    """
    place = np.full(width, -1)
    place[codes] = np.arange(len(codes))
    starts = first_seen(visits, width) & (place[visits.codes] >= 0)
    visit, line_of = np.unique(visits.visit_of_code[starts], return_inverse=True)
    sets = np.zeros(len(visit), np.int64)
    np.bitwise_or.at(sets, line_of, np.int64(1) << place[visits.codes[starts]])
    patient = visits.patient[visit]
    number = np.arange(len(visit)) - np.searchsorted(patient, patient)
    paths = np.zeros(len(visits), np.int64)
    used = number < LINES
    np.bitwise_or.at(paths, patient[used], sets[used] << (MOST * number[used]))
    on_path = np.unique(patient_of_code(visits)[starts])
    return Counts(*np.unique(paths[on_path], return_counts=True))


def spelled(path: int, names: Sequence[str]) -> str:
    """Return a path in words: the codes of a line joined by ``+``, lines by ``then``."""
    lines = [(path >> (MOST * line)) % 2**MOST for line in range(LINES)]
    return " then ".join("+".join(name for i, name in enumerate(names) if line >> i & 1) for line in lines if line)
