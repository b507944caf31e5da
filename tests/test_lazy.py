"""Names of the package: on first use, listed, and known to type checkers."""

import ast
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import spikegraph

ROOT = Path(__file__).parents[1]
STUBS = sorted((ROOT / 'spikegraph').rglob('*.pyi'))
LAZY = [path for path in STUBS if 'attach(' in path.with_suffix('.py').read_text()]


def run(*arguments):
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    result = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, 'PYTHONPATH': paths},
        capture_output=True,
        text=True,
    )
    return result.stdout + result.stderr


def package_of(stub):
    return '.'.join(stub.parent.relative_to(ROOT).parts)


@pytest.mark.parametrize('name', spikegraph.__all__)
def test_public_names(name):
    found = getattr(spikegraph, name)
    assert found.__name__ == name and found.__module__.startswith('spikegraph.')
    assert name in dir(spikegraph)


def test_the_public_names_are_as_they_were():
    assert {'convert', 'simulate', 'measure', 'save', 'load'} < {*spikegraph.__all__}
    assert not {'kernels', 'attach', '__version__'} & {*spikegraph.__all__}


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'converter'"):
        spikegraph.converter  # noqa: B018
    assert not hasattr(spikegraph, '__main__')  # It would run.


def test_a_module_that_lacks_something_says_what(tmp_path, monkeypatch):
    (tmp_path / 'needy.py').write_text('import no_such_package\n')
    monkeypatch.setattr(spikegraph, '__path__', [*spikegraph.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="'no_such_package'"):
        spikegraph.needy  # noqa: B018


@pytest.mark.parametrize('stub', LAZY, ids=package_of)
def test_stubs_name_every_module_once(stub):
    """Each line is an import that gives what it says; all public modules are there."""
    lines = ast.parse(stub.read_text()).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom)]
    names = [(line.module, a.name, a.asname) for line in imports for a in line.names]
    assert all(name == asname for _, name, asname in names)
    assert len({name for _, name, _ in names}) == len(names)
    own = {name for module, name, _ in names if module == package_of(stub)}
    modules = {found.name for found in pkgutil.iter_modules([str(stub.parent)])}
    assert own == modules - {'__main__', 'lazy', 'moved'}


def test_modules_are_attributes_after_a_plain_import():
    code = (
        'import sys, spikegraph\n'
        'assert "torch" not in sys.modules and "numpy" not in sys.modules\n'
        'assert {"convert", "kernels"} < set(dir(spikegraph))\n'
        'print(spikegraph.kernels.info()["path"])\n'
        'print(spikegraph.zoo.datasets.load_dataset.__name__)\n'
        'print(spikegraph.export.save_events.__name__)\n'
        'print(spikegraph.nn.conv.SpikingGINConv.__name__)\n'
    )
    out = run('-c', code)
    expected = 'load_dataset\nsave_events\nSpikingGINConv\n'
    assert out.startswith(('numba', 'torch', 'triton')) and out.endswith(expected), out


def test_convert_imports_only_what_converting_needs():
    code = (
        'import sys, tqdm, torch, torch_geometric\n'
        'before = {*sys.modules}\n'
        'import spikegraph; spikegraph.convert\n'
        'print(*{*sys.modules} - before)\n'
    )
    found = {*run('-W', 'ignore', '-c', code).split()}
    assert 'spikegraph.conversion.converter' in found
    others = {name.split('.')[0] for name in found} - sys.stdlib_module_names
    assert others <= {'spikegraph', 'torch', 'torch_geometric'}, sorted(found)
    running = {f'running.{name}' for name in ('blocks', 'disk', 'parts', 'steps')}
    elsewhere = {'measurement', 'partitioning', 'plotting', 'storage', 'zoo', *running}
    unneeded = {'kernels.cpu', 'running.distributed.infer', *elsewhere}
    assert not {f'spikegraph.{name}' for name in unneeded} & found


@pytest.mark.slow
def test_type_checkers_see_the_types():
    code = (
        'import spikegraph\n'
        'reveal_type(spikegraph.convert)\n'
        'reveal_type(spikegraph.kernels.info)\n'
        'reveal_type(spikegraph.zoo.datasets.load_images)\n'
        'reveal_type(spikegraph.nn.conv.SpikingGINConv)\n'
        'spikegraph.converter\n'
    )
    out = run('-m', 'mypy', '-c', code)
    assert '-> spikegraph.running.model.SpikingModel"' in out, out
    assert '"def () -> dict[str, Any]"' in out
    assert '-> spikegraph.zoo.datasets.' in out
    assert 'gin_conv.SpikingGINConv' in out
    assert 'error: Module has no attribute "converter"' in out
    assert 'Found 1 error' in out


def test_the_package_says_that_it_is_typed():
    assert (Path(spikegraph.__file__).parent / 'py.typed').exists()
