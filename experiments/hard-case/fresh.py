"""Fresh patients of the hard case, as many as a matrix has training rows: what the generator of the data itself draws.

    python experiments/hard-case/fresh.py MATRIX OUT.parquet

They are of another seed than the matrix, and their numbers are clipped to its bounds, as those of all its rows are.
"""

import sys
from pathlib import Path

from ehrsynth.chunks import write_table
from ehrsynth.data.hard_case import draw
from ehrsynth.data.matrix import Matrix

SEED = 1_000


def main(folder: str, out: str) -> None:
    """Write the table."""
    matrix = Matrix.open(Path(folder))
    table = draw(len(matrix.train), SEED)[list(matrix.schema.names)]
    for column in matrix.schema.columns:
        if column.bounds is not None:
            table[column.name] = table[column.name].clip(*column.bounds)
    write_table(Path(out), table)


if __name__ == "__main__":
    main(*sys.argv[1:])
