"""The command line: ``spikegraph run``, ``sweep`` and ``datasets``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

# What needs torch is imported by the commands that need it, so that the help appears
# at once.
if TYPE_CHECKING:
    from spikegraph.conversion import ConversionConfig
    from spikegraph.datasets import DatasetInfo
    from spikegraph.experiment import Experiment

_DESCRIPTION = (
    'Trains a graph network or CNN, converts it into a spiking one in which every '
    'neuron fires at most once per inference, and reports what that cost and saved.'
)
_MODELS = (
    *('gcn', 'sage', 'sage-max', 'gin', 'sgc', 'appnp', 'gcn2', 'resgcn'),
    *('cnn', 'resnet20'),
)
_DRAWN_IMAGES = 16  # Simulated step by step for the pictures.
_USER_ERRORS = (ValueError, NotImplementedError, OSError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv (List[str], optional): The arguments.
            (default: :obj:`None`, those of the process)

    Returns:
        int: The exit code: 0, or 2 if the user has to change something.
    """
    # Else idle threads of torch spin, and on a busy machine that takes most of the time.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    args = _parser().parse_args(argv)
    try:
        args.command(args)
        sys.stdout.flush()
    except BrokenPipeError:  # The reader has seen enough: `spikegraph run | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except _USER_ERRORS as error:
        print(f'spikegraph: error: {error}', file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog='spikegraph', description=_DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    run = commands.add_parser(
        'run', help='train, convert, evaluate, measure', description=_DESCRIPTION
    )
    run.set_defaults(command=_run)
    run.add_argument(
        'dataset',
        nargs='?',
        default='digits',
        metavar='DATASET',
        help="the dataset, see 'spikegraph datasets' (default: digits)",
    )
    run.add_argument(
        '--num-steps',
        type=int,
        default=16,
        metavar='T',
        help='time steps of each population, 1 to 126 (default: 16)',
    )
    run.add_argument(
        '--base',
        type=_base,
        default='auto',
        metavar='Q',
        help="ratio of neighbouring levels, above 1; 'auto' searches the best for each "
        'population (default: auto)',
    )
    run.add_argument(
        '--profile',
        action='store_true',
        help='measure the peak memory of a forward pass, too; in JSON in bytes',
    )
    _add_common(run)

    sweep = commands.add_parser(
        'sweep',
        help='convert the same networks with several numbers of steps and bases',
        description='Trains each network once, converts it with every number of steps '
        'and every base, and prints one row for each.',
    )
    sweep.set_defaults(command=_sweep)
    sweep.add_argument(
        'dataset', metavar='DATASET', help="the dataset, see 'spikegraph datasets'"
    )
    sweep.add_argument(
        '--num-steps',
        type=int,
        nargs='+',
        default=[4, 8, 16],
        metavar='T',
        help='time steps of each population, 1 to 126 (default: 4 8 16)',
    )
    sweep.add_argument(
        '--base',
        type=_base,
        nargs='+',
        default=['auto', 2.0, 1.41, 1.19],
        metavar='Q',
        help="ratios of neighbouring levels, above 1, or 'auto' "
        '(default: auto 2 1.41 1.19)',
    )
    _add_common(sweep)

    datasets = commands.add_parser('datasets', help='list the datasets')
    datasets.set_defaults(command=_datasets)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group('the network')
    model.add_argument(
        '--model',
        choices=_MODELS,
        help='for molecules gin or gcn, with a virtual node; for digits and mnist cnn, '
        'for cifar10 resnet20 (default: gcn for nodes and digits, else the first of '
        'these)',
    )
    model.add_argument(
        '--hidden',
        type=int,
        metavar='N',
        help='features of a hidden layer, or channels of the first (cnn)',
    )
    model.add_argument(
        '--layers',
        type=int,
        metavar='N',
        help='number of layers, or of propagation steps (sgc, appnp)',
    )
    model.add_argument(
        '--seeds',
        type=int,
        default=1,
        metavar='N',
        help='networks to train, with the seeds 0 to N-1 (default: 1)',
    )
    model.add_argument(
        '--weights',
        type=Path,
        metavar='FILE',
        help='load this state dict, such as the ann.pt of --output, and do not train; '
        'resnet20 needs one',
    )
    code = parser.add_argument_group('the conversion')
    code.add_argument(
        '--scale',
        type=_scale,
        default='mse',
        metavar='RULE',
        help='rule for the largest level: mse, max, or percentile:P such as '
        'percentile:99.9 (default: mse)',
    )
    code.add_argument(
        '--levels',
        choices=['geometric', 'fitted'],
        default='geometric',
        help="'fitted' finds a table of levels for each population, in place of base "
        'and scale (default: geometric)',
    )
    code.add_argument(
        '--per-channel',
        action=argparse.BooleanOptionalAction,
        help='a scale for every channel (default: for images only)',
    )
    code.add_argument(
        '--fold-degree',
        action='store_true',
        help='move the degree normalisation into per-node thresholds',
    )
    code.add_argument(
        '--compensate',
        choices=['none', 'bias', 'ridge'],
        default='ridge',
        help='how later weights make up for the coding error (default: ridge)',
    )
    code.add_argument(
        '--analog-input',
        action='store_true',
        help='do not encode the features as spikes; the first layer is then billed as '
        'multiply-accumulates',
    )
    files = parser.add_argument_group('files')
    files.add_argument(
        '--root',
        type=Path,
        metavar='DIR',
        help='folder of the datasets (default: the environment variable '
        'SPIKEGRAPH_ROOT, or a folder in the user cache)',
    )
    files.add_argument(
        '--json',
        metavar='FILE',
        help="write the results as JSON; with '-' to standard output, and the report to "
        'standard error. Accuracies and ROC-AUC in percent, losses in points, errors in '
        'the unit of the property, energies in pJ per node (of molecules: per '
        'graph; of images: per image), times in seconds',
    )
    files.add_argument(
        '--output',
        type=Path,
        metavar='DIR',
        help='write result.json and pictures (needs matplotlib), and the networks of the '
        'first seed',
    )


def _base(text: str) -> float | str:
    try:
        return text if text == 'auto' else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"Expected a number greater than 1 or 'auto' (got '{text}')"
        ) from None


