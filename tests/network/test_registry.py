"""Files name no more than what computes with numbers."""

import operator

import pytest
import torch
import torch_geometric.nn
from torch import nn

from spikegraph.network.finding import name_of, of_model
from spikegraph.network.functions import write_copy
from spikegraph.network.registry import Registry
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.routing import MOVING, move_spikes

REACHING = [
    # Through modules that others import, and past modules into classes.
    *('os.system', 'posix.system', 'torch.nn.functional.torch.load', 'torch.load'),
    *('torch_geometric.utils.convert.torch.load', 'torch.hub.load', 'numpy.load'),
    'torch_geometric.nn.models.dimenet.DimeNet.from_qm9_pretrained',
    # Through Python.
    *('builtins.eval', 'builtins.exec', 'builtins.open', 'builtins.__import__'),
    *('builtins.setattr', 'builtins.vars', 'builtins.map', 'functools.reduce'),
    *('importlib.import_module', 'operator.methodcaller', 'operator.attrgetter'),
    *('operator.call', 'builtins.type', 'builtins.object'),
    # Of tensors, but with files, memory, or what they call.
    *('torch.Tensor.apply_', 'torch.Tensor.map_', 'torch.Tensor.register_hook'),
    *('torch.Tensor.__reduce_ex__', 'torch.Tensor.__setstate__', 'torch.Tensor.set_'),
    *('torch.Tensor.data_ptr', 'torch.from_file', 'torch.frombuffer', 'torch.save'),
    *('torch._C._VariableFunctions.from_file', 'torch.vmap', 'torch.compile'),
    *('torch.Tensor.resize_', 'torch.ops.load_library', 'torch.Tensor.__class__'),
    # Of PyG, but with functions that they call.
    'torch_geometric.utils.influence.jacobian_l1',
    'torch_geometric.utils.embedding.get_embeddings',
    'torch_geometric.nn.pool.max_pool.max_pool',
    # Of this package.
    *('spikegraph.storage.load', 'spikegraph.files.write_file', 'spikegraph.load'),
    *('', '.', 'torch', 'torch.', 'torch..cat', 'a.b', 'torch.cat.__self__'),
]
BUILT = [
    *('subprocess.Popen', 'shelve.DbfilenameShelf', 'collections.UserDict'),
    *('torch.nn.functional.torch.package.PackageImporter', 'pathlib.PosixPath'),
    *(
        'torch.nn.parallel.DataParallel',
        'torch.fx.GraphModule',
        'torch.jit.RecursiveScriptModule',
    ),
    *('torch_geometric.data.SQLiteDatabase', 'torch_geometric.data.OnDiskDataset'),
    *('spikegraph.network.registry.Registry', 'spikegraph.coding.spikes.Spikes'),
    *('spikegraph.kernels.adjacency.Adjacency', 'spikegraph.calls.call.CallSpec'),
    *('builtins.object', 'builtins.type', 'builtins.memoryview', 'torch.cat'),
]


@pytest.mark.parametrize('name', REACHING)
def test_functions_that_reach_past_numbers(name):
    with pytest.raises(ValueError, match=r'Expected a function of PyTorch, PyG or'):
        Registry().function(name)


@pytest.mark.parametrize('name', BUILT)
def test_types_that_are_not_built(name):
    with pytest.raises(ValueError, match=r'Expected a type of PyTorch, PyG or'):
        Registry().kind(name)
    with pytest.raises(ValueError, match=r'Expected a plain type of PyTorch, PyG or'):
        Registry().type(name)


def test_types_as_values_are_plain():
    """A module's constructor is no function for networks to call."""
    assert Registry().kind('torch.nn.modules.linear.Linear') is nn.Linear
    with pytest.raises(ValueError, match=r"plain type .*'torch.nn.modules.linear.Lin"):
        Registry().type('torch.nn.modules.linear.Linear')


@pytest.mark.parametrize('name', [None, 3, ['torch.cat'], True])
def test_names_are_texts(name):
    for find in (Registry().function, Registry().type, Registry().kind):
        with pytest.raises(ValueError, match='Expected the name of a '):
            find(name)


@pytest.mark.parametrize(
    'value',
    [
        *(torch.cat, torch.relu, torch.where, torch.zeros, operator.add, getattr, len),
        *(torch.nn.functional.max_pool2d, torch.Tensor.add, torch.functional.einsum),
        *(torch_geometric.utils.scatter, torch._C._VariableFunctions.index_select),
        write_copy,
    ],
    ids=lambda value: value.__name__,
)
def test_names_lead_back(value):
    assert Registry().function(name_of(value)) == value


@pytest.mark.parametrize(
    'kind', [PhaseNeuron, nn.Conv2d, torch_geometric.nn.GCNConv, nn.LSTM]
)
def test_modules_are_built(kind):
    assert Registry().kind(name_of(kind)) is kind


@pytest.mark.parametrize(
    'name', ['apply_', 'numpy', '__class__', '__reduce_ex__', 'set_', '_values', 3, '']
)
def test_methods(name):
    with pytest.raises(ValueError, match='name of a method of tensors'):
        Registry().method(name)
    for function, args in ((write_copy, (0, name)), (write_copy, (0,))):
        with pytest.raises((ValueError, IndexError)):
            Registry().check(function, args)
    assert Registry().method('view') == 'view'
    Registry().check(write_copy, (0, 'mul_', 2))


@pytest.mark.parametrize(
    'name', ['apply_', 'numpy', '__class__', 'mul', 'tolist', '__getattribute__', 3, '']
)
def test_spikes_are_only_moved(name):
    """A method that computes would make spikes of no code; others reach further."""
    match = r"only moves values, such as 'view' \(got "
    for args in ((0, name), (0,), (name,)):
        with pytest.raises(ValueError, match=match):
            Registry().check(move_spikes, args)
    with pytest.raises(ValueError, match=match):
        move_spikes(torch.zeros(2), name)
    for known in MOVING:
        Registry().check(move_spikes, (0, known))
        assert Registry().method(known) == known


@pytest.mark.parametrize(
    'name', ['__class__', 'grad_fn', '_base', 'system', 'apply_', 3]
)
def test_attributes(name):
    with pytest.raises(ValueError, match='name of an attribute of tensors'):
        Registry().check(getattr, (0, name))
    with pytest.raises(ValueError, match=r'attribute of tensors \(got None\)'):
        Registry().check(getattr, ())
    Registry().check(getattr, (0, 'dtype'))


def scaled(x):
    return 2 * x


class Own(nn.Module):
    def forward(self, x):
        return scaled(x)


def test_what_is_known_may_be_named():
    name = f'{__name__}.scaled'
    with pytest.raises(ValueError, match=rf"'{name}'\); if it is yours, 'load\(path, "):
        Registry().function(name)
    assert Registry([scaled]).function(name) is scaled
    registry = Registry(of_model(nn.Sequential(Own())))
    assert registry.function(name) is scaled
    assert registry.kind(name_of(Own)) is Own
