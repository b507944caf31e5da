"""What the benchmarks share: results on disk, written seed by seed, and times."""

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

import processors
import torch
from tqdm import tqdm

from spikegraph import ConversionConfig
from spikegraph.kernels import info
from spikegraph.zoo.experiment import run_conversion, summarize, versions
from spikegraph.zoo.training import load_weights, prepare, train

RESULTS = Path(__file__).parent / 'results'


def add_arguments(parser, *, datasets, models, seeds):
    parser.add_argument('--datasets', nargs='+', default=datasets)
    parser.add_argument('--models', nargs='+', default=models)
    parser.add_argument('--num-steps', type=int, default=16)
    parser.add_argument(
        '--per-channel',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='a scale for every channel, not for every layer (default: yes)',
    )
    parser.add_argument('--seeds', type=int, default=seeds)
    parser.add_argument(
        '--weights', type=Path, help='folder of DATASET_MODEL_SEED.pt, not to train'
    )
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)


def add_run_arguments(parser, *, repeats):
    parser.add_argument('--repeats', type=int, default=repeats)
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)


def add_graph_arguments(parser, *, graphs, repeats):
    parser.add_argument('--graphs', nargs='+', choices=graphs, default=graphs)
    parser.add_argument(
        '--shrink', type=int, default=1, help='divides generated graphs'
    )
    add_run_arguments(parser, repeats=repeats)


def add_threads(parser, default=(2,)):
    parser.add_argument('--threads', type=int, nargs='+', default=list(default))


def add_speed_arguments(parser, *, repeats, graphs=None, num_steps=15, threads=(2,)):
    """What every script on speed takes; without graphs, it has inputs of its own."""
    if graphs is None:
        add_run_arguments(parser, repeats=repeats)
    else:
        add_graph_arguments(parser, graphs=graphs, repeats=repeats)
    add_threads(parser, threads)
    parser.add_argument('--num-steps', type=int, default=num_steps)
    add_processor(parser)


def add_processor(parser):
    parser.add_argument(
        '--processor',
        choices=processors.NAMES,
        default='native',
        help='this one, or as if it were a lesser one (default: native)',
    )


def parse_speed_arguments(parser, script):
    """The arguments of a script on speed, which runs again, and this process ends, for
    another processor than this process is on."""
    arguments = parser.parse_args()
    name, forced = arguments.processor, processors.forced()
    if name not in ('native', forced):
        if info().get('levels') is None:
            parser.error(
                f"Expected '--processor' to be native without Numba (got {name}); "
                'install Numba'
            )
        if name == 'avx2' and info()['levels'] == 'memory':
            parser.error(
                "Expected '--processor' to be native or generic on a processor without "
                'AVX2 (got avx2); measure on another one'
            )
        raise SystemExit(processors.run_again(name, script))
    found = processor()
    if forced is not None:
        expected = processors.EXPECTED[forced]
        assert (found['levels'], found['torch']) == expected, found
    how = '' if forced is None else f', forced to {forced}'
    print(f'{found["model"]}{how}: {found["cores"]} cores, ', end='')
    print(f'levels in {found["levels"]}, PyTorch with {found["torch"]}')
    return arguments


def processor():
    """What is measured on."""
    return {
        'model': processors.model_name(),
        'cores': os.cpu_count(),
        'levels': info().get('levels'),  # None without Numba.
        'torch': torch.backends.cpu.get_cpu_capability(),
        'forced': processors.forced(),
    }


def write_speed(name, arguments, **fields):
    """Writes what was measured, with the arguments and what it was measured with."""
    files = ('root', 'output', 'weights', 'plot')
    record = {
        'arguments': {k: v for k, v in vars(arguments).items() if k not in files},
        **fields,
        'kernels': info(),
        'processor': processor(),
        **origin(),
    }
    forced = processors.forced()
    name = name if forced is None else f'{name}_{forced}'
    write(arguments.output / f'{name}.json', record)


def run_networks(prefix, arguments):
    """One record per dataset and model, and number of time steps other than 16."""
    steps = '' if arguments.num_steps == 16 else f'_T{arguments.num_steps}'
    return {
        (dataset, model): run_seeds(
            arguments.output / f'{prefix}_{dataset}_{model}{steps}.json',
            f'{dataset} {model}',
            arguments.seeds,
            functools.partial(run_network, dataset, model, arguments),
            summarize=lambda seeds: summarize(list(seeds.values())),
            dataset=dataset,
            model=model,
            num_steps=arguments.num_steps,
            per_channel=arguments.per_channel,
            weights='trained' if arguments.weights is None else 'loaded',
        )
        for dataset in arguments.datasets
        for model in arguments.models
    }


