"""Visits as tables of the OMOP CDM 5.4, which ``prepare source=omop`` reads back as they were.

    person, death, observation_period, payer_plan_period        who
    visit_occurrence                                            every visit, with its kind
    condition_occurrence, procedure_occurrence, drug_exposure   codes by their domain
    measurement                                                 laboratory tests, vital signs and other numbers
    observation                                                 other codes, and what is said of a patient once
    concept, cdm_source                                         the words of every code; what this is

No code has a standard concept: these are names of columns, whose concept is 0. Each stands as source value beside a
concept of the vocabulary ``EHRSYNTH``, numbered above two billion, where the CDM leaves room for one's own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ehrsynth.chunks import chunk_writer, write_table
from ehrsynth.data.omop_concepts import Concepts, dates
from ehrsynth.data.omop_people import (
    CODED,
    coded,
    death,
    measurement,
    observation,
    observation_period,
    of_domain,
    payer_plan_period,
    person,
    visit_occurrence,
)
from ehrsynth.data.trajectories_out import Portion, Shard, new_folder, shards
from ehrsynth.data.vocabulary.base import OWN
from ehrsynth.visits import Visits, VisitSchema

NUMBERED = (  # tables whose rows have a number of their own
    *("condition_occurrence", "procedure_occurrence", "drug_exposure", "measurement", "observation"),
    *("observation_period", "payer_plan_period"),
)


def write_omop(
    visits: Visits,
    schema: VisitSchema,
    static: pd.DataFrame,
    folder: Path,
    *,
    suffix: str = ".parquet",
    synthetic: bool = True,
) -> Path:
    """Write the tables; persons have fresh numbers, 1 to n, in their order, and their visits too.

    Args:
        visits: of n patients.
        schema: what they are made of.
        static: what is said of the patients once, in the same order; a column ``subject_id`` is left out.
        folder: of the tables; it appears under this name only when it is complete.
        suffix: of the files: ``.parquet``, ``.csv`` or ``.csv.gz``.
        synthetic: ``cdm_source`` says so.

    Returns:
        The folder.

    Raises:
        OptionError: the folder is there already.
        TableError: visits and static rows do not fit.
    """
    stream_omop([(visits, static)], schema, folder, suffix=suffix, synthetic=synthetic)
    return folder


def stream_omop(
    portions: Iterable[Portion],
    schema: VisitSchema,
    folder: Path,
    *,
    suffix: str = ".parquet",
    synthetic: bool = True,
) -> dict[str, int]:
    """Write the tables of patients who come some at a time; see ``write_omop``.

    Returns:
        How many events of each table have a source value alone, and the concept 0.
    """
    concepts = Concepts(schema)
    by_name: Mapping[str, Callable[[Shard, Concepts], pd.DataFrame]] = {
        "person": person,
        "death": death,
        "observation_period": observation_period,
        "payer_plan_period": payer_plan_period,
        "visit_occurrence": visit_occurrence,
        **{table: coded(domain) for domain, (table, *_) in CODED.items() if domain != "code"},
        "measurement": measurement,
        "observation": observation,
    }
    bare: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    latest = 0
    with new_folder(folder) as aside:
        with ExitStack() as open_files:
            add = {name: open_files.enter_context(chunk_writer(aside / f"{name}{suffix}")) for name in by_name}
            for shard in shards(portions, schema, "OMOP"):
                for name, make in by_name.items():
                    made = _typed(make(shard, concepts))
                    if name in NUMBERED:
                        made.insert(0, f"{name}_id", rows[name] + 1 + np.arange(len(made)))
                    rows[name] += len(made)
                    add[name](made)
                bare.update(without_standard_concept(shard.visits, schema))
                latest = max(latest, int(shard.visits.starts.max(initial=0)))
        write_table(aside / f"concept{suffix}", _typed(concepts.table()))
        write_table(aside / f"cdm_source{suffix}", _typed(_cdm_source(latest, synthetic=synthetic)))
    return dict(bare)


def without_standard_concept(visits: Visits, schema: VisitSchema) -> dict[str, int]:
    """Return how many events of each table have a source value alone, and the concept 0."""
    times = np.bincount(visits.codes, minlength=len(schema.codes))
    counts = {table: int(times[of_domain(schema, domain)].sum()) for domain, (table, *_) in CODED.items()}
    return {**counts, "measurement": len(visits.values)}


def _cdm_source(last: int, *, synthetic: bool) -> pd.DataFrame:
    latest = dates(np.array([last]))  # of the data: the same data, the same bytes
    what = "Synthetic patients" if synthetic else "Patients"
    drawn = "Synthetic: drawn from a model, no records of care." if synthetic else "Written from a trajectories folder."
    return pd.DataFrame(
        {
            "cdm_source_name": [f"{what} of ehrsynth"],
            "cdm_source_abbreviation": what.lower(),
            "cdm_holder": "synthetic" if synthetic else "unknown",
            "source_description": drawn,
            "cdm_etl_reference": f"ehrsynth {version('ehrsynth')}",
            "source_release_date": latest,
            "cdm_release_date": latest,
            "cdm_version": "5.4",
            "cdm_version_concept_id": 756265,
            "vocabulary_version": f"{OWN} {version('ehrsynth')}",
        }
    )


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts are texts, also where a chunk has none."""
    return table.astype({name: "string" for name in table if pd.api.types.is_object_dtype(table[name].dtype)})
