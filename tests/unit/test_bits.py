"""Packed bits: read like the tensor they stand for, in an eighth of its memory."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from ehrsynth import bits as module
from ehrsynth.bits import Bits, as_sparse, by_shifts, chosen, ones, pack, unpack
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema

WIDTHS = (1, 7, 8, 9, 64, 200)


def cells(n: int, width: int, seed: int = 0) -> Tensor:
    return (torch.rand(n, width, generator=torch.Generator().manual_seed(seed)) < 0.3).to(torch.uint8)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n", [1, 255, 256, 700])
def test_reading_is_that_of_the_tensor(n: int, width: int) -> None:
    table = cells(n, width)
    packed = pack(table)
    assert packed.shape == table.shape
    assert len(packed) == n
    assert packed.packed.numel() == n * -(-width // 8)
    assert torch.equal(unpack(packed), table)
    assert torch.equal(ones(packed), table.sum(0))
    assert torch.equal(ones(table), table.sum(0))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    for rows in (order, slice(n // 3, None), slice(0, 0), order > n // 2):
        assert torch.equal(unpack(packed[rows]), table[rows])
    places = torch.randperm(width, generator=torch.Generator().manual_seed(2))
    for columns in (0, width - 1, -1, slice(None), slice(width // 3, width), slice(0, 0), places.tolist(), []):
        assert torch.equal(packed[:, columns], table[:, columns])
        assert torch.equal(packed[order, columns], table[order][:, columns])
    assert torch.equal(packed[:, places > width // 2], table[:, places > width // 2])


def test_shifts_give_what_numpy_unpacks() -> None:
    packed = pack(cells(50, 13))
    assert torch.equal(by_shifts(packed.packed)[:, :13], packed.unpack())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu() -> None:
    table, order = cells(700, 200), torch.randperm(700)
    packed, cuda = pack(table), torch.device("cuda")
    there = packed.to(cuda)
    assert torch.equal(there.unpack().cpu(), table)
    assert torch.equal(there.ones().cpu(), table.sum(0))
    assert torch.equal(there[order.to(cuda)].unpack().cpu(), table[order])
    assert torch.equal(there[:, [3, 1, 199]].cpu(), table[:, [3, 1, 199]])
    assert torch.equal(there[:, 3:77].cpu(), table[:, 3:77])


@pytest.mark.parametrize("width", WIDTHS)
def test_columns_put_one_by_one(width: int) -> None:
    table, found = cells(300, width), Bits.empty(300, width)
    for column in reversed(range(width)):
        found.put(column, table[:, column])
    assert torch.equal(found.by_rows().packed, pack(table).packed)
    assert found.by_rows().packed.is_contiguous()


def test_some_columns_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 64)
    table, columns = cells(300, 40), [5, 0, 39, 17]
    for form in (table, pack(table)):
        assert torch.equal(unpack(chosen(form, columns)), table[:, columns])
        assert (as_sparse(form, columns).toarray() == table[:, columns].numpy()).all()
        assert (as_sparse(form, slice(None)).toarray() == table.numpy()).all()


def records(n: int = 300) -> Records:
    columns = (Column("a", "binary"), Column("b", "binary"), Column("x", "continuous", bounds=(0, 1)))
    return Records(Layout.of(Schema(columns)), cells(n, 2), torch.rand(n, 1))


def test_records_are_the_same_packed_or_not() -> None:
    loose = records()
    packed = loose.packed()
    order = torch.randperm(300)[:70]
    assert torch.equal(packed.dense(), loose.dense())
    assert torch.equal(packed.dense(order), loose.dense(order))
    assert torch.equal(packed[order].dense(), loose[order].dense())
    assert packed.digest() == loose.digest() != loose[order].digest()
    joined = Records.joined([loose[:100], packed[100:250], loose[250:]])
    assert joined.digest() == loose.digest()
    assert [len(block) for block in packed.blocks(128)] == [128, 128, 44]


HELD = """
import resource, torch
from ehrsynth.bits import Bits
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema
layout = Layout.of(Schema(tuple(Column(f"c{i}", "binary") for i in range(5000))))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
records = Records(layout, Bits.empty(100_000, 5000).by_rows(), torch.zeros(100_000, 0))
batches = torch.randperm(100_000)[:10_000].split(1000)
assert sum(len(records.dense(batch)) for batch in batches) == 10_000 and not records.bits.ones().any()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_table_takes_an_eighth_of_its_bytes() -> None:
    run = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 300  # MB, for cells of 500 MB; one batch dense is 20 MB