def _scale(text: str) -> str | tuple[str, float]:
    if text in ('mse', 'max'):
        return text
    rule, _, percent = text.partition(':')
    try:
        if rule == 'percentile':
            return rule, float(percent)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"Expected mse, max or percentile:P, such as percentile:99.9 (got '{text}')"
    )


def _run(args: argparse.Namespace) -> None:
    output, report = _prepare_files(args)
    config = _config(args, num_steps=args.num_steps, base=args.base)
    from spikegraph.experiment import run_experiment
    from spikegraph.formatting import format_experiment

    result = run_experiment(
        args.dataset, config, profile=args.profile, **_options(args)
    )
    print(format_experiment(result), file=report)
    _write_json(result.to_dict(), args.json, output)
    if output is not None:
        print(_draw(result, output), file=report)


def _sweep(args: argparse.Namespace) -> None:
    output, report = _prepare_files(args)
    config = _config(args)
    from spikegraph.experiment import run_sweep
    from spikegraph.formatting import format_sweep

    result = run_sweep(
        args.dataset, args.num_steps, args.base, config, **_options(args)
    )
    print(format_sweep(result), file=report)
    _write_json(result.to_dict(), args.json, output)
    if output is None:
        return
    written = 'result.json'
    if 'loss_points' in result.rows[0]:  # Else there is no accuracy to plot.
        from spikegraph.plotting import plot_sweep

        plot_sweep(result.rows).savefig(output / 'sweep.png')
        written += ' and sweep.png'
    print(f'\nwrote {written} to {output}', file=report)


