"""Nothing that a user gives as data is run: calls that could are listed, with reasons."""

import ast
import textwrap
from collections import Counter
from pathlib import Path

import pytest

import spikegraph

ROOT = Path(spikegraph.__file__).parent
FILES = sorted(ROOT.rglob('*.py'))
# Functions that run code, load what may, or import by name; by their last name.
BUILTINS = {'eval', 'exec', 'compile', '__import__'}
OF_MODULES = {
    *(('pickle', n) for n in ('load', 'loads', 'Unpickler')),
    *(('cPickle', n) for n in ('load', 'loads')),
    *(('cloudpickle', n) for n in ('load', 'loads')),
    *(('dill', n) for n in ('load', 'loads')),
    *(('marshal', n) for n in ('load', 'loads')),
    *(('joblib', 'load'), ('shelve', 'open'), ('yaml', 'load'), ('runpy', 'run_path')),
    *(('pd', 'read_pickle'), ('os', 'system'), ('os', 'popen'), ('pty', 'spawn')),
    *(('importlib', 'import_module'), ('ctypes', 'CDLL'), ('serialization', 'load')),
    *(('subprocess', n) for n in ('run', 'Popen', 'call', 'check_output')),
}
METHODS = {'recompile', 'read_pickle', 'torch_load', 'import_module'}
ALLOWED = {
    ('conversion/tracing/tracer.py', 'eval', 2): (
        'a signature of the names of the arguments of a model, which is code already'
    ),
    ('conversion/tracing/tracer.py', 'recompile', 1): (
        'torch.fx writes Python for a model that was traced, not for one of a file'
    ),
    ('conversion/passes/builder.py', 'recompile', 1): 'as in the tracer',
    ('conversion/ranks.py', 'torch.load', 1): (
        'what a process of the same group, running this program, has sent to this one'
    ),
    ('zoo/datasets/pickles.py', 'pickle.Unpickler', 1): (
        'finds only the parts of arrays, matrices and lists'
    ),
    ('zoo/datasets/raw.py', 'read_pickle', 1): 'the function of pickles.py',
    ('kernels/dispatch.py', 'import_module', 3): 'the folders in spikegraph/kernels',
    ('lazy.py', 'import_module', 2): 'the lines of stubs, and modules of this package',
    ('moved.py', 'import_module', 1): 'modules of this package',
    ('network/finding.py', 'import_module', 2): (
        'three packages, and of what a file names their modules only'
    ),
    ('nn/__init__.py', 'import_module', 1): 'its own modules',
    ('nn/conv/__init__.py', 'import_module', 1): 'its own modules',
    ('kernels/openmp.py', 'ctypes.CDLL', 1): (
        'the OpenMP that PyTorch has loaded into this process'
    ),
    ('measurement/memory.py', 'ctypes.CDLL', 1): 'the C library of this process',
    ('kernels/cpu/compiled/compilation.py', 'numba.njit', 1): (
        'the cache of compiled kernels, in a folder that Numba chooses and no user names'
    ),
}


def risky(tree):
    """The names of the calls that could run what they are given."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = name_of(node)
            if name in ('pickle.Unpickler', 'Unpickler'):  # As a base, too.
                yield 'pickle.Unpickler'
        if not isinstance(node, ast.Call):
            continue
        name, given = name_of(node.func), keywords(node)
        module, _, last = name.rpartition('.')
        place = module.rpartition('.')[2]
        if (
            last == 'load'
            and place == 'torch'
            and given.get('weights_only') is not True
        ):
            yield name
        elif last in ('load', 'NpzFile') and place in ('np', 'numpy'):
            if given.get('allow_pickle') is not False:
                yield name
        elif last in ('njit', 'jit') and given.get('cache'):
            yield name
        elif not module and last in BUILTINS or last in METHODS:
            yield last
        elif (place, last) in OF_MODULES and last != 'Unpickler':
            yield f'{place}.{last}'


def name_of(node):
    if isinstance(node, ast.Attribute):
        return f'{name_of(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else ''


def keywords(call):
    values = {each.arg: each.value for each in call.keywords}
    return {
        key: value.value if isinstance(value, ast.Constant) else 'something'
        for key, value in values.items()
    }


def test_only_what_is_allowed():
    found = Counter(
        (str(path.relative_to(ROOT)), name)
        for path in FILES
        for name in risky(ast.parse(path.read_text()))
    )
    found = {(file, name, number) for (file, name), number in found.items()}
    assert found - {*ALLOWED} == set(), 'say why, in ALLOWED, that no data get there'
    assert {*ALLOWED} - found == set(), 'these are gone'


def test_names_are_those_of_modules():
    """No module that could run data is imported under another name, or in parts."""
    modules = {module for module, _ in OF_MODULES} - {
        'pd',
        'serialization',
        'importlib',
    }
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    assert alias.asname is None or alias.name not in modules, path
            if isinstance(node, ast.ImportFrom) and node.module in {*modules, 'torch'}:
                assert not {'load', 'loads', 'system'} & {a.name for a in node.names}


@pytest.mark.parametrize(
    'code, expected',
    [
        ('torch.load(path)', ['torch.load']),
        ('torch.load(path, weights_only=False)', ['torch.load']),
        ('torch.load(path, weights_only=flag)', ['torch.load']),
        ('torch.load(path, weights_only=True)', []),
        ('np.load(path)', ['np.load']),
        ('np.load(path, allow_pickle=True)', ['np.load']),
        ('np.load(path, allow_pickle=False)', []),
        ('pickle.load(file)', ['pickle.load']),
        ('class A(pickle.Unpickler): pass', ['pickle.Unpickler']),
        ('eval(text)', ['eval']),
        ('model.eval()', []),
        ('exec(compile(text, "", "exec"))', ['exec', 'compile']),
        ('re.compile(text)', []),
        ('subprocess.run(text)', ['subprocess.run']),
        ('fs.torch_load(path)', ['torch_load']),
    ],
)
def test_what_is_found(code, expected):
    assert [*risky(ast.parse(textwrap.dedent(code)))] == expected
