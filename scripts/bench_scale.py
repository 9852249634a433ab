"""Scale: what a large table takes to hold, to batch, to write and to open; and a hospital from raw tables to matrix.

Every part runs in a process of its own, so that its peak memory is its own:

    bench_scale.py records     1,000,000 x 5,000 codes: held and served in shuffled batches
    bench_scale.py folder      the same table as a matrix folder: written, opened
    bench_scale.py hospital    a simulated hospital of 300,000 patients: raw MIMIC-IV tables -> matrix folder
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pandas as pd
import torch

from ehrsynth.bits import BLOCK, Bits, ones
from ehrsynth.chunks import rows_of, write_chunks
from ehrsynth.data.datamodule import IndexBatches
from ehrsynth.data.matrix import OUTPUTS, Matrix
from ehrsynth.files import sha256, write_json
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import SUBJECT, Column, Schema
from ehrsynth.seeding import numpy_rng

DENSITY = 0.005
REPETITIONS = 5


def schema_of(codes: int) -> Schema:
    """Return codes and one number."""
    columns = [Column(f"dx_{i}", "binary", domain="diagnosis") for i in range(codes)]
    return Schema((*columns, Column("age", "continuous", bounds=(0.0, 1.0))))


def cells(n: int, codes: int, stream: str) -> np.ndarray:
    """Return uint8 [n, codes] with ones at random places."""
    rng, table = numpy_rng(0, "bench", stream), np.zeros((n, codes), np.uint8)
    table.ravel()[rng.integers(n * codes, size=int(n * codes * DENSITY))] = 1
    return table


def large_records(n: int, codes: int) -> Records:
    """Return ``n`` records that are never dense but for a block."""
    blocks = [
        Bits.of(torch.from_numpy(cells(min(BLOCK, n - start), codes, str(start)))).packed
        for start in range(0, n, BLOCK)
    ]
    return Records(Layout.of(schema_of(codes)), Bits(torch.cat(blocks), codes), torch.rand(n, 1))


def epoch(records: Records, batch: int) -> float:
    """Return the rows a second of an epoch of shuffled batches."""
    served = IndexBatches(records, batch_size=batch, seed=0, epoch=lambda: 0, drop_last=True)
    start = perf_counter()
    rows = sum(map(len, served))
    return rows / (perf_counter() - start)


def held(n: int, codes: int, batch: int) -> None:
    """Hold and serve a large table, and compare with bytes on a part of it."""
    start = perf_counter()
    records = large_records(n, codes)
    print(f"{n:,} x {codes:,} built in {perf_counter() - start:.0f} s; packed {megabytes(records):,.0f} MB")
    start = perf_counter()
    counts = ones(records.bits)
    print(f"ones of every column ({int(counts.sum()):,}) in {perf_counter() - start:.1f} s")
    print(f"batches of {batch:,}: {epoch(records, batch):,.0f} rows/s")
    print(f"peak memory of the process {gigabytes():.2f} GB")
    some = records[: min(n, 50_000)]
    in_bytes = Records(some.layout, some.bits[:, :], some.values)
    found = [(epoch(some, batch), epoch(in_bytes, batch)) for _ in range(REPETITIONS)]
    print(f"{len(some):,} of the rows, bits against bytes: {np.median([a / b for a, b in found]):.2f} times the rows/s")


def megabytes(records: Records) -> float:
    """Return the size of what is held."""
    packed = records.packed()
    return (packed.bits.packed.nbytes + packed.values.nbytes) / 1e6  # type: ignore[union-attr]


def folder(n: int, codes: int) -> None:
    """Write a matrix folder and open it."""
    schema = schema_of(codes)
    rows = rows_of(codes + 2)

    def frames(part: str, count: int) -> Iterator[pd.DataFrame]:
        for start in range(0, count, rows):
            table = cells(min(rows, count - start), codes, f"{part} {start}").view(np.int8)
            frame = pd.DataFrame(np.asfortranarray(table), columns=schema.names[:-1])
            frame["age"] = numpy_rng(0, "bench", "age").random(len(frame))
            frame.insert(0, SUBJECT, [f"{part}-{start + i}" for i in range(len(frame))])
            yield frame

    with TemporaryDirectory() as name:
        path = Path(name)
        start = perf_counter()
        for part, count in (("train", n * 6 // 10), ("validation", n // 10), ("holdout", n * 3 // 10)):
            write_chunks(path / f"{part}.parquet", frames(part, count))
        schema.save(path / "schema.json")
        write_json(path / "constraints.json", {"version": 1, "constraints": []})
        write_json(path / "low_prevalence.json", {"version": 1, "codes": []})
        write_json(path / "provenance.json", {"outputs": {output: sha256(path / output) for output in OUTPUTS}})
        size = sum((path / output).stat().st_size for output in OUTPUTS) / 1e6
        print(f"{n:,} x {codes:,} written in {perf_counter() - start:.0f} s: {size:,.0f} MB")
        print(f"peak memory of the process {gigabytes():.2f} GB")
        start = perf_counter()
        matrix = Matrix.open(path)
        records = [matrix.records(part) for part in ("train", "validation", "holdout")]
        print(f"opened, checked and encoded in {perf_counter() - start:.0f} s: {sum(map(len, records)):,} records")
        print(f"peak memory of the process {gigabytes():.2f} GB")


def hospital(n: int) -> None:
    """Write the raw tables of a simulated hospital, then time ``prepare`` on them."""
    with TemporaryDirectory() as name:
        raw = Path(name) / "raw"
        _timed("demo -> raw tables", "source=demo", f"source.n={n}", f"source.write_raw={raw}", f"out={name}/demo")
        _timed("raw tables -> matrix", "source=mimic_iv", f"source.root={raw}", f"out={name}/matrix")


def _timed(what: str, *overrides: str) -> None:
    start = perf_counter()
    process = subprocess.Popen([Path(sys.executable).parent / "ehrsynth", "prepare", *overrides])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{what}: exit status {os.waitstatus_to_exitcode(status)}")
    print(f"{what}: {perf_counter() - start:.0f} s, peak memory of the process {gigabytes(used):.2f} GB", flush=True)


def gigabytes(used: resource.struct_rusage | None = None) -> float:
    """Return the most memory that was ever resident; of this process by default."""
    return (used or resource.getrusage(resource.RUSAGE_SELF)).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("records", "folder", "hospital"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--codes", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--patients", type=int, default=300_000)
    chosen = parser.parse_args()
    if chosen.part is None:
        print(f"{platform.platform()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads", flush=True)
        for part in ("records", "folder", "hospital"):
            subprocess.run([sys.executable, __file__, part, *sys.argv[1:]], check=True)
    elif chosen.part == "hospital":
        hospital(chosen.patients)
    elif chosen.part == "records":
        held(chosen.rows, chosen.codes, chosen.batch)
    else:
        folder(chosen.rows, chosen.codes)


if __name__ == "__main__":
    main()
