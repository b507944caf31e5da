"""``spikegraph infer``."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import asdict
from typing import Any

from spikegraph import __version__
from spikegraph.cli.outputs import Outputs
from spikegraph.cli.partition import load_input
from spikegraph.cli.processes import Together, is_launched, joined
from spikegraph.cli.rows import RowFiles
from spikegraph.partitioning import (
    EdgeCut,
    Partition,
    edge_cut,
    is_partition,
    load_graph,
    load_partition,
)
from spikegraph.running import SpikingModel, layerwise
from spikegraph.running.distributed import (
    DistributedModel,
    OutputRows,
    PartResult,
    StageReport,
    rows_of,
    rows_of_part,
    summed,
)
from spikegraph.storage import load

_BLOCK_SIZE = 4096
_TIMEOUT = 60.0


def infer(args: Namespace, outputs: Outputs) -> None:
    """Runs a network on a graph, prints what it took, and writes its outputs."""
    if args.classes and args.output is None:
        raise ValueError(
            "Expected '--output' beside '--classes' (got none); name a file"
        )
    if args.fresh and args.storage is None:
        raise ValueError(
            "Expected '--storage' beside '--fresh' (got none); name the folder"
        )
    if is_launched():
        _refuse(
            '--block-size', args.block_size, 'several processes divide nodes by parts'
        )
        with joined(args.timeout or _TIMEOUT) as together:
            _in_parts(args, outputs, together)
        return
    for name, value in (
        ('--timeout', args.timeout),
        ('--no-pack', args.no_pack or None),
    ):
        _refuse(
            name, value, "start with 'torchrun --nproc-per-node N -m spikegraph infer'"
        )
    _alone(args, outputs)


def _refuse(option: str, value: Any, reason: str) -> None:
    if value is not None:
        raise ValueError(f"Expected no '{option}' here (got {value}); {reason}")


def _alone(args: Namespace, outputs: Outputs) -> None:
    files = _files(args)
    snn = load(args.network)
    title, data = load_input(args.graph, args.root)
    block_size = _BLOCK_SIZE if args.block_size is None else args.block_size
    start = time.perf_counter()
    found = layerwise(
        snn,
        data,
        block_size=block_size,
        storage=args.storage,
        resume=not args.fresh,
        progress=sys.stderr.isatty(),
    )
    seconds = time.perf_counter() - start
    rows = rows_of(snn.network.form.read(found))
    lines = [
        title,
        f'{_sizes(rows)} of {args.network}, in one process, {block_size:,} nodes at once',
        '',
        f'{"time":<20}{seconds:>12.3f}  s',
    ]
    values = {'processes': 1, 'block_size': block_size}
    _finish(args, outputs, files, rows, Together(None), lines, seconds, values)


def _in_parts(args: Namespace, outputs: Outputs, together: Together) -> None:
    assert together.peers is not None
    files = together.all(lambda: _files(args), 'looking at its files')
    snn, graph, partition = together.all(
        lambda: _read(args), 'reading network and graph'
    )
    start = time.perf_counter()
    model = DistributedModel(
        snn,
        graph,
        partition=partition,
        timeout=together.peers.timeout,
        packs=not args.no_pack,
        storage=args.storage,
        resume=not args.fresh,
    )
    prepared = time.perf_counter() - start
    is_whole = partition is not None
    cut = together.first(  # Here nothing is lost if it fails.
        lambda: edge_cut(graph if is_whole else graph.outline(), _partition(model)),
        'counting cut edges',
    )
    start = time.perf_counter()
    result = model.run(progress=sys.stderr.isatty())
    seconds = time.perf_counter() - start
    rows = together.all(lambda: rows_of_part(model, result), 'reading outputs')
    parts = together.gather(result.stages, 'adding up what was sent')
    lines, values = _report(args, rows, parts, cut, result)
    values['prepare_seconds'] = prepared
    lines += [
        '',
        f'{"time":<20}{seconds:>12.3f}  s, and {prepared:.3f} to prepare',
    ]
    _finish(args, outputs, files, rows, together, lines, seconds, values)


def _files(args: Namespace) -> RowFiles | None:
    return None if args.output is None else RowFiles(args.output, args.classes)


def _read(args: Namespace) -> tuple[SpikingModel, Any, Partition | None]:
    """The network, and the graph: in parts, or as a whole with its partition."""
    snn = load(args.network)
    if is_partition(args.graph):
        return snn, load_partition(args.graph), None
    data, partition = load_graph(args.graph)
    if partition is None:
        raise ValueError(
            f"Expected '{args.graph}' to be a graph in parts (got a whole one); divide it "
            f"with 'spikegraph partition {args.graph} --parts N --output DIR'"
        )
    return snn, data, partition


def _partition(model: DistributedModel) -> Partition:
    return model.source.partition


def _report(
    args: Namespace,
    rows: list[OutputRows],
    parts: list[list[StageReport]],
    cut: EdgeCut,
    result: PartResult,
) -> tuple[list[str], dict[str, Any]]:
    """The report as text and as values, for JSON."""
    stages = summed(parts)
    num_bytes = sum(stage.bytes_sent for stage in stages)
    floats = sum(stage.float_bytes for stage in stages)
    table = str(PartResult(None, {}, stages))
    lines = [
        str(args.graph),
        f'{_sizes(rows)} of {args.network}, in {len(parts)} processes',
        '',
        f'{"cut edges":<20}{cut.cut_edges:>12,}  {cut.cut_percent:.2f} % of '
        f'{cut.num_edges:,}, by {cut.method}',
        f'{"halo nodes":<20}{cut.num_boundary:>12,}  of {cut.num_nodes:,} nodes',
        f'{"sent":<20}{num_bytes / 1e3:>12,.1f}  kB{_less(floats, num_bytes)}',
        '',
        'all processes: rows and bytes added up, seconds of the slowest',
        table,
        '',
        f'{"process":>7} {"nodes":>12} {"kB sent":>10} {"local s":>8} {"fire s":>8} '
        f'{"exch. s":>8}',
    ]
    nodes = [sum(sizes) for sizes in zip(*cut.nodes.values(), strict=True)]
    for rank, part in enumerate(parts):
        sent, local, fire, exchange = (
            sum(getattr(stage, name) for stage in part)
            for name in ('bytes_sent', 'local_s', 'fire_s', 'exchange_s')
        )
        lines.append(
            f'{rank:>7} {nodes[rank]:>12,} {sent / 1e3:>10,.1f} {local:>8.3f} '
            f'{fire:>8.3f} {exchange:>8.3f}'
        )
    values = {
        'processes': len(parts),
        'edge_cut': cut.to_dict(),
        'bytes_sent': num_bytes,
        'float_bytes': floats,
        'stages': [asdict(stage) for stage in stages],
        'stages_of_each': [[asdict(stage) for stage in part] for part in parts],
    }
    return lines, values


def _less(floats: int, num_bytes: int) -> str:
    return f', {floats / num_bytes:.1f} times fewer than as floats' if num_bytes else ''


def _sizes(rows: list[OutputRows]) -> str:
    found = []
    for output in rows:
        shape = ' x '.join(f'{n:,}' for n in (output.size, *output.values.shape[1:]))
        found.append(f'{shape} outputs{output.name and f" {output.name!r}"}')
    return ', '.join(found)


def _finish(
    args: Namespace,
    outputs: Outputs,
    files: RowFiles | None,
    rows: list[OutputRows],
    together: Together,
    lines: list[str],
    seconds: float,
    values: dict[str, Any],
) -> None:
    """Writes outputs, and then the report."""
    written = [] if files is None else files.write(rows, together)
    if not together.is_first:
        return
    if written:
        lines += ['', f'wrote {" and ".join(map(str, written))}']
    values = {
        'network': str(args.network),
        'graph': args.graph,
        **values,
        'seconds': seconds,
        'outputs': [str(path) for path in written],
        'spikegraph': __version__,
    }
    outputs.write('\n'.join(lines), values)
    outputs.finish()
