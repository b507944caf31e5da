from pathlib import Path

import pytest
import torch

import spikegraph
from spikegraph.coding import PhaseCode, Spikes
from spikegraph.running.distributed.exchange import Wire, packed, unpack
from spikegraph.running.parts.step import Axis, Kind, Step


@pytest.mark.parametrize('num', [0, 1, 2, 7, 64, 1001])
def test_two_spike_times_share_a_byte(num):
    time = torch.randint(16, (num,), dtype=torch.uint8)
    before = time.clone()
    data, found = packed(time), torch.full((num,), 99, dtype=torch.uint8)
    assert data.dtype == torch.uint8 and len(data) == (num + 1) // 2
    unpack(data, found)
    assert torch.equal(found, before) and torch.equal(time, before)


@pytest.mark.parametrize('num_steps, size', [(16, 80), (15, 40)])
def test_bytes_of_rows_are_those_of_the_page(num_steps, size):
    page = Path(spikegraph.__file__).parents[1] / 'docs' / 'large_graphs.md'
    text = ' '.join(page.read_text().split())
    code = PhaseCode(num_steps, base=1.2)
    for scale, more in ((torch.ones(()), 0), (torch.ones(5, 1), 4)):
        spikes = Spikes.from_values(torch.rand(5, 8), code, scale)
        step = Step('act', Kind.ROWS, Axis(10, 'x'), None, probe=spikes)
        assert Wire(step).size(10) == size + 10 * more
    assert f'and {more} bytes more for a row that has a scale of its own' in text
