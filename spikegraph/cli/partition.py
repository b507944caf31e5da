"""``spikegraph partition``."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from spikegraph import __version__
from spikegraph.cli.outputs import Outputs
from spikegraph.files import check_folder
from spikegraph.partitioning import (
    edge_cut,
    graph_digest,
    is_partition,
    load_graph,
    partition_graph,
    save_partition,
)
from spikegraph.zoo.datasets import DATASETS, NodeDataset, load_dataset


def divide(args: Namespace, outputs: Outputs) -> None:
    """Divides a graph, prints what is cut, and writes the parts."""
    if args.output is not None:
        check_folder(args.output, is_partition)  # Fails before the work, not after it.
    title, data = load_input(args.input, args.root)
    start = time.perf_counter()
    partition = partition_graph(data, args.parts, args.method, args.seed)
    seconds = time.perf_counter() - start
    cut = edge_cut(data, partition)
    lines = [title, str(cut), '', f'{"time":<20}{seconds:>12.3f}  s, to divide']
    values = {
        'input': args.input,
        'digest': graph_digest(data),
        **cut.to_dict(),
        'seed': args.seed,
        'seconds': seconds,
        'output': None if args.output is None else str(args.output),
        'spikegraph': __version__,
    }
    if args.output is not None:
        save_partition(partition, data, args.output)
        size = sum(f.stat().st_size for f in args.output.rglob('*') if f.is_file())
        values['output_bytes'] = size
        lines += [
            '',
            f'wrote {args.parts} parts, {size / 1e6:,.2f} MB, to {args.output}',
        ]
    outputs.write('\n'.join(lines), values)
    outputs.finish()


def load_input(name: str, root: Path | None) -> tuple[str, Any]:
    """What the graph is, and the graph: of a dataset, or in a file or folder."""
    if name not in DATASETS:
        if not Path(name).exists() and not Path(name).parent.name:
            raise FileNotFoundError(
                f'Expected INPUT to be a file, a folder or one of {", ".join(_NODES)} '
                f"(got '{name}')"
            )
        return name, load_graph(name).data
    if name not in _NODES:
        raise ValueError(
            f"Expected INPUT to be one graph, such as {', '.join(_NODES)} (got '{name}', "
            'which is none); others need no parts'
        )
    dataset = load_dataset(name, root)
    assert isinstance(dataset, NodeDataset)
    return f'{name}: {dataset.description}', dataset.data


_NODES = [name for name, info in DATASETS.items() if info.num_graphs == 1]
