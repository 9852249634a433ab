"""A matrix folder read in row groups: the same records, and errors that name the row of the file."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from ehrsynth.chunks import write_chunks
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.split import SPLITS
from ehrsynth.errors import TableError
from ehrsynth.files import read_json, sha256, write_json
from tests import matrices


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return matrices.make(tmp_path_factory.mktemp("matrices") / "demo", "source.n=600")


@pytest.fixture
def folder(prepared: Matrix, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared.folder, tmp_path / "copy"))


def rewrite(file: Path, table: pd.DataFrame, rows: int = 100) -> None:
    def pieces() -> Iterator[pd.DataFrame]:
        for start in range(0, len(table), rows):
            yield table.iloc[start : start + rows]

    write_chunks(file, pieces())


def test_records_do_not_depend_on_the_row_groups(prepared: Matrix, folder: Path) -> None:
    encoder = Encoder(prepared.schema)
    for part in SPLITS:
        table = getattr(prepared, part)
        expected = encoder.encode(table).digest()
        assert prepared.records(part).digest() == expected
        rewrite(folder / f"{part}.parquet", table)
    provenance = read_json(folder / "provenance.json")
    provenance["outputs"] |= {f"{part}.parquet": sha256(folder / f"{part}.parquet") for part in SPLITS}
    write_json(folder / "provenance.json", provenance)
    again = Matrix.open(folder)
    for part in SPLITS:
        assert again.records(part).digest() == prepared.records(part).digest()
        pd.testing.assert_frame_equal(getattr(again, part), getattr(prepared, part))


def test_the_dense_form_is_the_table(prepared: Matrix) -> None:
    records, layout = prepared.records("train"), prepared.records("train").layout
    for name in ("dx_401", "died_1y"):
        if name in prepared.train:
            found = records.dense()[:, layout.names.index(name)]
            assert torch.equal(found, torch.from_numpy(prepared.train[name].to_numpy("float32")))


@pytest.mark.parametrize("row", [0, 99, 100, 345])
@pytest.mark.parametrize(
    ("column", "cell", "words"), [("dx_401", 2, "holds 0 or 1"), ("sex", "X", "not one of the schema's")]
)
def test_a_cell_that_does_not_fit_is_named_by_its_row_in_the_file(
    folder: Path, row: int, column: str, cell: object, words: str
) -> None:
    table = pd.read_parquet(folder / "train.parquet")
    table.loc[row, column] = cell
    rewrite(folder / "train.parquet", table)
    with pytest.raises(TableError, match=rf"train\.parquet: column '{column}', row {row}: .*{words}"):
        Matrix.open(folder)


def test_a_subject_of_another_part_is_named_by_its_row_in_the_file(folder: Path) -> None:
    holdout = pd.read_parquet(folder / "holdout.parquet")
    holdout.loc[150, "subject_id"] = pd.read_parquet(folder / "train.parquet")["subject_id"].iloc[0]
    rewrite(folder / "holdout.parquet", holdout)
    with pytest.raises(TableError, match=r"holdout\.parquet: the subject of row 150 is also in train\.parquet"):
        Matrix.open(folder)


def test_an_outcome_that_is_constant_over_all_row_groups(folder: Path) -> None:
    table = pd.read_parquet(folder / "train.parquet")
    outcome = Matrix(folder).schema.outcomes[0].name
    rewrite(folder / "train.parquet", table.sort_values(outcome, ignore_index=True), rows=10)  # constant in most
    with pytest.raises(Exception, match="changed since prepare wrote it"):
        Matrix.open(folder)
    rewrite(folder / "train.parquet", table.assign(**{outcome: table[outcome] * 0}))
    with pytest.raises(TableError, match=rf"train\.parquet: column '{outcome}': a constant outcome"):
        Matrix.open(folder)


def test_a_table_without_subjects(folder: Path) -> None:
    rewrite(folder / "train.parquet", pd.read_parquet(folder / "train.parquet").drop(columns="subject_id"))
    with pytest.raises(TableError, match=r"train\.parquet: no column 'subject_id'"):
        Matrix.open(folder)
