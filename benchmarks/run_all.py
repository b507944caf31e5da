"""Runs the scripts of this folder: --quick to see that they work, --full for results.

    python benchmarks/run_all.py --quick
    python benchmarks/run_all.py --quick --only claims energy
    python benchmarks/run_all.py --full --weights resnet20.th --output benchmarks/results

What is run is data, in scripts.py. --quick runs each script at its smallest honest size
on what is embedded or generated, in processes of their own, into a temporary folder or
--output, which may not be that of the committed results. --full runs what these were
made by; what has passed is not run again, unless it was run otherwise, and a script that
was interrupted goes on where it stopped. Logs, and run_all.json with the seconds of each
run (and those of processors, which others may want, too), are in --logs. What needs
something that is not here is skipped, and named with the reason. The exit code is 1 if
a script has failed, 130 after Ctrl-C.
"""

import argparse
import importlib.util
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from memory import available_memory
from records import RESULTS, origin, write
from scripts import SCRIPTS

from spikegraph.zoo.datasets import default_root

FOLDER = Path(__file__).parent
# Folders of datasets, where their names do not say it.
FOLDERS = {'cora': 'Cora', 'citeseer': 'CiteSeer', 'pubmed': 'PubMed'}
FOLDERS |= {'photo': 'Photo', 'computers': 'Computers'}


def missing(need, arguments):
    """Why a need is not met, or None."""
    kind, _, value = need.partition(' ')
    if kind == 'weights':
        return None if arguments.weights else 'no state dict of ResNet-20 (--weights)'
    if kind == 'cuda':
        return None if torch.cuda.is_available() else 'no GPU that PyTorch can use'
    if kind == 'package':
        found = importlib.util.find_spec(value)
        return None if found else f"'{value}' is not installed"
    if kind == 'dataset':
        root = Path(arguments.root or default_root())
        names = {FOLDERS.get(value, value), value.replace('-', '_'), value.upper()}
        if any((root / name).exists() for name in names):
            return None
        return f"no '{value}' in the folder of the datasets (--root)"
    if kind == 'GB':
        free = available_memory() / 1e9
        return None if free >= float(value) else f'{free:.0f} GB of {value} are free'
    assert need.startswith('files GB '), need
    free, needed = shutil.disk_usage(arguments.scratch).free / 1e9, need.split()[-1]
    return None if free >= float(needed) else f'{free:.0f} GB of {needed} on disk'


def runs_of(name, script, arguments):
    """The runs of a script, each a key and the arguments, and why it is skipped."""
    needs = script.quick_needs if arguments.quick else script.needs
    reasons = [why for need in needs if (why := missing(need, arguments))]
    folders = {key: str(getattr(arguments, key)) for key in ('output', 'scratch')}
    texts = (script.quick,) if arguments.quick else script.full
    for text in texts:
        words = shlex.split(text)
        words = [w.format(weights=arguments.weights, **folders) for w in words]
        if name != 'gpu':
            if '--output' not in words:
                words += ['--output', folders['output']]
            if arguments.root and '--root' in (FOLDER / f'{name}.py').read_text():
                words += ['--root', str(arguments.root)]
        yield f'{name} {text}'.strip(), words, '; '.join(reasons)


def run(name, words, log):
    """The seconds that a script takes, those of the processor, and its exit code."""
    paths = [str(FOLDER.parent), os.environ.get('PYTHONPATH', '')]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open('w') as file:
        command = [sys.executable, str(FOLDER / f'{name}.py'), *words]
        code = subprocess.run(command, env=env, stdout=file, stderr=file).returncode
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {'seconds': seconds, 'processor_seconds': busy}, code


def in_order(names):
    """Names, each after those whose results it reads, if these are run, too."""
    order = []
    for name in names:
        before = [n for n in SCRIPTS[name].before if n in names]
        order += [n for n in (*before, name) if n not in order]
    return order


def run_all(arguments):
    """Runs what is wanted, writes and prints each, and returns all states by key."""
    path = arguments.logs / 'run_all.json'
    known = json.loads(path.read_text())['runs'] if path.exists() else {}
    states = {}
    print(f'{"script":<58} {"seconds":>8} {"processor":>9} {"before":>8}')
    for name in in_order(arguments.only):
        for i, (key, words, reason) in enumerate(
            runs_of(name, SCRIPTS[name], arguments)
        ):
            old = known.get(key, {})
            if reason:
                states[key] = {'state': 'skipped', 'reason': reason}
            elif not arguments.quick and old.get('state') == 'passed':
                states[key] = old
            else:
                log = arguments.logs / (f'{name}_{i}.log' if i else f'{name}.log')
                known[key] = {**old, 'state': 'running'}
                write(path, {'runs': known, **origin()})
                times, code = run(name, words, log)
                states[key] = {'state': 'failed' if code else 'passed', **times}
                states[key] |= {'log': log.name, 'code': code} if code else {}
            known[key] = states[key]
            write(path, {'runs': known, **origin()})
            print_state(key, states[key], old, states[key] is old, arguments)
    return states


def print_state(key, state, old, is_kept, arguments):
    seconds, before = (
        f'{s["seconds"]:.1f}' if 'seconds' in s else '' for s in (state, old)
    )
    busy = '' if is_kept else f'{state.get("processor_seconds", 0):.1f}'
    what = 'passed before' if is_kept else state['state']
    what += f': {state["reason"]}' if 'reason' in state else ''
    if state['state'] == 'failed':
        what += f' (exit code {state["code"]}), see {arguments.logs / state["log"]}'
    short = key if len(key) <= 58 else key[:55] + '...'
    print(
        f'{short:<58} {"" if is_kept else seconds:>8} {busy:>9} {before:>8}  {what}',
        flush=True,
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument('--quick', action='store_true', help='the smallest sizes')
    size.add_argument('--full', action='store_true', help='what made the results')
    parser.add_argument('--only', nargs='+', choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument('--weights', type=Path, help='the state dict of ResNet-20')
    parser.add_argument('--root', type=Path, help='folder of the datasets')
    parser.add_argument('--output', type=Path, help='folder of the results')
    parser.add_argument('--scratch', type=Path, help='folder of large files')
    parser.add_argument('--logs', type=Path, help='default: OUTPUT/logs')
    arguments = parser.parse_args()
    if arguments.full and arguments.output is None:
        parser.error("Expected '--output' to be given with '--full' (got none)")
    if arguments.quick and arguments.output is not None:
        if arguments.output.resolve() == RESULTS.resolve():
            parser.error(
                "Expected '--output' to be another folder than that of the results "
                f"with '--quick' (got {arguments.output})"
            )
    return arguments


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        arguments.output = (arguments.output or Path(folder) / 'results').absolute()
        arguments.scratch = (arguments.scratch or Path(folder)).absolute()
        arguments.logs = (arguments.logs or arguments.output / 'logs').absolute()
        arguments.logs.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        states = run_all(arguments)
        count = {
            what: sum(state['state'] == what for state in states.values())
            for what in ('passed', 'failed', 'skipped')
        }
        seconds = time.perf_counter() - start
        print(', '.join(f'{n} {what}' for what, n in count.items()), end='')
        print(f'; {seconds:.0f} s')
        for state in states.values():
            if state['state'] == 'failed' and str(arguments.logs).startswith(folder):
                log = (arguments.logs / state['log']).read_text()
                print(f'\n{state["log"]}:\n{log[-2000:]}')
    return 1 if count['failed'] else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
