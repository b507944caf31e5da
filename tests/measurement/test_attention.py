"""Attention that PyTorch computes in one piece is counted by its parts."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import convert, measure

ROWS = 5 * 6
ATTENTION = 2 * 5 * 2 * 6 * 6 * 4  # Scores, and what they weigh, of two heads.


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.last = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (2, 12)).transpose(1, 2).chunk(3, -1)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.last(out.transpose(1, 2).flatten(2))


class Heads(nn.Module):
    def __init__(self, needs_weights):
        super().__init__()
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last, self.needs_weights = nn.Linear(8, 3), needs_weights

    def forward(self, x):
        return self.last(self.heads(x, x, x, need_weights=self.needs_weights)[0])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.layer(x))


PROJECTIONS = ROWS * (8 * 24 + 8 * 8 + 8 * 3)
MODELS = {
    'fused': (Fused, ROWS * (8 * 24 + 8 * 3)),
    'heads': (lambda: Heads(False), PROJECTIONS),
    'heads with weights': (lambda: Heads(True), PROJECTIONS),
    'encoder': (Encoder, PROJECTIONS + 2 * ROWS * 8 * 16),
}


@pytest.mark.parametrize('build, num_macs', MODELS.values(), ids=MODELS)
def test_attention_of_the_ann(build, num_macs):
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(5, 6, 8)
    snn = convert(model, x)
    found = measure(snn, x, model)
    assert found.uncounted == [] and len(found.energy_ratios()) == 8
    assert found.total.ann_macs == num_macs + ATTENTION
    assert torch.backends.mha.get_fastpath_enabled()  # As it was before.
