"""The arguments of the command line."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from spikegraph.cli.names import _MODELS, _UNITS

_DESCRIPTION = (
    'Trains a graph network or CNN, converts it into a spiking one in which every '
    'neuron fires at most once per inference, and reports what that cost and saved.'
)


_LONGEST = 1e7  # Seconds, about four months.
_SIMILAR = 0.7  # So close are options that are taken for each other.


class _Parser(argparse.ArgumentParser):
    def __init__(self, **kwargs: Any) -> None:
        # An option that is cut short may mean another one tomorrow.
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Says which option may have been meant by one that is unknown."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            commands = self._get_positional_actions()[0].choices
            assert isinstance(commands, dict)
            parser = commands[found.command]
            hint = _hint(rest, list(parser._option_string_actions))
            parser.error(f'unrecognized arguments: {" ".join(rest)}{hint}')
        return found

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see '{self.prog} --help'\n")


def _hint(arguments: Sequence[str], options: Sequence[str]) -> str:
    for argument in arguments:
        name = argument.partition('=')[0]
        longer = [option for option in options if option.startswith(name)]
        found = longer[:1] or difflib.get_close_matches(name, options, 1, _SIMILAR)
        if name.strip('-') and name.startswith('-') and found:
            return f" (did you mean '{found[0]}'?)"
    return ''


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = _Parser(prog='spikegraph', description=_DESCRIPTION)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    run = commands.add_parser(
        'run', help='train, convert, evaluate, measure', description=_DESCRIPTION
    )
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
        metavar='Q',
        help="ratios of neighbouring levels, above 1, or 'auto' "
        '(default: auto 2 1.41 1.19, with fitted levels auto)',
    )
    _add_common(sweep)

    _add_partition(commands)
    _add_infer(commands)
    commands.add_parser('datasets', help='list the datasets')
    return parser


def _add_partition(commands: Any) -> None:
    parser = commands.add_parser(
        'partition',
        help='divide a graph into parts',
        description='Divides the nodes of a graph into parts, and reports the edges '
        'that are cut and the halo nodes of each part: nodes of other parts that edges '
        'lead from into it.',
    )
    parser.add_argument(
        'input',
        type=_file,
        metavar='INPUT',
        help='a dataset of nodes, or a path: a folder with edge_index.npy (or src.npy '
        'and dst.npy) and x.npy, a list of edges as .npy or .csv, a .pt with PyG data, '
        "a folder of this command or of PyG's Partitioner",
    )
    parser.add_argument(
        '--parts', type=int, required=True, metavar='N', help='the number of parts'
    )
    parser.add_argument(
        '--method',
        choices=['auto', 'metis', 'range', 'hash'],
        default='auto',
        help="metis cuts few edges and needs pip install 'spikegraph[partition]', range "
        'keeps the order of nodes, hash needs no table (default: auto, which is metis '
        'if it is installed, else range)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        metavar='N',
        help='the seed of metis or hash (default: 0)',
    )
    files = parser.add_argument_group('files')
    _add_root(files)
    files.add_argument(
        '--json',
        type=_file,
        metavar='FILE',
        help="write the counts as JSON; with '-' to standard output, and the report to "
        'standard error. Shares in percent, times in seconds',
    )
    files.add_argument(
        '--output',
        type=_path,
        metavar='DIR',
        help='write the parts into this folder, which is new, empty, or of this command',
    )


def _add_infer(commands: Any) -> None:
    parser = commands.add_parser(
        'infer',
        help='run a converted network on a large graph, in one or several processes',
        description='Runs a converted network on all nodes of a graph: in one process '
        'layer by layer, in blocks of nodes; in several, each with a part of the nodes, '
        "when started as 'torchrun --nproc-per-node N -m spikegraph infer ...'. Spike "
        'times are the same either way.',
    )
    parser.add_argument(
        'network', type=_path, metavar='NETWORK', help='a file of spikegraph.save'
    )
    parser.add_argument(
        'graph',
        type=_file,
        metavar='GRAPH',
        help="a folder of 'spikegraph partition' or of PyG's Partitioner, with a part for "
        "each process; in one process also whatever 'spikegraph partition' reads",
    )
    alone = parser.add_argument_group('one process')
    alone.add_argument(
        '--block-size',
        type=int,
        metavar='N',
        help='nodes that are computed at once (default: 4096)',
    )
    several = parser.add_argument_group('several processes')
    several.add_argument(
        '--timeout',
        type=_seconds,
        metavar='S',
        help='seconds that a process waits for the others, before all of them end '
        '(default: 60)',
    )
    several.add_argument(
        '--no-pack',
        action='store_true',
        help='send each spike time as a byte, also where two fit into one',
    )
    files = parser.add_argument_group('files')
    _add_root(files)
    files.add_argument(
        '--storage',
        type=_path,
        metavar='DIR',
        help='keep the spike times of each layer in this folder and not in memory; after '
        'a stop, the same command goes on from the last finished layer',
    )
    files.add_argument(
        '--output',
        type=_path,
        metavar='FILE',
        help='write the outputs of all nodes, as .npy or (needs pip install '
        "'spikegraph[parquet]') .parquet; the file appears when it is complete",
    )
    files.add_argument(
        '--classes',
        action='store_true',
        help='write the class with the largest output of each node instead',
    )
    files.add_argument(
        '--json',
        type=_file,
        metavar='FILE',
        help="write the report as JSON; with '-' to standard output, and the report to "
        'standard error. Times in seconds',
    )


def _add_root(files: Any) -> None:
    files.add_argument(
        '--root',
        type=_path,
        metavar='DIR',
        help='folder of the datasets (default: the environment variable '
        'SPIKEGRAPH_ROOT, or a folder in the user cache)',
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group('the network')
    model.add_argument(
        '--model',
        choices=_MODELS,
        help='for molecules gin, gcn, gat or gin-set2set, with a virtual node; for '
        'digits cnn, for mnist cnn, vit or mobilenet, for cifar10 resnet20 (default: '
        'gcn for nodes and digits, else the first of these)',
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
        type=_path,
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
        help="'fitted' finds a table of levels for each population, in place of base "
        'and scale (default: fitted for images unless a base or scale is given, else '
        'geometric)',
    )
    code.add_argument(
        '--per-channel',
        action=argparse.BooleanOptionalAction,
        help='a scale for every channel (default: for images only)',
    )
    code.add_argument(
        '--mirror',
        action=argparse.BooleanOptionalAction,
        help='calibrate on the mirror images of the calibration images, too (default: '
        'for photographs only)',
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
    parser.add_argument(
        '--per',
        choices=_UNITS,
        help='what energies are divided by: node or graph, of images: image (default: '
        'node, of molecules: graph)',
    )
    files = parser.add_argument_group('files')
    _add_root(files)
    files.add_argument(
        '--json',
        type=_file,
        metavar='FILE',
        help="write the results as JSON; with '-' to standard output, and the report to "
        'standard error. Accuracies and ROC-AUC in percent, losses in points, errors in '
        'the unit of the property, energies in pJ for each of what --per says, times in '
        'seconds',
    )
    files.add_argument(
        '--output',
        type=_path,
        metavar='DIR',
        help='write result.json and pictures (needs matplotlib), and the networks of the '
        'first seed',
    )


def _file(text: str) -> str:
    if not text or '\0' in text:
        raise argparse.ArgumentTypeError(f'Expected a name (got {text!r})')
    return text


def _path(text: str) -> Path:
    return Path(_file(text))


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < _LONGEST:
        raise argparse.ArgumentTypeError(
            f"Expected a positive number of seconds (got '{text}')"
        )
    return found


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
