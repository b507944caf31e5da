import copy
import subprocess
import sys

import pytest
import torch
from torch_geometric.nn.models import GAT, GIN

from spikegraph import convert
from spikegraph.network.identity import identity_of_network
from spikegraph.nn import GraphFilter, PhaseNeuron, Relative
from spikegraph.running.parts.identity import network_digest

SCRIPT = """
import torch
from torch_geometric.nn.models import GIN
from spikegraph import convert
from spikegraph.running.parts.identity import network_digest
torch.manual_seed(0)
torch.set_num_threads(1)
x, edge_index = torch.rand(9, 4), torch.randint(9, (2, 20))
print(network_digest(convert(GIN(4, 8, 2, 3, train_eps=True), (x, edge_index))))
"""


@pytest.fixture
def snn(request):
    torch.manual_seed(0)
    x, edge_index = torch.rand(9, 4), torch.randint(9, (2, 20))
    return convert(getattr(request, 'param', GAT)(4, 8, 2, 3), (x, edge_index))


def changed(snn, kind, change):
    """The parts that differ once a module was changed."""
    other = copy.deepcopy(snn)
    change([m for m in other.network.modules() if type(m) is kind][-1])
    before, after = (identity_of_network(s.network) for s in (snn, other))
    assert (network_digest(snn) != network_digest(other)) == (before != after)
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


@pytest.mark.parametrize('snn', [GAT, GIN], indirect=True)
def test_copies_are_the_same(snn):
    assert changed(snn, PhaseNeuron, lambda _: None) == set()


@pytest.mark.parametrize('snn', [GAT, GIN], indirect=True)
def test_scale(snn):
    assert changed(snn, PhaseNeuron, lambda m: m.scale.mul_(2))


@pytest.mark.parametrize('snn', [GAT, GIN], indirect=True)
def test_coefficients_that_are_no_tensors(snn):
    def change(layer):
        layer.coefficients[0][-1] += 0.5

    assert changed(snn, GraphFilter, change)


def test_options_that_are_no_tensors(snn):
    def change(gate):
        gate.num_steps -= 1

    assert changed(snn, Relative, change)


def test_another_process_finds_the_same():
    command = [sys.executable, '-W', 'ignore', '-c', SCRIPT]
    found = {
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1 and len(found.pop().strip()) == 12
