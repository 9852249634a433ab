"""Patients through time in schemas from elsewhere: what stays of each, and what cannot be brought under them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehrsynth.data.cleaning import OTHER
from ehrsynth.data.public_trajectories import PublicTrajectories
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import FileError, SchemaError
from ehrsynth.files import write_json
from ehrsynth.study.prepare import made_trajectories
from ehrsynth.visits import Code, Visits, VisitSchema
from tests.matrices import recipe


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    folder = tmp_path_factory.mktemp("trajectories") / "hospital"
    return made_trajectories(recipe("source=demo_visits", "source.n=300", "form=trajectories"), folder)


def seen(own: Trajectories, folder: Path, change: Callable[[VisitSchema], VisitSchema]) -> PublicTrajectories:
    own.schema.save(folder / "schema.json")
    write_json(folder / "visits.json", change(own.visit_schema).to_dict())
    return PublicTrajectories(own, folder / "schema.json")


def codes_of(visits: Visits, schema: VisitSchema) -> set[tuple[int, str]]:
    return {(int(v), schema.codes[c].name) for v, c in zip(visits.visit_of_code, visits.codes, strict=True)}


def test_names_tell_what_is_what(own: Trajectories, tmp_path: Path) -> None:
    """Codes in another order, one gone, one that nobody has; of two kinds one is told; a measurement gone."""
    gone, lost = own.visit_schema.codes[3].name, own.visit_schema.measurements[0]
    kept = own.visit_schema.measurements[1]
    middle = sum(kept.bounds) / 2

    def change(schema: VisitSchema) -> VisitSchema:
        codes = tuple(code for code in reversed(schema.codes) if code.name != gone)
        return replace(
            schema,
            kinds=(OTHER, schema.kinds[0]),
            ambulatory=(),
            codes=(Code("elsewhere", codes[0].domain), *codes),
            measurements=(replace(kept, bounds=(kept.bounds[0], middle)), *schema.measurements[2:]),
        )

    public = seen(own, tmp_path, change)
    assert public.fingerprint != own.fingerprint
    for part in SPLITS:
        before, after = own.visits(part), public.visits(part)
        after.check(public.visit_schema, part)
        assert codes_of(after, public.visit_schema) == {
            (visit, name) for visit, name in codes_of(before, own.visit_schema) if name != gone
        }
        np.testing.assert_array_equal(after.kinds == 1, before.kinds == 0)
        np.testing.assert_array_equal(after.starts, before.starts)
        values = before.values[before.measured == 1]
        assert (values > middle).any()
        np.testing.assert_allclose(after.values[after.measured == 0], values.clip(None, middle))
        assert len(after.values) == (before.measured != 0).sum()
        assert lost.name not in {measurement.name for measurement in public.visit_schema.measurements}
        assert public.static(part).equals(own.static(part)[public.static(part).columns])
        np.testing.assert_array_equal(public.records(part).dense(), own.records(part).dense())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda schema: replace(schema, kinds=("elsewhere",), ambulatory=()), "kinds of these visits; a kind 'other'"),
        (
            lambda schema: replace(
                schema, measurements=(replace(schema.measurements[0], unit="stones"), *schema.measurements[1:])
            ),
            "is in 'stones'",
        ),
    ],
)
def test_what_cannot_be_brought_under_it(
    own: Trajectories, tmp_path: Path, change: Callable[[VisitSchema], VisitSchema], said: str
) -> None:
    with pytest.raises(SchemaError, match=said):
        seen(own, tmp_path, change)


def test_both_schemas_must_be_there(own: Trajectories, tmp_path: Path) -> None:
    own.schema.save(tmp_path / "schema.json")
    with pytest.raises(FileError, match=r"visits\.json"):
        PublicTrajectories(own, tmp_path / "schema.json")
