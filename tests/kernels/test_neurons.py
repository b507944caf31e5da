"""What needs neither Triton nor a GPU of the operations on CUDA tensors."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch

from spikegraph.coding import PhaseCode, encode
from spikegraph.kernels import dispatch, encode_spikes, triton


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    for name in ('kernels', 'operations'):
        name = f'spikegraph.kernels.triton.{name}'
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(triton, 'kernels', raising=False)
    clear = dispatch.backends.cache_clear
    clear()
    yield
    clear()


def test_triton_is_imported_when_needed():
    """Not by the package, though by torch-geometric if it is installed."""
    code = """
import sys
import torch_geometric
sys.modules['triton'] = None
import torch
from spikegraph.coding import PhaseCode
from spikegraph.kernels import encode_spikes
encode_spikes(torch.rand(3), PhaseCode(4, 2.0))
assert not any('kernels.triton.' in name for name in sys.modules)
"""
    subprocess.run([sys.executable, '-c', code], check=True)


def test_warns_once_without_triton(without_triton, monkeypatch):
    found = [each for each in dispatch.backends() if each.name != 'cpu']
    monkeypatch.setattr(dispatch, 'backends', lambda: found)
    monkeypatch.setattr(found[0], 'takes', lambda x: True)
    code, x = PhaseCode(8, 1.5), torch.rand(40, 3)
    with pytest.warns(RuntimeWarning, match="'pip install triton'") as seen:
        spike_time = encode_spikes(x, code)
    assert len(seen) == 1 and seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert torch.equal(encode_spikes(x, code), spike_time)
    assert torch.equal(spike_time, encode(x, code))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
def test_neurons_without_triton(without_triton):
    code, x = PhaseCode(8, 1.5), torch.rand(40, 3)
    with pytest.warns(RuntimeWarning, match="'pip install triton'") as found:
        spike_time = encode_spikes(x.cuda(), code)
    assert len(found) == 1 and found[0].filename == __file__
    assert torch.equal(spike_time.cpu(), encode(x, code))


@pytest.mark.parametrize(
    'change', [dict(is_cuda=False), dict(size=0), dict(device='old')], ids=str
)
def test_takes(monkeypatch, change):
    monkeypatch.setattr(triton, 'is_plain', lambda x: True)
    capability = {'new': (7, 5), 'old': (7, 0)}
    monkeypatch.setattr(torch.cuda, 'get_device_capability', capability.get)

    def tensor(is_cuda=True, size=3, device='new'):
        return SimpleNamespace(is_cuda=is_cuda, device=device, numel=lambda: size)

    assert triton.takes(tensor())
    assert not triton.takes(tensor(**change))
    assert not triton.takes(torch.rand(3))
