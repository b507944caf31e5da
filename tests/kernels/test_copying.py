import copy

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv
from torch_geometric.nn.models import GCN

from spikegraph import convert
from spikegraph.kernels.copying import deepcopy

LAYOUTS = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


def adjacency(layout):
    return torch.eye(5).roll(1, 0).to_sparse(layout=layout)


def is_copy(found, given):
    assert found is not given and found.layout == given.layout
    assert torch.equal(found.to_dense(), given.to_dense())
    values = given.values() if given.layout != torch.sparse_coo else given._values()
    values.mul_(3)
    assert not torch.equal(found.to_dense(), given.to_dense())
    return True


class Slotted:
    __slots__ = ('adj',)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_sparse_tensors_wherever_they_are(layout):
    adj = adjacency(layout)
    assert is_copy(deepcopy(adj), adj)
    module = nn.Module()
    module.register_buffer('adj', adjacency(layout))
    module.layer = nn.Linear(2, 2)
    module.layer.kept = {'adj': [(adjacency(layout), None)]}
    module.slotted = Slotted()
    module.slotted.adj = adjacency(layout)
    module.data = Data(adj_t=adjacency(layout))
    module.again = module.adj
    found = deepcopy(module)
    assert found.again is found.adj
    assert is_copy(found.adj, module.adj)
    assert is_copy(found.layer.kept['adj'][0][0], module.layer.kept['adj'][0][0])
    assert is_copy(found.slotted.adj, module.slotted.adj)
    assert is_copy(found.data.adj_t, module.data.adj_t)
    assert found.layer.weight is not module.layer.weight


def test_gradients_and_parameters():
    given = [
        nn.Parameter(adjacency(torch.sparse_csr)),
        adjacency(torch.sparse_csc).requires_grad_(),
        adjacency(torch.sparse_csr),
    ]
    found = deepcopy(given)
    assert [t.requires_grad for t in found] == [True, True, False]
    assert isinstance(found[0], nn.Parameter) and found[0].layout == torch.sparse_csr


class WithBuffer(nn.Module):
    def __init__(self, adj):
        super().__init__()
        self.conv, self.last = GCNConv(3, 4), nn.Linear(4, 2)
        self.register_buffer('adj', adj)

    def forward(self, x):
        return self.last(self.conv(x, self.adj).relu())


@pytest.mark.parametrize('layout', [torch.sparse_coo, torch.sparse_csr])
def test_a_layer_that_has_cached_its_adjacency_is_converted(layout):
    x, adj = torch.rand(5, 3), adjacency(layout)
    model = GCN(3, 4, 2, 2, cached=True).eval()
    expected = model(x, adj)  # Caches it.
    snn = convert(model, (x, adj))
    assert (snn(x, adj) - expected).norm() < 0.2 * expected.norm()
    again = copy.deepcopy(snn)
    assert torch.equal(again(x, adj), snn(x, adj))


@pytest.mark.parametrize('layout', [torch.sparse_coo, torch.sparse_csr])
def test_a_model_with_an_adjacency_as_buffer_is_converted(layout):
    x = torch.rand(5, 3)
    model = WithBuffer(adjacency(layout)).eval()
    expected = model(x)
    snn = convert(model, (x,))
    assert (snn(x) - expected).norm() < 0.2 * expected.norm()
    again = copy.deepcopy(snn)
    assert torch.equal(again(x), snn(x))
