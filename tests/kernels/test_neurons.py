"""What needs neither Triton nor a GPU of the operations on CUDA tensors."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch

from spikegraph.coding import PhaseCode, encode
from spikegraph.kernels import encode_spikes
from spikegraph.kernels import triton as ops


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    monkeypatch.delitem(sys.modules, 'spikegraph.kernels.triton_kernels', False)
    ops._is_installed.cache_clear()
    yield
    ops._is_installed.cache_clear()


def test_triton_is_imported_when_needed():
    """Not by the package, though by torch-geometric if it is installed."""
    code = """
import sys
import torch_geometric
sys.modules['triton'] = None
import spikegraph
assert not any(name.endswith('triton_kernels') for name in sys.modules)
"""
    subprocess.run([sys.executable, '-c', code], check=True)


def test_operations_without_triton(without_triton):
    code, x = PhaseCode(4, 2.0), torch.rand(2, 3)
    spike_time = encode(x, code)
    rowptr, col = torch.tensor([0, 1]), torch.tensor([1])
    for call in (
        lambda: ops.aggregate(rowptr, col, None, x),
        lambda: ops.aggregate_spikes(rowptr, col, None, spike_time, code.table()),
        lambda: ops.earliest(rowptr, col, spike_time, 4),
        lambda: ops.transform(spike_time, code.table(), torch.rand(3, 2)),
        lambda: ops.first_spike(x, None, code.thresholds),
        lambda: ops.look_up(spike_time, code.table()),
    ):
        with pytest.raises(ImportError, match="'pip install triton'"):
            call()


def test_warns_once_without_triton(without_triton, monkeypatch):
    monkeypatch.setattr(ops, 'is_plain', lambda x: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (8, 0))
    tensor = SimpleNamespace(
        is_cuda=True, dtype=torch.float32, requires_grad=False, device=None
    )
    with pytest.warns(RuntimeWarning, match='PyTorch works on CUDA tensors') as found:
        assert not ops.is_available(tensor)
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not ops.is_available(tensor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
def test_neurons_without_triton(without_triton):
    code, x = PhaseCode(8, 1.5), torch.rand(40, 3)
    with pytest.warns(RuntimeWarning, match="'pip install triton'") as found:
        spike_time = encode_spikes(x.cuda(), code)
    assert len(found) == 1 and found[0].filename == __file__
    assert torch.equal(spike_time.cpu(), encode(x, code))


@pytest.mark.parametrize(
    'change',
    [
        dict(is_cuda=False),
        dict(dtype=torch.float16),
        dict(requires_grad=True),
        dict(device='old'),
    ],
    ids=str,
)
def test_is_available(monkeypatch, change):
    monkeypatch.setattr(ops, 'is_plain', lambda x: True)
    monkeypatch.setattr(ops, '_is_installed', lambda: True)
    capability = {'new': (7, 5), 'old': (7, 0)}
    monkeypatch.setattr(torch.cuda, 'get_device_capability', capability.get)
    tensor = dict(is_cuda=True, dtype=torch.uint8, requires_grad=False, device='new')
    assert ops.is_available(SimpleNamespace(**tensor))
    assert not ops.is_available(SimpleNamespace(**{**tensor, **change}))
    assert not ops.is_available(torch.rand(3))
