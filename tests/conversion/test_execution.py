"""How converted networks run: what is charged in rows runs the hooks of its
modules all the same, and a network goes when it is no longer needed.
"""

import gc
import weakref

import pytest
import torch
from torch_geometric.nn.models import GCN

from spikegraph import convert
from spikegraph.conversion import execution
from spikegraph.nn import GraphFilter, PhaseNeuron, potentials


@pytest.fixture
def snn(graph):
    return convert(GCN(5, 8, 3, 4).double().eval(), graph)


def calls_of(snn, graph, kind):
    """The output, and how often a forward hook on a kind of module is called."""
    found = []
    handles = [
        module.register_forward_hook(lambda *_: found.append(1))
        for module in snn.modules()
        if isinstance(module, kind)
    ]
    out = snn(graph)
    for handle in handles:
        handle.remove()
    return out, len(found)


@pytest.mark.parametrize('kind, num', [(GraphFilter, 3), (PhaseNeuron, 3)])
def test_hooks_run(snn, graph, kind, num):
    expected = snn(graph)
    out, num_called = calls_of(snn, graph, kind)
    assert num_called == num
    assert torch.allclose(out, expected, rtol=1e-12)


def test_global_hooks_run(snn, graph):
    found = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: found.append(type(module).__name__)
    )
    try:
        snn(graph)
    finally:
        hook.remove()
    assert found.count('SpikingGCNConv') == 3 and found.count('PhaseNeuron') == 3


def test_blocks_do_not_matter(snn, graph, monkeypatch):
    expected = snn(graph)
    monkeypatch.setattr(potentials, 'BLOCK_SIZE', 16)
    assert torch.equal(snn(graph), expected)


def test_networks_are_freed(snn, graph):
    snn(graph)
    known = weakref.ref(snn.network.graph)
    assert getattr(snn.network.graph, execution._PLAN).num_nodes > 0
    fresh = convert(GCN(5, 8, 2, 4).double().eval(), graph)
    fresh(graph)
    other = weakref.ref(fresh.network.graph)
    del fresh
    gc.collect()
    assert known() is not None and other() is None
