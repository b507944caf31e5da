"""``spikegraph export``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from torch_geometric.data import Batch

from spikegraph import __version__
from spikegraph.cli.outputs import Outputs
from spikegraph.export.bundle import write_bundle
from spikegraph.running.model import SpikingModel
from spikegraph.storage import load
from spikegraph.zoo.datasets import (
    GraphDataset,
    ImageDataset,
    load_dataset,
    load_images,
)

_UNITS = {'bytes': 1e3, 'kB': 1e6, 'MB': 1e9}


def write_network(args: Namespace, outputs: Outputs) -> None:
    """Writes a network for other tools, and prints what that takes."""
    snn = load(args.network)
    inputs = _inputs(args, snn)
    values = _WRITERS[args.format](snn, inputs, args)
    path = args.output
    files = path.rglob('*') if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    lines = [
        f'{name.replace("_", " "):<24}{_text(name, number):>18}'
        for name, number in values.items()
    ]
    lines += ['', f'wrote {_bytes(size)} to {path}']
    if args.format == 'bundle':
        lines.append(f"run it again with 'python {path / 'replay.py'}'")
    found = {
        'network': str(args.network),
        'dataset': args.dataset,
        'format': args.format,
        'output': str(path),
        'output_bytes': size,
        'summary': values,
        'spikegraph': __version__,
    }
    outputs.write('\n'.join(lines), found)
    outputs.finish()


def _inputs(args: Namespace, snn: SpikingModel) -> tuple[Any, ...]:
    """The first test samples of a dataset, or its graph."""
    if args.samples < 1:
        raise ValueError(f"Expected '--samples' to be at least 1 (got {args.samples})")
    takes_images = any(isinstance(m, torch.nn.Conv2d) for m in snn.network.modules())
    dataset: Any
    if takes_images:
        dataset = load_images(args.dataset, args.root)
    else:
        dataset = load_dataset(args.dataset, args.root)
    if isinstance(dataset, ImageDataset):
        return (dataset.normalize(dataset.test_x[: args.samples]),)
    if isinstance(dataset, GraphDataset):
        batch: Any = Batch.from_data_list(list(dataset.test[: args.samples]))
        return batch.x, batch.edge_index, batch.edge_attr, batch.batch
    return dataset.data.x, dataset.data.edge_index


def _bundle(snn: SpikingModel, inputs: Any, args: Namespace) -> dict[str, Any]:
    return write_bundle(snn, args.output, *inputs, width=args.width)


def _onnx(snn: SpikingModel, inputs: Any, args: Namespace) -> dict[str, Any]:
    from spikegraph.export.programs import to_onnx

    to_onnx(snn, args.output, *inputs)
    return {}


def _torch(snn: SpikingModel, inputs: Any, args: Namespace) -> dict[str, Any]:
    from spikegraph.export.programs import to_program

    torch.export.save(to_program(snn, *inputs), args.output)
    return {}


def _nir(snn: SpikingModel, inputs: Any, args: Namespace) -> dict[str, Any]:
    from spikegraph.export.nir import to_nir

    graph = to_nir(snn, *inputs)
    import nir

    nir.write(args.output, graph)
    return {'nodes': len(graph.nodes), 'edges': len(graph.edges)}


_WRITERS = {'bundle': _bundle, 'onnx': _onnx, 'torch': _torch, 'nir': _nir}


def _text(name: str, number: int) -> str:
    if name.endswith('_bytes'):
        return _bytes(number)
    is_time = name in ('longest_delay', 'cycles_per_inference')
    return f'{number:,} steps' if is_time else f'{number:,}'


def _bytes(size: float) -> str:
    for unit, limit in _UNITS.items():
        if size < limit:
            return f'{size * 1e3 / limit:,.4g} {unit}'
    return f'{size / 1e9:,.4g} GB'
