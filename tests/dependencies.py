"""What the package needs: why, under which licence, and in which versions it is tested.

    python -m tests.dependencies

writes ``docs/dependencies.md`` and ``constraints.txt`` from the installed packages, in an
environment that is new, of Python 3.11, with ``pip install -e '.[test]'`` (and
``-c constraints.txt``, unless versions are to move). Tests compare them.
"""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE, PINS = ROOT / 'docs' / 'dependencies.md', ROOT / 'constraints.txt'
OLDEST = '3.10'
# What cannot be in the environment that writes the pins: it wants another PyTorch.
ASIDE = {'neurobench': '2.3.0'}
# Modules that are called otherwise than their packages.
MODULES = {
    'ipython': 'IPython',
    'scikit-learn': 'sklearn',
    'torch-geometric': 'torch_geometric',
}
WHY = {
    'numba': 'compiles the kernels for CPUs; without it, PyTorch computes the same',
    'llvmlite': 'the instructions of processors in those kernels; part of Numba',
    'numpy': 'arrays of kernels, files and events',
    'ogb': "molecules, their splits, and the evaluators of OGB's leader boards",
    'safetensors': 'files of networks, which run no code',
    'scikit-learn': 'the handwritten digits that need no download; ogb needs it, too',
    'scipy': 'numbering of nodes, and parts of graphs',
    'torch': 'tensors and networks',
    'torch-geometric': 'graphs and the networks that are converted',
    'tqdm': 'bars of progress',
    'triton': 'the kernels for GPUs',
    'h5py': 'events as HDF5',
    'neurobench': "counts by NeuroBench's own harness",
    'nir': 'networks and events in the exchange format of neuromorphic tools',
    'onnx': 'what `torch.onnx` writes files with',
    'onnxruntime': 'runs those files, as the examples of docs/onnx.md do',
    'onnxscript': 'what `torch.onnx` translates programs with',
    'pyarrow': 'tables of outputs as Parquet',
    'pymetis': 'parts of graphs with few cut edges',
    'matplotlib': 'pictures',
}
# Extras for those who change the library, not for its users.
WORKSHOP = ('docs', 'test')
# Not by this package itself: what is said of them in WHY does.
IMPORTED_ELSEWHERE = {'onnx', 'onnxruntime', 'onnxscript'}


def requirements() -> dict[str, list[Requirement]]:
    """The requirements in pyproject.toml, by extra; the empty name has what is always
    needed. (Python 3.10 reads no TOML.)"""
    text = (ROOT / 'pyproject.toml').read_text()
    always = re.search(r'^dependencies = \[(.*?)^\]', text, re.M | re.S)
    assert always
    extras = text.partition('[project.optional-dependencies]\n')[2].partition('\n[')[0]
    lists = dict(re.findall(r'^(\w+) = \[(.*?)\]$', extras, re.M | re.S))
    return {
        name: [Requirement(each) for each in re.findall(r'"(.*?)"', content)]
        for name, content in {'': always[1], **lists}.items()
    }


def needed(names: list[str]) -> dict[str, metadata.Distribution]:
    """Installed packages, with all that they need in turn."""
    found: dict[str, metadata.Distribution] = {}
    queue = [(name, '') for name in names]
    while queue:
        name, extra = queue.pop()
        name = canonicalize_name(name)
        if name in found and not extra:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # Not for this platform.
        for text in found[name].requires or []:
            each = Requirement(text)
            if each.marker is None or each.marker.evaluate({'extra': extra}):
                queue += [(each.name, inner) for inner in ('', *each.extras)]
    return found


def pins() -> str:
    """The text of ``constraints.txt``."""
    lists = requirements()
    names = [each.name for each in [*lists[''], *lists['test']]]
    lines = [f'{name}=={version}' for name, version in ASIDE.items()]
    for name, found in needed(names).items():
        version = found.version.partition('+')[0]  # Which build, is chosen elsewhere.
        least = re.search(r'>=\s*(3\.\d+)', found.metadata.get('Requires-Python') or '')
        marker = ''
        if least and int(least[1][2:]) > int(OLDEST[2:]):
            marker = f'; python_version >= "{least[1]}"'
        lines.append(f'{name}=={version}{marker}')
    return ''.join(f'{line}\n' for line in sorted(lines))


def is_pinned_environment() -> bool:
    """Whether the versions of this environment are those of ``constraints.txt``."""
    if sys.version_info[:2] != (3, 11):
        return False
    for line in PINS.read_text().splitlines():
        name, version = line.partition(';')[0].split('==')
        try:
            if name not in ASIDE and metadata.version(name).split('+')[0] != version:
                return False
        except metadata.PackageNotFoundError:
            return False
    return True


def imports_of(folder: Path) -> dict[str, tuple[set[str], set[str]]]:
    """Which files import a package, at their top and inside of functions."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in folder.rglob('*.py'):
        tree = ast.parse(path.read_text())
        top = {*map(id, tree.body)}
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or '']
            for name in {each.partition('.')[0] for each in names}:
                places = found.setdefault(name, (set(), set()))
                file = str(path.relative_to(folder))
                places[0 if id(node) in top else 1].add(file)
    return {
        name: places
        for name, places in found.items()
        if name not in {*sys.stdlib_module_names, folder.name}
    }


def licence(found: metadata.Distribution) -> str:
    """What the metadata of a package say, in one line."""
    data = found.metadata
    kinds = [
        each.rpartition(' :: ')[2]
        for each in data.get_all('Classifier') or []
        if each.startswith('License :: OSI Approved :: ')
    ]
    texts = [data.get('License-Expression'), *kinds, data.get('License')]
    first = next((text for text in texts if text), 'not said')
    return first.splitlines()[0].removesuffix(' License').removesuffix(' Software')


def page() -> str:
    """The text of ``docs/dependencies.md``."""
    lists, places = requirements(), imports_of(ROOT / 'spikegraph')
    rows = []
    users = [extra for extra in lists if extra not in WORKSHOP]
    for extra, each in [(name, each) for name in users for each in lists[name]]:
        at_top, inside = places.get(MODULES.get(each.name, each.name), ((), ()))
        where = 'at the top of modules' if at_top else 'in functions'
        where = where if at_top or inside else 'not by this package'
        try:
            words = licence(metadata.distribution(each.name))
        except metadata.PackageNotFoundError:
            words = 'Apache-2.0' if each.name in ASIDE else 'not installed'
        group = f'`[{extra}]`' if extra else 'always'
        cells = [f'`{each.name}{each.specifier}`', group, words, where, WHY[each.name]]
        rows.append(f'| {" | ".join(cells)} |\n')
    always = [each.name for each in lists['']]
    others: dict[str, list[str]] = {}
    for name, found in sorted(needed(always).items()):
        if name not in always:
            others.setdefault(licence(found), []).append(f'`{name}`')
    inner = [f'| {words} | {", ".join(names)} |\n' for words, names in others.items()]
    return f"""# Dependencies

Written by `python -m tests.dependencies` from pyproject.toml, the imports of the package
and the metadata of the versions in constraints.txt, which say what licences are.

| package | needed | licence | imported | for what |
|---|---|---|---|---|
{''.join(rows)}
`import spikegraph` imports none of them, and `spikegraph.convert` only PyTorch and PyG: the
rest comes on first use. What is imported *in functions* is looked for when it is called,
and an error names the extra that brings it.

What those that are always needed bring along:

| licence | packages |
|---|---|
{''.join(sorted(inner))}"""


if __name__ == '__main__':
    PINS.write_text(pins())
    PAGE.write_text(page())
