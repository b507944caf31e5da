import pytest
import torch
from torch_geometric.utils import add_self_loops, remove_self_loops, scatter

from spikegraph.export.plain.segments import reduced, with_loops, without_loops
from tests.export.graphs import odd_graphs


@pytest.mark.parametrize('how', ['sum', 'add', 'mean', 'max', 'min'])
@pytest.mark.parametrize('shape', [(9,), (9, 3), (9, 2, 3)])
def test_groups_are_reduced_as_pyg_does(how, shape):
    x, index = torch.randn(shape).double(), torch.tensor([4, 0, 0, 1, 4, 4, 6, 0, 1])
    expected = scatter(x, index, dim=0, dim_size=8, reduce=how)
    assert torch.allclose(reduced(x, index, 8, how), expected, atol=1e-14)


def test_other_reductions_are_refused():
    with pytest.raises(NotImplementedError, match="reduced by 'mul'"):
        reduced(torch.ones(2), torch.zeros(2).long(), 1, 'mul')


@pytest.mark.parametrize('graph', odd_graphs())
@pytest.mark.parametrize('fill', [None, 2.0, 'mean', 'add', torch.tensor([1.0, 3.0])])
def test_self_loops_are_those_of_pyg(graph, fill):
    x, edge_index, weight = graph
    attr = torch.stack([weight, 1 - weight], 1)
    num = len(x)
    expected = add_self_loops(*remove_self_loops(edge_index, attr), fill, num)
    edges, found = with_loops(*without_loops(edge_index, attr), fill, num)
    assert torch.equal(edges, expected[0])
    assert torch.allclose(found, expected[1], atol=1e-14)
    edges, found = with_loops(*without_loops(edge_index), fill, num)
    assert torch.equal(edges, expected[0]) and found is None
