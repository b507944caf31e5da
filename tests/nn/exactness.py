"""What holds for every layer that is computed with spike times."""

import copy

import torch

from spikegraph import ConversionConfig, convert
from spikegraph.network.roles import Role
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.conversion.zoo import randomize

CONFIG = ConversionConfig(num_steps=16, base=1.4, compensate=None)
ENDS = (Role.READ_OUT, Role.OUTPUT)


@torch.no_grad()
def assert_exact(model, *inputs, most=0.3, config=CONFIG, prepare=randomize):
    """The model converts with no analog part; as an ANN, the graph is the model; steps
    and closed form fire the same spikes; and 16 steps are close.
    """
    model = prepare(model).eval()
    snn = convert(model, copy.deepcopy(inputs), config)
    assert snn.report.analog == {} and not snn.report.preprocessed
    assert deviation(snn, model, inputs) < TOLERANCE
    for node in snn.network.nodes:
        before = [n.role for n in node.all_input_nodes]
        assert node.role in ENDS or Role.READ_OUT not in before
        assert node.role is not Role.ANALOG
    found, expected = leaves(snn(*inputs)), leaves(model(*inputs))
    error = (found - expected).norm() / expected.norm()
    assert error < most, float(error)
    return snn


def leaves(out):
    """All numbers of an output, in a row."""
    values = out if isinstance(out, (tuple, list)) else [out]
    flat = [leaves(v) if isinstance(v, (tuple, list)) else v.flatten() for v in values]
    return torch.cat(flat)


def real(*shape, seed=0):
    """Features."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
