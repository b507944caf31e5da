"""The check for a GPU runs to its end without one, and tells what differs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('triton', reason='Triton is not installed')
SCRIPT = Path(__file__).parents[1] / 'benchmarks' / 'gpu.py'
OTHERS = ('ogb', 'sklearn', 'safetensors', 'pandas', 'matplotlib', 'pymetis')
# As on a machine where these are not installed.
BLOCK = """
import sys, runpy
sys.modules.update(dict.fromkeys({others!r}))
sys.argv = sys.argv[1:]
{before}
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def run(folder, *arguments, before=''):
    code = BLOCK.format(others=OTHERS, before=before)
    paths = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get('PYTHONPATH', '')])
    command = [
        sys.executable,
        '-c',
        code,
        str(SCRIPT),
        '--out',
        str(folder),
        *arguments,
    ]
    return subprocess.run(
        command, env={**os.environ, 'PYTHONPATH': paths}, capture_output=True, text=True
    )


@pytest.mark.slow
def test_all_sections(tmp_path):
    small = ['--device', 'cpu', '--shrink', '2000', '--repeats', '2']
    result = run(tmp_path, *small, '--graphs', 'arxiv')
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / 'gpu.json').read_text())
    assert record['failed'] == []
    assert record['kernels']['different'] == 0 and record['kernels']['calls'] > 60
    assert record['networks']['most_different_percent'] == 0
    sums, forward = record['sums, arxiv'], record['forward, arxiv']
    assert sums['relative_error'] < 1e-5 and sums['copied_bytes_per_second'] > 0
    assert forward['logit_relative_error'] < 0.3
    for found in (sums, forward):
        assert len(found['ratios']) == len(found['seconds']) >= 3


@pytest.mark.slow
def test_a_kernel_that_is_wrong(tmp_path):
    """It is named, and what comes later says that no time was left for it."""
    before = (
        'import os; os.environ["TRITON_INTERPRET"] = "1"\n'
        'from spikegraph.kernels.triton import operations\n'
        'right = operations.decode\n'
        'operations.decode = lambda *a: right(*a) + 1'
    )
    small = ['--device', 'cpu', '--shrink', '12000', '--repeats', '1']
    result = run(tmp_path, *small, '--seconds', '0.5', before=before)
    assert result.returncode == 1
    record = json.loads((tmp_path / 'gpu.json').read_text())
    assert record['kernels']['different'] > 0
    assert all(name.startswith('decode') for name in record['kernels']['which'])
    assert 'networks' in record['failed'] and 'no time' in record['networks']['failed']


def test_without_a_gpu(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip('there is one')
    result = run(tmp_path / 'out')
    assert result.returncode == 1
    assert 'expected a GPU that torch can use (found none)' in result.stderr
    assert not (tmp_path / 'out').exists()
