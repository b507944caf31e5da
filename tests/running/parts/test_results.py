"""Rows are written to a file that appears when it is complete."""

import numpy as np
import pytest
import torch

from spikegraph.running.parts.results import write_rows


@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float64, torch.long, torch.bfloat16]
)
def test_rows(tmp_path, dtype):
    rows, path = torch.arange(22).view(11, 2).to(dtype), tmp_path / 'out.npy'
    found = write_rows(path, 11, rows[:1], rows.split(4))
    assert found.dtype == dtype and torch.equal(found, rows)
    if dtype is not torch.bfloat16:
        assert np.array_equal(np.load(path), rows.numpy())
    assert [p.name for p in tmp_path.iterdir()] == ['out.npy']


def test_rows_that_cannot_be_made(tmp_path):
    path = tmp_path / 'out.npy'
    write_rows(path, 2, torch.zeros(2, 3), [torch.zeros(2, 3)])
    before = path.read_bytes()

    def blocks():
        yield torch.ones(1, 3)
        raise MemoryError

    with pytest.raises(MemoryError):
        write_rows(path, 2, torch.zeros(2, 3), blocks())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['out.npy']
