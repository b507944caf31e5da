"""Operations that are given the number of a row do not act on each row by itself."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import SAGEConv

from spikegraph import convert, layerwise


class Between(nn.Module):
    """Two convolutions, something between them, and something behind."""

    def __init__(self, between=None, behind=None):
        super().__init__()
        self.first, self.last = SAGEConv(4, 8), SAGEConv(8, 3)
        self.between, self.behind = between, behind

    def forward(self, x, edge_index):
        h = self.first(x, edge_index).relu()
        h = h if self.between is None else self.between(h)
        out = self.last(h, edge_index)
        return out if self.behind is None else self.behind(out)


def zeroed(rows):
    def write(h):
        h = h.clone()
        h[rows] = 0
        return h

    return write


REFUSED = {
    'the first rows are written to': Between(zeroed(slice(None, 10))),
    'the last rows are written to': Between(zeroed(slice(-9, None))),
    'as many rows as are tried': Between(zeroed(slice(None, 5))),
    'rolled by as many rows as are tried': Between(lambda h: h.roll(5, 0)),
    'rolled by more rows': Between(lambda h: h.roll(35, 0)),
    'a part of a split': Between(behind=lambda out: out.split(20)[0]),
    'halves': Between(lambda h: torch.cat([h[30:], h[:30]])),
}
TAKEN = {
    'the first rows': Between(behind=lambda out: out[:40]),
    'the last rows': Between(behind=lambda out: out[-40:]),
    'with a step': Between(behind=lambda out: out[0:40:1]),
    'every other row': Between(behind=lambda out: out[::2]),
    'narrowed': Between(behind=lambda out: out.narrow(0, 3, 20)),
    'more rows than there are': Between(lambda h: h[:100_000]),
    'columns': Between(lambda h: h[:, :8].view(-1, 2, 4).flatten(1)),
}


def graph(num_nodes):
    torch.manual_seed(0)
    x, edge_index = (
        torch.rand(num_nodes, 4),
        torch.randint(num_nodes, (2, 6 * num_nodes)),
    )
    return x, edge_index


@pytest.mark.parametrize('num_nodes', [61, 3000])
@pytest.mark.parametrize('name', REFUSED)
def test_refused(name, num_nodes):
    inputs = graph(num_nodes)
    snn = convert(REFUSED[name].eval(), inputs)
    for block_size in (num_nodes // 9, 4096):
        with pytest.raises(
            NotImplementedError, match='layer by layer: it may mix nodes'
        ):
            layerwise(snn, *inputs, block_size=block_size)


@pytest.mark.parametrize('num_nodes', [61, 3000])
@pytest.mark.parametrize('name', TAKEN)
def test_taken(name, num_nodes):
    inputs = graph(num_nodes)
    snn = convert(TAKEN[name].eval(), inputs)
    for block_size in (num_nodes // 9, 4096):
        out = layerwise(snn, *inputs, block_size=block_size)
        assert torch.equal(out, snn(*inputs))
