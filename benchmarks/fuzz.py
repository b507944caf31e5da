"""Thousands of drawn inputs: changed files of networks and of data, command lines, and
values with their spike times. What is not one of the outcomes that are promised ends it.

    python benchmarks/fuzz.py --cases 10000 --targets spike_times command_lines

What is drawn is in ``tests/fuzzing.py``, and the same in every run. Results are written
block by block, of as many cases as hypothesis draws at once; an interrupted run goes on.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from records import RESULTS, origin, processor, write

from tests.fuzzing import TARGETS, run


def main():
    names = [target.__name__ for target in TARGETS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cases', type=int, default=10_000)
    parser.add_argument('--block', type=int, default=250, help='cases at once')
    parser.add_argument('--targets', nargs='+', choices=names, default=names)
    parser.add_argument('--output', type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')  # Of what damaged files hold.
    path = args.output / 'fuzz.json'
    for target in TARGETS:
        if target.__name__ in args.targets:
            try_cases(target, args.cases, args.block, path)


def try_cases(target, num, block, path):
    name = target.__name__
    while True:
        found = json.loads(path.read_text()) if path.exists() else {'targets': {}}
        known = found['targets'].get(name, {})
        if known.get('origin', {}).get('versions') != origin()['versions']:
            known = {'cases': 0, 'blocks': 0, 'seconds': 0.0, 'outcomes': {}}
        if known['cases'] >= num:
            return
        start = time.perf_counter()
        outcomes = run(target, min(block, num - known['cases']), seed=known['blocks'])
        outcomes.update(known['outcomes'])
        found['targets'][name] = {
            'cases': sum(outcomes.values()),
            'blocks': known['blocks'] + 1,
            'outcomes': dict(sorted(outcomes.items())),
            'seconds': round(known['seconds'] + time.perf_counter() - start, 1),
            'processor': processor(),
            'origin': origin(),
        }
        found['targets'] = dict(sorted(found['targets'].items()))
        write(path, found)
        print(f'{name}: {found["targets"][name]["cases"]:,} cases', flush=True)


if __name__ == '__main__':
    main()
