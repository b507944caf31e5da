"""Scales belong to channels, and not to rows that other inputs have more of."""

import torch
from torch import nn
from torch_geometric.nn import PDNConv

from spikegraph import convert
from tests.nn.exactness import assert_exact, real


class OverRows(nn.Module):
    """Weighs rows by exponentials of their products."""

    def __init__(self, images=False):
        super().__init__()
        kind = (lambda a, b: nn.Conv2d(a, b, 1)) if images else nn.Linear
        self.q, self.k, self.v = (kind(5, 4) for _ in range(3))
        self.images = images

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.images:
            q, k, v = (each.flatten(2).transpose(1, 2) for each in (q, k, v))
        e = torch.exp(q @ k.transpose(-2, -1))
        return (e / e.sum(-1, keepdim=True)) @ v


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(self.norm(self.conv(x)).relu())


def test_scores_between_rows_share_a_scale():
    assert_exact(OverRows(), real(2, 6, 5) * 0.1, most=0.5)(real(3, 9, 5))


def test_scores_between_places_share_a_scale():
    assert_exact(OverRows(images=True), real(2, 5, 3, 3) * 0.1)(real(3, 5, 4, 2))


def test_groups_of_channels_and_places_share_a_scale():
    assert_exact(Grouped(), real(2, 3, 4, 4), most=0.5)(real(3, 3, 5, 6))


def test_numbers_on_edges_share_a_scale():
    edge_index = torch.randint(9, (2, 30))
    inputs = real(9, 6).float(), edge_index, real(30, 3).float()
    snn = convert(PDNConv(6, 4, 3, 5), inputs)
    snn(inputs[0], edge_index[:, :20], inputs[2][:20])
