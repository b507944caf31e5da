import pytest
import torch

from spikegraph.running.distributed.exchange import packed, unpack


@pytest.mark.parametrize('num', [0, 1, 2, 7, 64, 1001])
def test_two_spike_times_share_a_byte(num):
    time = torch.randint(16, (num,), dtype=torch.uint8)
    before = time.clone()
    data, found = packed(time), torch.full((num,), 99, dtype=torch.uint8)
    assert data.dtype == torch.uint8 and len(data) == (num + 1) // 2
    unpack(data, found)
    assert torch.equal(found, before) and torch.equal(time, before)
