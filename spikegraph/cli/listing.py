"""``spikegraph datasets``: without torch, whose import takes seconds."""

from __future__ import annotations

from spikegraph.zoo.datasets import DATASETS, IMAGE_DATASETS, DatasetInfo, default_root


def list_datasets() -> None:
    """Prints all datasets."""
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
