"""What is imported is declared, what is declared is imported, and all of it is pinned."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import dependencies
from tests.dependencies import ASIDE, IMPORTED_ELSEWHERE, MODULES, WHY, WORKSHOP

ROOT = Path(__file__).parents[1]
LISTS = dependencies.requirements()
ALWAYS = {each.name for each in LISTS['']}
EXTRAS = [extra for extra in LISTS if extra not in ('', *WORKSHOP)]
OPTIONAL = {each.name: extra for extra in EXTRAS for each in LISTS[extra]}


def names_of(modules):
    packages = {module: name for name, module in MODULES.items()}
    return {packages.get(module, module) for module in modules}


def test_the_lists_are_read():
    assert {'torch', 'torch-geometric', 'numba'} < ALWAYS
    assert {'onnx', 'plot', 'test', 'cuda'} < {*LISTS}
    assert {*WHY} == ALWAYS | {*OPTIONAL}


def test_every_import_is_declared_and_the_other_way_round():
    places = dependencies.imports_of(ROOT / 'spikegraph')
    found = names_of(places)
    assert found <= ALWAYS | {*OPTIONAL}
    assert ALWAYS | {*OPTIONAL} == found | IMPORTED_ELSEWHERE
    for module, (at_top, _) in places.items():
        if names_of([module]) <= {*OPTIONAL}:  # Late, or in a module of its own.
            assert {*at_top} <= {'kernels/triton/kernels.py'}, module


def test_tests_import_what_they_bring():
    places = dependencies.imports_of(ROOT / 'tests')
    ours = {'spikegraph', 'compares_types', 'cases'}  # Written by tests themselves.
    brought = ALWAYS | {each.name for each in LISTS['test']} | {'pytest-xdist'}
    found = names_of({*places} - ours - {'xdist'})
    assert found - brought == {*ASIDE}  # Where it is missing, its tests are skipped.


def test_tests_bring_every_extra_within_its_bounds():
    tested = {each.name: each for each in LISTS['test']}
    for extra in EXTRAS:
        for each in LISTS[extra]:
            assert each.name in ASIDE or str(tested[each.name]) == str(each), extra


def test_every_direct_dependency_is_bounded_and_pinned():
    pinned = {}
    for line in (ROOT / 'constraints.txt').read_text().splitlines():
        name, _, version = line.partition(';')[0].strip().partition('==')
        assert name not in pinned, f'{name} is pinned twice'
        pinned[name] = version
    assert [*pinned] == sorted(pinned, key=lambda name: f'{name}==')
    project = (ROOT / 'pyproject.toml').read_text()
    build = re.search(r'^requires = \["(.*)"\]', project, re.MULTILINE)
    direct = [each for needed in LISTS.values() for each in needed]
    direct += [dependencies.Requirement(build[1])]
    for each in direct:
        assert [s.operator for s in each.specifier] == ['>='], each
        assert each.specifier.contains(pinned[each.name]), each


def test_the_page_and_the_pins_are_as_written():
    """In an environment that has the pinned versions; others have others."""
    if not dependencies.is_pinned_environment():
        pytest.skip('the versions of this environment are not those of constraints.txt')
    hint = "run 'python -m tests.dependencies'"
    assert dependencies.PINS.read_text() == dependencies.pins(), hint
    assert dependencies.PAGE.read_text() == dependencies.page(), hint


def test_licences_are_permissive():
    """Those of what is always needed, with all that it brings."""
    closure = dependencies.needed(sorted(ALWAYS))
    assert {'torch', 'jinja2', 'joblib'} < {*closure}
    for name, found in closure.items():
        words = dependencies.licence(found)
        known = ('Apache', 'BSD', 'MIT', 'MPL', 'PSF', 'Python Software', 'ISC')
        proprietary = name.startswith(('nvidia-', 'cuda-'))  # Of PyTorch for GPUs.
        assert proprietary or any(each in words for each in known), (name, words)
        assert not re.search(r'\bA?GPL', words.replace('LGPL', '')), (name, words)


def test_optional_packages_are_imported_on_use():
    """Not even when every public name has been looked up."""
    modules = ['h5py', 'matplotlib', 'neurobench', 'nir', 'onnxscript', 'pyarrow']
    code = (
        'import sys, torch, torch_geometric\n'
        'before = {*sys.modules}\n'
        'import spikegraph, spikegraph.plotting, spikegraph.zoo.datasets\n'
        'names = [getattr(spikegraph, name) for name in spikegraph.__all__]\n'
        'names += [getattr(spikegraph.export, n) for n in spikegraph.export.__all__]\n'
        'found = {*sys.modules} - before\n'
        f'print(*[name for name in {[*modules, "pymetis", "ogb", "sklearn"]} '
        'if name in found])\n'
    )
    options = dict(cwd=ROOT, capture_output=True, text=True, timeout=300)
    found = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], **options)
    assert (found.stdout, found.returncode) == ('\n', 0), found.stderr
