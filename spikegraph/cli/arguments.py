"""The arguments of the command line."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from spikegraph import __version__
from spikegraph.cli import kinds
from spikegraph.cli.graphs import add_export, add_infer, add_partition
from spikegraph.cli.kinds import add_json, add_root
from spikegraph.cli.names import _MODELS, _TABLES, _UNITS

_DESCRIPTION = (
    'Trains a graph network or CNN, converts it into a spiking one in which every '
    'neuron fires at most once per inference, and reports what that cost and saved.'
)


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
    parser.add_argument(
        '--version', action='version', version=f'%(prog)s {__version__}'
    )
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
        type=kinds.base,
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
        type=kinds.base,
        nargs='+',
        metavar='Q',
        help="ratios of neighbouring levels, above 1, or 'auto' "
        '(default: auto 2 1.41 1.19, with fitted levels auto)',
    )
    _add_common(sweep)

    add_partition(commands)
    add_infer(commands)
    add_export(commands)
    commands.add_parser('datasets', help='list the datasets')
    return parser


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
        type=kinds.path,
        metavar='FILE',
        help='load this state dict, such as the ann.pt of --output, and do not train; '
        'resnet20 needs one',
    )
    code = parser.add_argument_group('the conversion')
    code.add_argument(
        '--scale',
        type=kinds.scale,
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
        '--weight-bits',
        type=int,
        metavar='N',
        help='bits of weights, 2 to 16, as integers times a scale for each output '
        'channel (default: floating point)',
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
    parser.add_argument(
        '--energy-table',
        type=kinds.file_name,
        default='horowitz-fp32',
        metavar='TABLE',
        help=f'energies of single operations: {", ".join(_TABLES)}, or a JSON '
        'file of your own (default: horowitz-fp32)',
    )
    files = parser.add_argument_group('files')
    add_root(files)
    add_json(
        files,
        'the results',
        'Accuracies and ROC-AUC in percent, losses in points, errors in the unit of the '
        'property, energies in pJ for each of what --per says, times in seconds',
    )
    files.add_argument(
        '--output',
        type=kinds.path,
        metavar='DIR',
        help='write result.json and pictures (needs matplotlib), and the networks of the '
        'first seed',
    )
