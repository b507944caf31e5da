"""Small networks in which signals meet: products, attention, norms and gates."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GATConv


class Product(nn.Module):
    """A gate for each row, which meets all channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(5, 1), nn.Linear(4, 3)

    def forward(self, x):
        return self.c(self.a(x).relu() * self.b(x).sigmoid())


class Gated(nn.Module):
    """One half of the channels meets the other."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(5, 8), nn.Linear(4, 3)

    def forward(self, x):
        a, b = self.a(x).chunk(2, -1)
        return self.c(a * torch.sigmoid(b))


class Attention(nn.Module):
    """All rows with all others, but for those that a mask hides."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, 4) for _ in range(3))
        self.c = nn.Linear(4, 3)
        nn.init.uniform_(self.v.weight)  # So that something fires.

    def forward(self, x, mask=None):
        score = self.q(x) @ self.k(x).t()
        if mask is not None:
            score = score.masked_fill(mask, -1e9)
        return self.c((torch.softmax(score, dim=-1) @ self.v(x)).relu())


class Edges(nn.Module):
    """Attention along edges, twice."""

    def __init__(self):
        super().__init__()
        self.a, self.b = GATConv(5, 4, heads=2), GATConv(8, 3, concat=False)

    def forward(self, x, edge_index):
        return self.b(F.elu(self.a(x, edge_index)), edge_index)


class Normed(nn.Module):
    """Squares, means of them, and a root."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.c(F.layer_norm(self.a(x), (4,)).relu())


NAMES = ('product', 'gated', 'attention', 'mask', 'edges', 'norm')


def network(name):
    """A network, and the arguments of a call."""
    kinds = dict(
        zip(NAMES, (Product, Gated, Attention, Attention, Edges, Normed), strict=True)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kinds[name]().double().eval()
    x = torch.rand(9, 5, generator=generator, dtype=torch.float64)
    if name == 'mask':
        mask = torch.rand(9, 9, generator=generator) > 0.7
        return model, (x, mask.fill_diagonal_(False))
    if name == 'edges':
        return model, (x, torch.randint(9, (2, 30), generator=generator))
    return model, (x,)
