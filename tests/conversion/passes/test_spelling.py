import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.network.roles import Role


class Attended(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(5, 8) for _ in range(3))
        self.lin = nn.Linear(8, 3)

    def forward(self, x):
        parts = (self.query(x), self.key(x), self.value(x))
        return self.lin(F.scaled_dot_product_attention(*parts).relu())


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(5, 8), nn.Linear(4, 3)

    def forward(self, x):
        return self.lin2(F.glu(self.lin1(x)))


@pytest.mark.parametrize('model, fires', [(Attended, 'softmax'), (Gated, 'sigmoid')])
def test_what_may_end_a_network_fires_within_it(model, fires):
    torch.manual_seed(0)
    snn = convert(model(), torch.rand(20, 5), ConversionConfig(num_steps=24))
    assert not any(n.role is Role.READ_OUT for n in snn.network.nodes)
    assert not snn.report.analog
    assert fires in ' '.join(p.replaced for p in snn.report.populations)
    assert snn.report.logit_relative_error < 0.1
