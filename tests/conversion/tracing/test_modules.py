"""Functions that a module has imported are found in it, whatever it is called."""

import sys

import torch
from torch import nn
from torch_geometric.utils import scatter, softmax

from tests.nn.exactness import assert_exact, real

EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 3], [1, 1, 2, 2, 5, 4, 4, 0]])


class Weighing(nn.Module):
    def __init__(self):
        super().__init__()
        self.score, self.last = nn.Linear(5, 1), nn.Linear(5, 3)

    def forward(self, x, edge_index):
        source, target = edge_index
        weight = softmax(self.score(x)[source], target, num_nodes=len(x))
        return self.last(scatter(weight * x[source], target, 0, len(x)).relu())


def test_a_module_with_two_names(monkeypatch):
    """As a script has in a child process."""
    monkeypatch.setitem(sys.modules, '__mp_main__', sys.modules[__name__])
    assert_exact(Weighing(), real(7, 5), EDGES)
