"""Random networks that edit, share, tie, write and ask: what converts is what it
was, on every call that is let through, or the call is refused.

A few seeds are tried by default; ``SPIKEGRAPH_NUM_NETWORKS=500`` tries that many,
and ``SPIKEGRAPH_FIRST_NETWORK`` says where to begin.
"""

import copy
import os

import pytest
import torch

from spikegraph import ConversionConfig, convert, load, save, simulate
from spikegraph.conversion.fitting.calibration import output_errors, output_sums
from spikegraph.network.interpreter import AnalogReading
from tests.conversion.random_networks import draw

FIRST = int(os.environ.get('SPIKEGRAPH_FIRST_NETWORK', 0))
NUM = int(os.environ.get('SPIKEGRAPH_NUM_NETWORKS', 50))
CONFIG = ConversionConfig(num_steps=8)
REFUSED, CONVERTED, GUARDED, RAN = [], [], [], []


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def relative(found, expected):
    assert found.shape == expected.shape
    size = max(float(expected.abs().max()), 1e-9)
    return float((found - expected).abs().max()) / size


@torch.no_grad()
def check_call(seed, model, networks, call):
    """The output of each network as an ANN is that of a model without a past, or
    the call is refused by all of them.
    """
    expected = copy.deepcopy(model)(*copy.deepcopy(call))
    refused = []
    for network in networks:
        try:
            inputs = network.bind(*copy.deepcopy(call))
            found = AnalogReading(network.network).run(inputs)
        except ValueError as error:
            assert str(error).startswith('Expected '), error
            refused.append(True)
            continue
        refused.append(False)
        assert relative(found, expected) < 1e-6, f'seed {seed}'
    assert len(set(refused)) == 1, f'seed {seed}: a guard is lost'
    (GUARDED if refused[0] else RAN).append(seed)
    return refused[0]


def edit(call):
    """Changes features and edges where PyTorch does not notice."""
    for value in torch.utils._pytree.tree_leaves(list(call)):
        items = value.to_dict().values() if hasattr(value, 'to_dict') else [value]
        for item in items:
            if not isinstance(item, torch.Tensor) or item.layout != torch.strided:
                continue
            if item.dtype == torch.float64:
                item.numpy()[...] *= 0.9
            elif item.shape[:1] == (2,):
                item.data[:, 0] = item.data[:, 1]


@pytest.mark.parametrize('seed', range(FIRST, FIRST + NUM))
def test_random_networks(seed, tmp_path):
    torch.manual_seed(seed)
    model, calls, code = draw(seed)
    kept = copy.deepcopy(model)
    try:
        with torch.no_grad():
            copy.deepcopy(model)(*copy.deepcopy(calls[0]))
        # Weights stay as they are in every other network.
        config = CONFIG if seed % 2 else ConversionConfig(num_steps=8, compensate=None)
        snn = convert(model, calls[0], config)
    except (NotImplementedError, ValueError):
        REFUSED.append(seed)
        return
    CONVERTED.append(seed)
    assert all(
        map(torch.equal, model.state_dict().values(), kept.state_dict().values())
    )
    with torch.no_grad():
        expected = copy.deepcopy(kept)(*copy.deepcopy(calls[0]))
    out = snn(*calls[0])
    error, agreement = output_errors(output_sums([expected], [out]))
    assert snn.report.logit_relative_error == pytest.approx(error, rel=1e-6, abs=1e-9)
    assert snn.report.agreement == agreement

    save(snn, tmp_path / 'network')
    loaded = load(tmp_path / 'network', kept)
    networks = [snn, loaded, copy.deepcopy(snn)]
    assert all(torch.equal(network(*calls[0]), out) for network in networks), code
    if config.compensate is not None:
        return
    if seed % 4 == 0:
        networks.append(convert(model, calls[0], config))
    assert not check_call(seed, kept, networks, calls[0])
    for call in calls[1:]:
        check_call(seed, kept, networks, call)
    edit(calls[0])
    check_call(seed, kept, networks, calls[0])
    if seed % 3 == 0:
        try:
            spikes = snn.spikes(*calls[1])
        except ValueError:
            return
        simulation = simulate(snn, *calls[1])
        for name, each in spikes.items():
            assert torch.equal(each.spike_time, simulation.spike_time[name]), name


def test_most_random_networks_convert():
    """Runs after those above, on what they found."""
    if len(CONVERTED) + len(REFUSED) == NUM:
        assert len(CONVERTED) >= 0.8 * NUM, f'refused: {REFUSED}'
        assert len(RAN) > 2 * len(GUARDED) > 0
