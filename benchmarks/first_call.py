"""How long imports and the first call take: compiling, and from the cache later on.

    python benchmarks/first_call.py

A small GCN, converted once, runs in three new processes (one_call.py): with no compiled
kernels on disk (an empty NUMBA_CACHE_DIR), with those of the first, and without Numba
(hidden). What its first forward pass takes is what it compiles, or reads; one of the
ANN before it has paid for what PyTorch and PyG do once. Checked: spikes and outputs
are the same up to rounding, and only the last process warns, once. --output has a
file with all of it, and with whether they are the same bit by bit. Other new processes
import PyTorch, PyG and the converter: 'import_seconds_beyond' is what the last adds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from networks import untrained_gcn
from records import RESULTS, write_speed

import spikegraph
from spikegraph import ConversionConfig
from spikegraph.zoo.datasets import power_law_graph

SIZES = (32, 64, 64, 8)
CASES = {'compiled': [], 'cached': [], 'without Numba': ['--without-numba']}
IMPORTS = {
    'PyTorch': 'import torch',
    'PyG': 'import torch_geometric',
    'spikegraph': 'import spikegraph; spikegraph.convert',
}
TIME_IMPORTS = f"""
import json, time
seconds = {{}}
for name, line in {IMPORTS}.items():
    start = time.perf_counter()
    exec(line)
    seconds[name] = time.perf_counter() - start
print(json.dumps(seconds))
"""
SCRIPT = Path(__file__).with_name('one_call.py')


@torch.no_grad()
def convert(folder, num_steps):
    torch.manual_seed(0)
    graph = torch.randn(2000, SIZES[0]), power_law_graph(2000, 15_000)
    model = untrained_gcn(SIZES, *graph)
    snn = spikegraph.convert(model, graph, ConversionConfig(num_steps=num_steps))
    torch.save({'model': model, 'graph': graph}, f'{folder}/inputs.pt')
    spikegraph.save(snn, f'{folder}/snn')


def run(options, folder, num_threads):
    output = f'{folder}/found.pt'
    command = [sys.executable, SCRIPT, folder, output, str(num_threads), *options]
    cache = {'NUMBA_CACHE_DIR': f'{folder}/cache'}
    subprocess.run(command, env={**os.environ, **cache}, check=True)
    return torch.load(output)


def time_imports(folder, repeats):
    """The seconds of each import, from files that Python has compiled before."""
    cache = {'PYTHONPYCACHEPREFIX': f'{folder}/pyc', 'PYTHONDONTWRITEBYTECODE': ''}
    found = []
    for _ in range(repeats + 1):
        command, env = [sys.executable, '-c', TIME_IMPORTS], {**os.environ, **cache}
        found.append(json.loads(subprocess.check_output(command, env=env)))
    seconds = {name: [each[name] for each in found[1:]] for name in IMPORTS}
    return {
        name: {'min': min(taken), 'median': statistics.median(taken)}
        for name, taken in seconds.items()
    }


def differences(case, other):
    """Checks two runs; potentials within rounding of a threshold may fire or not."""
    error = case['output'] - other['output']
    relative_error = float(error.norm() / other['output'].norm())
    times, num_different, num_neurons = case['spike_times'], 0, 0
    assert times.keys() == other['spike_times'].keys()
    for name, expected in other['spike_times'].items():
        num_different += int((times[name] != expected).sum())
        num_neurons += expected.numel()
    assert num_different <= 1e-3 * num_neurons and relative_error < 1e-2
    return {
        'different_spikes': num_different,
        'neurons': num_neurons,
        'relative_error': relative_error,
        'same_bits': torch.equal(case['output'], other['output']),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--num-steps', type=int, default=15)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=7, help='of imports')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        convert(folder, arguments.num_steps)
        found = {
            name: run(options, folder, arguments.threads)
            for name, options in CASES.items()
        }
        imports = time_imports(folder, arguments.repeats)
    rows, first = {}, next(iter(found.values()))
    for name, case in found.items():
        assert len(case['warnings']) == (name == 'without Numba'), case['warnings']
        rows[name] = {key: case[key] for key in ('seconds', 'warnings', 'kernels')}
        rows[name] |= differences(case, first)
        cells = [f'{what} {value:.3f} s' for what, value in case['seconds'].items()]
        print(f'{name:<14}', *cells, sep='  ')
    for name, taken in imports.items():
        print(f'import {name:<11}', *(f'{k} {v:.3f} s' for k, v in taken.items()))
    beyond = {'import_seconds': imports, 'import_seconds_beyond': imports['spikegraph']}
    write_speed('first_call', arguments, cases=rows, **beyond)


if __name__ == '__main__':
    main()
