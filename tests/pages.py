"""What is generated of the layers and their tests.

    python -m tests.pages

writes ``docs/convolutions.md``, the number of layers in ``docs/converts.md``, and the
names that type checkers read in ``spikegraph/nn/conv/__init__.pyi``. A test compares them.
"""

from __future__ import annotations

import gc
import re
from pathlib import Path

import torch
import torch_geometric.nn as pyg_nn

import spikegraph.nn.conv
from tests.conversion.convolutions import EXACT, TABLES, Outcome, page, try_all

ROOT = Path(__file__).parents[1]
OVERVIEW = 'docs/converts.md'
Outcomes = dict[str, dict[str, list[Outcome]]]


def overview(outcomes: Outcomes) -> str:
    """docs/converts.md, with how many of PyG's convolutions convert exactly."""
    found = outcomes['Convolutions']
    layers = [name for name in pyg_nn.conv.__all__ if name in found]
    exact = [n for n in layers if any(each.status == EXACT for each in found[n])]
    numbers = f"{len(exact)} of PyG's {len(pyg_nn.conv.__all__)} convolutions"
    text, num = re.subn(
        r"\d+ of PyG's \d+ convolutions", numbers, (ROOT / OVERVIEW).read_text()
    )
    assert num == 1
    return text


def stub() -> str:
    """The names of ``spikegraph.nn.conv``, each from its file."""
    package = spikegraph.nn.conv
    origins = {name: getattr(package, name).__module__ for name in package.__all__}
    lines = sorted(
        f'from {module} import (\n    {name} as {name},\n)\n'
        for name, module in origins.items()
    )
    return '"""Written by `python -m tests.pages`."""\n\n' + ''.join(lines)


def pages(outcomes: Outcomes) -> dict[str, str]:
    """The text of each generated file."""
    return {
        'docs/convolutions.md': page(outcomes),
        OVERVIEW: overview(outcomes),
        'spikegraph/nn/conv/__init__.pyi': stub(),
    }


if __name__ == '__main__':
    torch.set_num_threads(1)
    gc.disable()  # It would look through all outcomes, which stay, again and again.
    tried = {title: try_all(table) for title, table in TABLES.items()}
    for name, text in pages(tried).items():
        (ROOT / name).write_text(text)
