"""What takes Triton's kernels on CUDA, interpreted where there is no GPU."""

import pytest
import torch

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.kernels import dispatch, earliest, neighbor_adjacency, propagate, send

pytest.importorskip('triton', reason='Triton is not installed')


@pytest.fixture
def on_cuda(monkeypatch):
    """Returns a function that runs another as on CUDA, and what it returned."""

    on_triton = [each for each in dispatch.backends() if each.name != 'cpu']
    for each in on_triton:
        monkeypatch.setattr(each, 'takes', lambda tensor: tensor.numel() > 0)

    def run(function):
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, 'backends', lambda: on_triton)
            return function()

    if torch.cuda.is_available():
        pytest.skip('tests/kernels/test_triton.py runs on the GPU')
    return run


@pytest.mark.parametrize('num_channels', [0, 5])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('per', [None, 'node', 'channel'])
def test_sums_and_spikes_equal_those_of_the_cpu(on_cuda, num_channels, weighted, per):
    code = PhaseCode(7, 1.4, signed=True)
    edge_index = torch.stack([torch.randint(9, (40,)), torch.randint(6, (40,))])
    weight = torch.rand(40) if weighted else None
    adjacency = neighbor_adjacency(edge_index, weight, 9, 6, torch.float32, mean=True)
    times = torch.randint(len(code.table()), (9, 5), dtype=torch.uint8)
    scale = {'node': torch.rand(9, 1) + 0.5, 'channel': torch.rand(5) + 0.5}
    scale = scale.get(per, torch.tensor(0.7))
    spikes, bias = Spikes(times, code, scale), torch.randn(5)
    threshold = torch.rand(num_channels) + 0.1 if num_channels else torch.tensor(0.3)
    for x in (spikes, spikes.decode()):
        expected = propagate(adjacency, x)
        assert torch.equal(on_cuda(lambda x=x: propagate(adjacency, x)), expected)
        rows = on_cuda(lambda x=x: send(adjacency, x).sums((2, 5)))
        assert torch.equal(rows, expected[2:5])
        spike_time = send(adjacency, x).encode(bias, code, threshold)
        found = on_cuda(lambda x=x: send(adjacency, x).encode(bias, code, threshold))
        if spike_time is None:  # Scales of channels are multiplied by last.
            assert found is None and per == 'channel' and x is spikes
        else:
            assert torch.equal(found, spike_time)


@pytest.mark.parametrize('latest', [False, True])
def test_earliest_equals_that_of_the_cpu(on_cuda, latest):
    edge_index = torch.stack([torch.randint(9, (20,)), torch.randint(6, (20,))])
    adjacency = neighbor_adjacency(edge_index, None, 9, 7, torch.float32)
    rank = torch.randint(16, (9, 3, 2), dtype=torch.uint8)
    expected = earliest(adjacency, rank, 15, latest)
    assert torch.equal(on_cuda(lambda: earliest(adjacency, rank, 15, latest)), expected)