def _datasets(args: argparse.Namespace) -> None:
    from spikegraph.datasets import DATASETS, IMAGE_DATASETS, default_root

    rest = 'split   description'
    print(f'{"name":<13}  {"graphs":>6}  {"nodes":>9}  {"edges":>11}  {rest}')
    for info in (info for info in DATASETS.values() if info.num_graphs > 0):
        print(
            f'{info.name:<13}  {info.num_graphs:>6,}  {info.num_nodes:>9,}  '
            f'{info.num_edges:>11,}  {_split(info)}'
        )
    rest += " (digits: with '--model cnn')"
    print(f'\n{"name":<13}  {"images":>6}  {"pixels":>22}  {rest}')
    for info in IMAGE_DATASETS.values():
        size = ' x '.join(map(str, info.image_size))
        here = ' (in the folder: a subset)' if info.has_subset(default_root()) else ''
        row = f'{info.name:<13}  {info.num_images:>6,}  {size:>22}  {_split(info)}'
        print(row + here)
    print(f'\nfolder: {default_root()} (change it with --root or SPIKEGRAPH_ROOT)')


def _split(info: DatasetInfo) -> str:
    split = 'public' if info.public_split else 'random'
    embedded = ' (embedded, no download)' if info.offline else ''
    return f'{split:<6}  {info.description}{embedded}'


def _config(args: argparse.Namespace, **values: Any) -> ConversionConfig:
    from spikegraph.experiment import default_config

    if args.per_channel is not None:
        values['per_channel'] = args.per_channel
    return default_config(
        args.dataset,
        args.model,
        scale=args.scale,
        levels=args.levels,
        fold_degree=args.fold_degree,
        compensate=None if args.compensate == 'none' else args.compensate,
        encode_input=not args.analog_input,
        **values,
    )


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        'model': args.model,
        'hidden': args.hidden,
        'layers': args.layers,
        'seeds': args.seeds,
        'root': args.root,
        'weights': args.weights,
        'progress': sys.stderr.isatty(),
    }


def _prepare_files(args: argparse.Namespace) -> tuple[Path | None, TextIO]:
    """Fails before the work rather than after it; returns the output folder and
    where the report goes.
    """
    if args.json not in (None, '-'):
        folder = Path(args.json).absolute().parent
        if not folder.is_dir():
            raise FileNotFoundError(
                f"Expected the folder of '--json' to exist (got '{args.json}'); create "
                f"'{folder}'"
            )
    if args.output is not None:
        from spikegraph.plotting import check_matplotlib

        check_matplotlib()
        if args.output.exists() and not args.output.is_dir():
            raise NotADirectoryError(
                f"Expected '--output' to be a folder (got the file '{args.output}')"
            )
        args.output.mkdir(parents=True, exist_ok=True)
    return args.output, sys.stderr if args.json == '-' else sys.stdout


def _write_json(
    values: dict[str, Any], target: str | None, folder: Path | None
) -> None:
    text = json.dumps(values, indent=2, allow_nan=False)
    if target == '-':
        print(text)
    elif target is not None:
        Path(target).write_text(text + '\n')
    if folder is not None:
        (folder / 'result.json').write_text(text + '\n')


def _draw(result: Experiment, folder: Path) -> str:
    import torch

    from spikegraph.datasets import GraphDataset, ImageDataset
    from spikegraph.experiment.evaluation import measured_batches
    from spikegraph.plotting import plot_coding_error, plot_raster, plot_spike_times
    from spikegraph.simulation import simulate
    from spikegraph.storage import save

    snn, dataset = result.runs[0].snn, result.dataset
    if isinstance(dataset, GraphDataset):
        simulation = simulate(snn, measured_batches(dataset)[0])
    elif isinstance(dataset, ImageDataset):
        simulation = simulate(snn, dataset.normalize(dataset.test_x[:_DRAWN_IMAGES]))
    else:
        simulation = simulate(snn, dataset.data.x, dataset.data.edge_index)
    plot_raster(simulation).savefig(folder / 'raster.png')
    plot_spike_times(simulation.spikes).savefig(folder / 'spike_times.png')
    plot_coding_error(snn.report).savefig(folder / 'coding_error.png')
    torch.save(result.runs[0].trained.model.state_dict(), folder / 'ann.pt')
    save(snn, folder / 'snn.safetensors')
    return (
        '\nwrote result.json, raster.png, spike_times.png, coding_error.png, ann.pt and '
        f'snn.safetensors to {folder}'
    )


if __name__ == '__main__':
    sys.exit(main())
