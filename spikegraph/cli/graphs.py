"""The arguments of the commands for large graphs, and for other tools."""

from __future__ import annotations

from typing import Any

from spikegraph.cli import kinds
from spikegraph.cli.kinds import add_json, add_root


def add_partition(commands: Any) -> None:
    """Adds the parser of ``spikegraph partition``."""
    parser = commands.add_parser(
        'partition',
        help='divide a graph into parts',
        description='Divides the nodes of a graph into parts, and reports the edges '
        'that are cut and the halo nodes of each part: nodes of other parts that edges '
        'lead from into it.',
    )
    parser.add_argument(
        'input',
        type=kinds.file_name,
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
    add_root(files)
    add_json(files, 'the counts', 'Shares in percent, times in seconds')
    files.add_argument(
        '--output',
        type=kinds.path,
        metavar='DIR',
        help='write the parts into this folder, which is new, empty, or of this command',
    )


def add_infer(commands: Any) -> None:
    """Adds the parser of ``spikegraph infer``."""
    parser = commands.add_parser(
        'infer',
        help='run a converted network on a large graph, in one or several processes',
        description='Runs a converted network on all nodes of a graph: in one process '
        'layer by layer, in blocks of nodes; in several, each with a part of the nodes, '
        "when started as 'torchrun --nproc-per-node N -m spikegraph infer ...'. Spike "
        'times are the same either way.',
    )
    parser.add_argument(
        'network', type=kinds.path, metavar='NETWORK', help='a file of spikegraph.save'
    )
    parser.add_argument(
        'graph',
        type=kinds.file_name,
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
        type=kinds.seconds,
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
    add_root(files)
    files.add_argument(
        '--storage',
        type=kinds.path,
        metavar='DIR',
        help='keep the spike times of each layer in this folder and not in memory; after '
        'a stop, the same command goes on from the last finished layer',
    )
    files.add_argument(
        '--fresh',
        action='store_true',
        help='empty the storage first instead of going on from it',
    )
    files.add_argument(
        '--output',
        type=kinds.path,
        metavar='FILE',
        help='write the outputs of all nodes, as .npy or (needs pip install '
        "'spikegraph[parquet]') .parquet; the file appears when it is complete",
    )
    files.add_argument(
        '--classes',
        action='store_true',
        help='write the class with the largest output of each node instead',
    )
    add_json(files, 'the report', 'Times in seconds')


def add_export(commands: Any) -> None:
    """Adds the parser of ``spikegraph export``."""
    parser = commands.add_parser(
        'export',
        help='write a converted network for chips, phones and other tools',
        description='Writes a converted network, such as the snn.safetensors of '
        "'spikegraph run --output', for other tools: as a folder with integers, events "
        'and golden spike times that replay.py repeats with NumPy alone (bundle), as an '
        'ONNX file, as a program of torch.export, or for NIR.',
    )
    parser.add_argument(
        'network', type=kinds.path, metavar='NETWORK', help='a file of spikegraph.save'
    )
    parser.add_argument(
        'dataset',
        metavar='DATASET',
        help="whose graph, or first test graphs or images, it runs on, see 'spikegraph "
        "datasets'",
    )
    parser.add_argument(
        '--format',
        choices=['bundle', 'onnx', 'torch', 'nir'],
        default='bundle',
        help='bundle needs a network with --weight-bits, onnx and nir the extras of that '
        'name (default: bundle)',
    )
    parser.add_argument(
        '--width',
        type=int,
        choices=[16, 24, 32],
        default=24,
        help='bits of a membrane, in a bundle (default: 24)',
    )
    parser.add_argument(
        '--samples',
        type=int,
        default=2,
        metavar='N',
        help='test graphs or images (default: 2)',
    )
    files = parser.add_argument_group('files')
    add_root(files)
    add_json(files, 'the summary', 'Sizes in bytes, cycles and delays in time steps')
    files.add_argument(
        '--output',
        type=kinds.path,
        required=True,
        metavar='PATH',
        help='the file, or the folder of a bundle, which is new or empty',
    )
