"""Everything that reads files of users: a small valid example of each, and the reader."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import nn

from spikegraph import ConversionConfig, convert, export, partition_graph, simulate
from spikegraph.export.connections import load_connections, load_header
from spikegraph.measurement import ENERGY_TABLES, energy_table
from spikegraph.partitioning import load_graph, load_partition, save_partition
from spikegraph.running.integers import replay
from spikegraph.zoo.datasets import DATASETS, load_dataset, load_images
from spikegraph.zoo.models import RECIPES
from spikegraph.zoo.training import load_weights
from tests.mutations import cut, edited, flipped
from tests.partitioning.graphs import random_graph

_WORDS = (b'\x00', b',', b'nan', b'-1', b'1e999', b'99999999999999999999', b'\n', b'x')


def changed_files(folder: Path, dice: Any) -> None:
    """One file of a folder is damaged, edited, emptied, or gone."""
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    path, kind = dice.choice(files), dice.randrange(6)
    content = path.read_bytes()
    if kind == 0:
        path.unlink()
    elif kind == 1 and path.suffix == '.json':
        with contextlib.suppress(ValueError):  # Values that JSON has not.
            path.write_text(json.dumps(edited(json.loads(content), dice)))
    elif kind == 2:
        place = dice.randrange(len(content) + 1)
        word = dice.choice(_WORDS)
        end = place + dice.choice([0, len(word)])
        path.write_bytes(content[:place] + word + content[end:])
    elif kind == 3 or not content:
        other = dice.choice(files)
        path.write_bytes(other.read_bytes())
    elif kind == 4:
        path.write_bytes(cut(content, dice))
    else:
        path.write_bytes(flipped(content, dice))


def _graph_of_arrays(folder: Path) -> None:
    data = random_graph(12, 30)
    for name in ('x', 'y', 'edge_index', 'edge_attr'):
        np.save(folder / f'{name}.npy', data[name].numpy())


def _edges(folder: Path) -> None:
    rows = random_graph(12, 30).edge_index.t().tolist()
    text = '# written by hand\nsource,target\n' + ''.join(f'{a},{b}\n' for a, b in rows)
    (folder / 'edges.csv').write_text(text)


def _partition(folder: Path) -> None:
    data = random_graph(12, 30)
    save_partition(partition_graph(data, 2, 'range'), data, folder / 'parts')


def _read_partition(folder: Path) -> None:
    parts = load_partition(folder / 'parts')
    for part in range(parts.num_parts):
        parts.part(part)
    parts.whole()


def _simulation() -> Any:
    torch.manual_seed(0)
    x, model = torch.rand(5, 4), nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    config = ConversionConfig(4, weight_bits=8)
    snn = convert(nn.Sequential(*model, nn.Linear(8, 3)), x, config)
    return snn, x, simulate(snn, x)


def _events(folder: Path, suffix: str) -> None:
    _, _, simulation = _simulation()
    path = folder / f'events.{suffix}'
    export.save_events(simulation.events(), path, list(simulation.spikes))


def _connections(folder: Path) -> None:
    snn, x, _ = _simulation()
    export.save_connections(snn, folder, x)


def _read_connections(folder: Path) -> None:
    for path in sorted(folder.glob('*-*.txt')):
        load_connections(path)
        load_header(path)


def _bundle(folder: Path) -> None:
    snn, x, _ = _simulation()
    export.write_bundle(snn, folder / 'bundle', x)


def _read_bundle(folder: Path) -> None:
    """As ``replay.py`` does, which catches these."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            replay.main(folder / 'bundle')
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f'{folder}: {error}') from error


def _weights(folder: Path) -> None:
    state = RECIPES['digits'].build_model(64, 10).state_dict()
    torch.save({'state_dict': state}, folder / 'weights.pt')


def _read_weights(folder: Path) -> None:
    load_weights(load_dataset('digits'), RECIPES['digits'], folder / 'weights.pt')


def _table(folder: Path) -> None:
    (folder / 'table.json').write_text(
        json.dumps(asdict(next(iter(ENERGY_TABLES.values()))))
    )


def _planetoid(folder: Path) -> None:
    """Eight papers; a whole one is refused by the published counts."""
    rng = np.random.default_rng(0)
    x, y = rng.random((8, 4)), np.eye(2)[np.arange(8) % 2]
    parts = {
        **{'x': csr_matrix(x[:2]), 'tx': csr_matrix(x[5:]), 'allx': csr_matrix(x[:5])},
        **{'y': y[:2], 'ty': y[5:], 'ally': y[:5]},
        'graph': {i: [(i + 1) % 8] for i in range(8)},
    }
    raw = folder / 'Cora' / 'raw'
    raw.mkdir(parents=True)
    for name, part in parts.items():
        (raw / f'ind.cora.{name}').write_bytes(pickle.dumps(part, protocol=4))
    (raw / 'ind.cora.test.index').write_text('7\n5\n6\n')


def _amazon(folder: Path) -> None:
    arrays: dict[str, Any] = {'labels': np.arange(5)}
    matrices = csr_matrix(np.eye(5)[:, :3]), csr_matrix(np.roll(np.eye(5), 1, axis=0))
    for name, matrix in zip(('attr', 'adj'), matrices, strict=True):
        for key in ('data', 'indices', 'indptr', 'shape'):
            arrays[f'{name}_{key}'] = np.asarray(getattr(matrix, key))
    file = folder / DATASETS['photo'].raw_files[0]
    file.parent.mkdir(parents=True)
    np.savez(file, **arrays)


def _molecules(folder: Path) -> None:
    from tests.zoo.test_ogb import write_molecules

    write_molecules(folder, 'ogbg-molbace', np.arange(40) % 2)
    load_dataset('ogbg-molbace', folder)  # What is made of them lies there, too.


def _mnist(folder: Path) -> None:
    from tests.zoo.test_images import idx_files

    (folder / 'mnist').mkdir()
    for name, content in idx_files().items():
        (folder / 'mnist' / name).write_bytes(content)


def _cifar(folder: Path) -> None:
    from tests.zoo.test_images import write_npz

    write_npz(folder, 'cifar10')


READERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    'graph of arrays': (_graph_of_arrays, load_graph),
    'edges': (_edges, lambda folder: load_graph(folder / 'edges.csv')),
    'graph of PyG': (
        lambda folder: torch.save(random_graph(12, 30), folder / 'graph.pt'),
        lambda folder: load_graph(folder / 'graph.pt'),
    ),
    'partition': (_partition, _read_partition),
    'events npz': (
        lambda folder: _events(folder, 'npz'),
        lambda folder: export.load_events(folder / 'events.npz'),
    ),
    'events h5': (
        lambda folder: _events(folder, 'h5'),
        lambda folder: export.load_events(folder / 'events.h5'),
    ),
    'connections': (_connections, _read_connections),
    'bundle': (_bundle, _read_bundle),
    'weights': (_weights, _read_weights),
    'energy table': (_table, lambda folder: energy_table(folder / 'table.json')),
    'cora': (_planetoid, lambda folder: load_dataset('cora', folder)),
    'photo': (_amazon, lambda folder: load_dataset('photo', folder)),
    'ogbg-molbace': (_molecules, lambda folder: load_dataset('ogbg-molbace', folder)),
    'mnist': (_mnist, lambda folder: load_images('mnist', folder)),
    'cifar10': (_cifar, lambda folder: load_images('cifar10', folder)),
}