def load_or_train(name, model, arguments, seed):
    """A dataset and a network trained on it."""
    dataset, recipe = prepared(name, model, arguments.root)
    if arguments.weights is None:
        return dataset, train(dataset, recipe, seed, progress=False)
    path = arguments.weights / f'{name}_{model}_{seed}.pt'
    return dataset, load_weights(dataset, recipe, path, seed)


def run_network(name, model, arguments, seed):
    dataset, trained = load_or_train(name, model, arguments, seed)
    config = ConversionConfig(
        num_steps=arguments.num_steps, per_channel=arguments.per_channel
    )
    run = run_conversion(trained, dataset, config)
    seconds = {f'{name}_seconds': value for name, value in run.seconds.items()}
    return {**run.metrics, **seconds}


@functools.lru_cache(maxsize=1)
def prepared(name, model, root):
    return prepare(name, None, None, 1, root, model)


def resumed(path, prefix='', **fields):
    """The record of an interrupted run, or a new one; fields have to be those of the
    run before. Errors name them behind the prefix."""
    record = json.loads(path.read_text()) if path.exists() else {'seeds': {}}
    for name, value in fields.items():
        if record.setdefault(name, value) != value:
            raise ValueError(
                f"Expected '{prefix}{name}' to be {record[name]} as in '{path}' (got "
                f"{value}). Pass another '--output'"
            )
    return record


def run_seeds(path, title, num_seeds, run_seed, *, summarize, **fields):
    """Goes on where an interrupted run has stopped; see :func:`resumed`."""
    record = resumed(path, **fields)
    for seed in tqdm(range(num_seeds), title):
        if str(seed) in record['seeds']:
            continue
        record['seeds'][str(seed)] = run_seed(seed)
        record |= {
            'summary': summarize(record['seeds']),
            **origin(f'{torch.get_num_threads()} threads'),
        }
        write(path, record)
    return record


def summarize_cells(seeds):
    """Mean and sample deviation of the figures of each cell, over seeds."""
    table = {}
    for cell in next(iter(seeds.values()))['cells']:
        rows = [seed['cells'][cell] for seed in seeds.values() if cell in seed['cells']]
        table[cell] = {
            key: {
                'mean': statistics.fmean(r[key] for r in rows),
                'std': statistics.stdev(r[key] for r in rows) if len(rows) > 1 else 0.0,
            }
            for key in rows[0]
        }
    return table


def origin(*details):
    """What the figures of a record were found with."""
    command = ['git', 'rev-parse', '--short', 'HEAD']
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    device = ', '.join(['cpu', platform.machine(), *details])
    return {'versions': versions(), 'device': device, 'commit': commit}


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + '\n')


def time_in_turn(operations, repeats, *, warm_up):
    """The seconds of every repeat of each operation, those of the warm-up left out."""
    seconds = {name: [] for name in operations}
    for _ in range(warm_up + repeats):
        for name, operation in operations.items():
            start = time.perf_counter()
            operation()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[warm_up:] for name, times in seconds.items()}


def measure_in_turn(operations, repeats, *, warm_up):
    """The shortest and the median time of each operation, in seconds."""
    seconds = time_in_turn(operations, repeats, warm_up=warm_up)
    return {
        name: {'min': min(times), 'median': statistics.median(times)}
        for name, times in seconds.items()
    }


def ratios_to(name, seconds):
    """How many times the seconds of one operation each other takes."""
    return {
        other: {key: value[key] / seconds[name][key] for key in value}
        for other, value in seconds.items()
        if other != name
    }


def print_seconds(seconds, ratios):
    """Prints a row per operation: shortest (and median) time, and ratio."""
    for name, found in seconds.items():
        row = (
            f'  {name:<28} {1e3 * found["min"]:>10.2f} ({1e3 * found["median"]:.2f}) ms'
        )
        if name in ratios:
            ratio = ratios[name]
            row += f'{ratio["min"]:>10.2f} ({ratio["median"]:.2f}) times'
        print(row)


def print_row(name, row):
    """Prints what was timed on a graph: its size, and a row per operation."""
    width = f'width {row["width"]}, ' if 'width' in row else ''
    print(
        f'{name}: {row["nodes"]:,} nodes, {row["edges"]:,} edges, '
        f'{width}{row["threads"]} threads'
    )
    print_seconds(row['seconds'], row['ratios'])


def print_table(records, columns):
    """Prints a row per record: mean ± standard deviation of the columns that it has."""
    heads = '  '.join(f'{label:>17}' for label, _, _ in columns.values())
    print(f'{"dataset":<13} {"model":<9} {heads}')
    for (dataset, model), record in records.items():
        cells = []
        for name, (_, factor, digits) in columns.items():
            value = record['summary'].get(name)
            text = '-'
            if value is not None:
                mean, std = factor * value['mean'], factor * value['std']
                text = f'{mean:.{digits}f} ± {std:.{digits}f}'
            cells.append(f'{text:>17}')
        print(f'{dataset:<13} {model:<9} {"  ".join(cells)}')
