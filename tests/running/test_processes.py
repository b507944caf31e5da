"""Networks in workers of loaders, in processes that are forked, and in spawned ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT = 300
SETTING = """
import multiprocessing, os, sys, warnings
warnings.simplefilter('ignore')
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from spikegraph import convert

def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 5)).eval()
    return convert(model, torch.rand(300, 64))

class Outputs(Dataset):
    def __init__(self, snn, x):
        self.snn, self.x = snn, x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, place):
        return self.snn(self.x[place : place + 1])[0]

def work(snn, x, results):
    if sys.argv[1] == 'fork':  # As loaders do it: else PyTorch waits for ever for the
        torch.set_num_threads(1)  # threads of its own, which were not forked.
    results.put(snn(x).tolist())

if __name__ == '__main__':
    torch.set_num_threads(2)
    snn, x = network(), torch.rand(20_000, 64)
    expected = snn(x)  # The threads of kernels have run.
"""
LOADER = """
    context = multiprocessing.get_context(sys.argv[1])
    loader = DataLoader(Outputs(snn, x[:40]), 8, num_workers=2,
                        multiprocessing_context=context)
    found = torch.cat(list(loader))
    one_by_one = torch.cat([snn(row[None]) for row in x[:40]])
    assert torch.equal(found, one_by_one)
    print('equal')
"""
PROCESS = """
    context = multiprocessing.get_context(sys.argv[1])
    results = context.Queue()
    process = context.Process(target=work, args=(snn, x, results))
    process.start()
    assert torch.equal(torch.tensor(results.get(timeout=240)), expected)
    process.join(60)
    assert process.exitcode == 0
    assert torch.equal(snn(x), expected)  # Here as well, afterwards.
    print('equal')
"""


def finished(code, folder, *arguments):
    path = folder / 'program.py'
    path.write_text(SETTING + code)
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    found = subprocess.run(
        [sys.executable, str(path), *arguments],
        env={**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '2'},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (found.returncode, found.stdout) == (0, 'equal\n'), found.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    'code, start',
    [
        pytest.param(LOADER, 'fork', id='loader-fork'),
        pytest.param(LOADER, 'spawn', id='loader-spawn'),
        pytest.param(PROCESS, 'fork', id='process-fork'),
        pytest.param(PROCESS, 'spawn', id='process-spawn'),
    ],
)
def test_networks_in_other_processes(code, start, tmp_path):
    """Also forked after the threads of kernels have run here, which a child has not."""
    if start == 'fork' and not hasattr(os, 'fork'):
        pytest.skip('this system does not fork')
    finished(code, tmp_path, start)
