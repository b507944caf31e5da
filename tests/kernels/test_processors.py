import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikegraph.kernels import info
from tests.kernels import processor

ROOT = Path(__file__).parents[2]
PROCESSORS = runpy.run_path(str(ROOT / 'benchmarks' / 'processors.py'))


SUM = """
import torch
from spikegraph.kernels import Adjacency, aggregate
adjacency = Adjacency(torch.tensor([0, 1]), torch.tensor([0]), num_sources=1)
print(aggregate(adjacency, torch.full((1, 1), 3.0)).item())
"""


@pytest.mark.slow
def test_kernels_are_compiled_again_when_any_of_their_files_changes(tmp_path):
    shutil.copytree(ROOT / 'spikegraph', tmp_path / 'spikegraph')
    for file in tmp_path.rglob('*.nb[ic]'):
        file.unlink()
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    environment.pop('NUMBA_CACHE_DIR', None)

    def run():
        command = [sys.executable, '-c', SUM]
        found = subprocess.run(
            command, env=environment, cwd=tmp_path, check=True, capture_output=True
        )
        return float(found.stdout)

    def kernels():
        files = tmp_path.rglob('graph.aggregate-*.nbc')
        return {file.name: file.stat().st_mtime_ns for file in files}

    assert run() == 3.0
    first = kernels()
    assert run() == 3.0 and first and kernels() == first
    helper = tmp_path / 'spikegraph' / 'kernels' / 'cpu' / 'compiled' / 'sums.py'
    text = helper.read_text()
    changed = text.replace('builder.fmul(value, weight)', 'builder.fadd(value, weight)')
    assert changed != text
    helper.write_text(changed)
    assert run() == 4.0


@pytest.mark.slow
@pytest.mark.parametrize('name', PROCESSORS['KERNELS'])
def test_other_processors_agree_bit_by_bit(name, tmp_path):
    if name == 'avx2' and info()['levels'] == 'memory':
        pytest.skip('this processor cannot run it')
    inputs, outputs = tmp_path / 'inputs.pt', tmp_path / 'outputs.pt'
    torch.save(processor.make_inputs(), inputs)
    environment = PROCESSORS['KERNELS'][name]
    levels, _ = PROCESSORS['EXPECTED'][name]
    subprocess.run(
        [sys.executable, '-m', 'tests.kernels.processor', inputs, outputs],
        env={**os.environ, **environment},
        cwd=ROOT,
        check=True,
    )
    result, expected = torch.load(outputs), processor.run(torch.load(inputs))
    assert result['info']['cpu'] == environment['NUMBA_CPU_NAME']
    assert result['info']['levels'] == levels
    found = result['found']
    assert found.keys() == expected.keys()
    if name == 'generic':  # Products are fused with sums where that is an instruction.
        for key in ('product', 'convolved'):
            assert torch.allclose(found.pop(key), expected.pop(key), atol=1e-5)
        fired = found.pop('fired on images'), expected.pop('fired on images')
        assert float((fired[0] != fired[1]).float().mean()) < 1e-3
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key
