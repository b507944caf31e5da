import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikegraph.kernels import info
from tests.kernels import processor

ROOT = Path(__file__).parents[2]
AVX2 = '+avx,+avx2,+fma,+bmi,+bmi2,+popcnt,+sse4.1,+sse4.2,+ssse3'
PROCESSORS = {'haswell': (AVX2, 'avx2'), 'generic': ('', 'memory')}


@pytest.mark.slow
@pytest.mark.parametrize('name', PROCESSORS)
def test_other_processors_agree_bit_by_bit(name, tmp_path):
    features, levels = PROCESSORS[name]
    if name == 'haswell' and info()['levels'] == 'memory':
        pytest.skip('this processor cannot run it')
    inputs, outputs = tmp_path / 'inputs.pt', tmp_path / 'outputs.pt'
    torch.save(processor.make_inputs(), inputs)
    environment = {
        'NUMBA_CPU_NAME': name,
        'NUMBA_CPU_FEATURES': features,
        'NUMBA_CACHE_DIR': str(tmp_path / 'cache'),
    }
    subprocess.run(
        [sys.executable, '-m', 'tests.kernels.processor', inputs, outputs],
        env={**os.environ, **environment},
        cwd=ROOT,
        check=True,
    )
    result, expected = torch.load(outputs), processor.run(torch.load(inputs))
    assert result['info']['cpu'] == name and result['info']['levels'] == levels
    found = result['found']
    product = found.pop('product'), expected.pop('product')
    assert torch.allclose(*product, atol=1e-5)  # Fused where that is an instruction.
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key
