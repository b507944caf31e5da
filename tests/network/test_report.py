"""What a report counts, it counts by what it stores."""

import torch
from torch import nn

from spikegraph import convert
from spikegraph.network import ConversionReport


def test_activations_are_counted_by_what_they_are():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
            self.add_module("input 'x'", nn.ReLU())

        def forward(self, x):
            return self.b(self.get_submodule("input 'x'")(self.a(x)).tanh())

    report = convert(Named().eval(), torch.rand(20, 4)).report
    assert any(p.replaced.startswith("input 'x' (") for p in report.populations)
    assert [p.encodes for p in report.populations] == [True, False, False]
    assert report.num_activations == 2
    assert ConversionReport.from_dict(report.to_dict()) == report
