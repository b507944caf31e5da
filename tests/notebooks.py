"""Executes the notebooks of ``examples/`` and writes what comes out into them.

    python -m tests.notebooks
    python -m tests.notebooks energy attention

Seeds are fixed, and what changes from run to run, such as times, is left out, so that a
notebook that is executed twice on a machine is the same file.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'examples'
NAMES = (
    *('convert_your_model', 'choosing_steps', 'energy', 'attention'),
    *('convert_a_cnn', 'molecules', 'hardware', 'large_graphs'),
)
_METADATA = {
    'kernelspec': {
        'display_name': 'Python 3',
        'language': 'python',
        'name': 'python3',
    },
    'language_info': {'name': 'python'},
}


def read(name: str) -> Any:
    """A notebook of ``examples/``."""
    return nbformat.read(FOLDER / f'{name}.ipynb', as_version=4)


def execute(name: str) -> Any:
    """A notebook with the outputs of a fresh run in an empty folder, where all modules
    are those of this repository.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises.
    """
    notebook = read(name)
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    # What tqdm says where there are no widgets is not about the notebook.
    mine = {'PYTHONWARNINGS': 'ignore:IProgress not found', 'OMP_NUM_THREADS': '1'}
    mine['PYTHONPATH'] = paths
    before = {key: os.environ.get(key) for key in mine}
    os.environ.update(mine)
    try:
        with TemporaryDirectory() as folder:
            where = {'metadata': {'path': folder}}
            options: dict[str, Any] = {'timeout': 120, 'kernel_name': 'python3'}
            NotebookClient(notebook, resources=where, **options).execute()
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    return cleaned(notebook)


def cleaned(notebook: Any) -> Any:
    """Without names and times that differ between runs."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    for i, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f'cell-{i}', nbformat.from_dict({})
        if cell.get('outputs'):
            cell.outputs = _joined(cell.outputs)
        for output in cell.get('outputs', []):
            data = output.get('data', {})
            if 'text/plain' in data:  # Addresses of objects.
                data['text/plain'] = re.sub(r' at 0x[0-9a-f]+', '', data['text/plain'])
    return notebook


def _joined(outputs: list[Any]) -> list[Any]:
    """What is printed comes in as many pieces as it happens to."""
    found: list[Any] = []
    for output in outputs:
        before = found[-1] if found else None
        if before and output.output_type == before.output_type == 'stream':
            if output.name == before.name:
                before.text += output.text
                continue
        found.append(output)
    return found


def outputs(notebook: Any) -> list[Any]:
    """All that its cells show."""
    return [output for cell in notebook.cells for output in cell.get('outputs', [])]


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Executes notebooks.')
    parser.add_argument('names', nargs='*', metavar='name', help=', '.join(NAMES))
    for name in parser.parse_args().names or NAMES:
        nbformat.write(execute(name), FOLDER / f'{name}.ipynb')
        print(name, flush=True)
