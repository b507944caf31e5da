import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikegraph import kernels
from spikegraph.coding import PhaseCode, encode
from spikegraph.kernels import (
    decode_spikes,
    dispatch,
    encode_spikes,
    info,
    row_peaks,
)

ROOT = Path(kernels.__file__).parents[2]
INIT = """
RANK, NEEDS = -1, 'Nothing'


def takes(x):
    return x.device.type == 'cpu' and x.numel() > 2
"""
OPERATIONS = """
calls = []


def encode(potential, code, scale):
    calls.append(len(potential))
    if len(potential) > 4:
        return NotImplemented
    return potential.new_zeros(potential.shape, dtype=potential.dtype).byte()
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A backend with one function, in a folder beside the others."""
    folder = tmp_path / 'tiny'
    folder.mkdir()
    (folder / '__init__.py').write_text(INIT)
    (folder / 'operations.py').write_text(OPERATIONS)
    monkeypatch.setattr(kernels, '__path__', [*kernels.__path__, str(tmp_path)])
    dispatch.backends.cache_clear()
    yield dispatch.backends()[0]
    dispatch.backends.cache_clear()
    for name in ('tiny', 'tiny.operations'):
        sys.modules.pop(f'spikegraph.kernels.{name}', None)


def test_a_backend_is_a_folder_with_some_of_the_functions(tiny):
    assert tiny.name == 'tiny'
    code, x = PhaseCode(4, 2.0), torch.linspace(0.1, 1.0, 4)
    assert encode_spikes(x, code).tolist() == [0] * 4
    longer = x.repeat(2)  # It leaves these to others,
    assert torch.equal(encode_spikes(longer, code), encode(longer, code))
    assert tiny.operations.calls == [4, 8]
    assert torch.equal(encode_spikes(x[:2], code), encode(x[:2], code))  # takes none
    assert tiny.operations.calls == [4, 8]
    assert row_peaks(x.view(2, 2)).tolist() == x.view(2, 2).amax(1, True).tolist()


def test_it_is_gone_with_its_folder():
    names = [each.name for each in dispatch.backends()]
    assert sorted(names) == ['cpu', 'torch', 'triton'] and names[-1] == 'torch'
    code, x = PhaseCode(4, 2.0), torch.linspace(0.1, 1.0, 4)
    assert torch.equal(encode_spikes(x, code), encode(x, code))


def test_functions_have_the_same_arguments_everywhere():
    from spikegraph.kernels import reference
    from spikegraph.kernels.cpu import operations as cpu
    from spikegraph.kernels.torch import operations as plain

    for name in cpu.__all__:
        found = _arguments(getattr(cpu, name))
        for other in (plain, reference):
            if hasattr(other, name):
                assert _arguments(getattr(other, name)) == found, name
    only = {'digest_all', 'send_spikes', 'send_delayed', 'late'}  # Others do without.
    only |= {'encode_decode', 'encode_rows', 'convolve', 'convolve_decode'}
    assert set(plain.__all__) | only == set(cpu.__all__)


def _arguments(function):
    return list(inspect.signature(function).parameters)


def test_a_backend_that_cannot_be_imported(tiny):
    path = Path(sys.modules['spikegraph.kernels.tiny'].__file__)
    path.with_name('operations.py').write_text('import nothing_of_that_name')
    x, code = torch.linspace(0.1, 1.0, 4), PhaseCode(4, 2.0)
    with pytest.warns(RuntimeWarning, match="'pip install nothing'") as found:
        spike_time = encode_spikes(x, code)
    assert len(found) == 1 and found[0].filename == __file__
    assert torch.equal(spike_time, encode(x, code))
    assert torch.equal(encode_spikes(x, code), spike_time)  # And not again.


def test_info():
    found = info()
    assert found['path'] in ('numba', 'torch') and found['num_threads'] > 0


def test_backends_are_imported_when_needed():
    code = """
import sys
import torch
from spikegraph.kernels import dispatch
names = [each.name for each in dispatch.backends()]
assert 'cpu' in names
for name in ('cpu', 'torch', 'triton'):
    assert f'spikegraph.kernels.{name}.operations' not in sys.modules
"""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    subprocess.run([sys.executable, '-c', code], check=True, env=environment)


def test_only_one_backend_is_asked():
    times = torch.tensor([[0, 4]], dtype=torch.uint8)
    with dispatch.only('torch'):
        assert dispatch.info()['path'] == 'torch'
        assert dispatch.find('digest', torch.ones(1)).__module__.endswith(
            'torch.operations'
        )
        code, scale = PhaseCode(4, base=2), torch.ones(())
        decoded = decode_spikes(times, code, scale)
        assert decoded.tolist() == [[1.0, 0.0]]
        mine = dispatch.call('look_up', times, code.table(), scale)
        assert torch.equal(mine.to(decoded), decoded)
        with (
            pytest.raises(ValueError, match=r"to be one of cpu, .* \(got 'abacus'\)"),
            dispatch.only('abacus'),
        ):
            pass
        assert dispatch.info()['path'] == 'torch'
    assert dispatch.info()['path'] == 'numba'
