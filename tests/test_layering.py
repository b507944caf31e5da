"""Each package imports only what stands above it in this list."""

import ast
from pathlib import Path

import pytest

import spikegraph

ROOT = Path(spikegraph.__file__).parent
ORDER = [
    ('tables',),
    ('coding', 'files', 'lazy', 'moved', 'schema'),
    ('kernels',),
    ('nn', 'partitioning'),
    ('calls',),
    ('network',),
    ('running',),
    ('conversion', 'reordering'),
    ('storage',),
    ('measurement',),
    ('export', 'plotting'),
    ('zoo', 'testing'),
    ('formatting',),
    ('cli',),
]
FILES = sorted(path for path in ROOT.rglob('*.py') if path.name != '__main__.py')


def package_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix('.py')


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            names = [node.module or '']
            if node.module == 'spikegraph':
                names = [f'spikegraph.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith('spikegraph.'):
                yield name.split('.')[1]


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_upwards(path):
    package = package_of(path)
    if package == '__init__':
        return
    level = {name: i for i, names in enumerate(ORDER) for name in names}
    for imported in imports_of(path):
        if imported != '__version__':
            above = level[imported] < level[package] or imported == package
            assert above, f'{path} imports {imported}'


def test_torchvision_is_never_imported():
    for path in FILES:
        assert 'torchvision' not in path.read_text(), path


def test_files_are_short():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path
