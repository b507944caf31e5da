"""Networks are pickled by their operations."""

import pickle

import pytest
import torch
from torch import nn

from spikegraph import convert


class Filled(nn.Module):
    """A tensor of the rows that the input has, filled part by part."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x, mask):
        h = torch.zeros(x.size(0), 6, dtype=x.dtype)
        h[mask] = self.a(x[mask])
        h[~mask] = self.b(x[~mask])
        return self.out(h.relu())


class Asking(Filled):
    """Asks for a number that the input holds."""

    def forward(self, x, k):
        h = self.a(x).view(int(k), -1, 6).relu()
        return self.out(h.sum(0) if k == 4 else h[0])


@pytest.mark.parametrize(
    'build, beside', [(Filled, torch.arange(20) % 3 == 0), (Asking, torch.tensor(4))]
)
def test_networks_survive_pickling_again_and_again(build, beside):
    model, x = build().double(), torch.rand(20, 4, dtype=torch.float64)
    snn = convert(model, (x, beside))
    copied = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(snn))))
    assert torch.equal(copied(x, beside), snn(x, beside))
    assert copied.network.records == snn.network.records
    if build is Asking:
        with pytest.raises(
            ValueError, match=r'as with the calibration data \(got False\)'
        ):
            copied(x, torch.tensor(5))
