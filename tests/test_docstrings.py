"""Public names show how they are used; pytest runs the examples of the library."""

import pytest

import spikegraph
from spikegraph import coding, export, nn, running

MAIN = {
    **{name: getattr(spikegraph, name) for name in spikegraph.__all__},
    **{name: getattr(coding, name) for name in coding.__all__},
    **{name: getattr(running, name) for name in running.__all__},
    **{name: getattr(export, name) for name in ('save_events', 'to_tonic', 'to_nir')},
    'save_connections': export.save_connections,
    'SpikeGraphModel': export.neurobench.SpikeGraphModel,
    'GraphLoader': export.neurobench.GraphLoader,
    'charge': nn.charge,
    'fire': nn.fire,
    'GraphFilter': nn.GraphFilter,
    'PhaseNeuron': nn.PhaseNeuron,
    'SpikingTwin': nn.SpikingTwin,
    'pre_activation_thresholds': nn.pre_activation_thresholds,
}


@pytest.mark.parametrize('name', MAIN)
def test_public_names_have_examples(name):
    assert '    >>> ' in MAIN[name].__doc__


def test_examples_are_collected(pytestconfig):
    assert pytestconfig.getoption('doctestmodules')
    assert 'spikegraph' in pytestconfig.getini('testpaths')
