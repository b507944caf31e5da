"""What the pages about layers claim is what happens."""

import copy
from dataclasses import replace

import pytest
import torch
import torch_geometric.nn as pyg_nn

from spikegraph import convert, measure
from spikegraph.conversion.operations.rules import rule_for
from tests.conversion import convolutions as zoo
from tests.nn.conv.twin_tests import layers_with_tests
from tests.pages import ROOT, pages


@pytest.fixture(scope='module')
def outcomes():
    """One conversion of every layer, for all tests here."""
    return {title: zoo.try_all(table) for title, table in zoo.TABLES.items()}


def all_of(outcomes, status, title=None):
    found = [
        (name, outcome)
        for key, table in outcomes.items()
        for name, rows in table.items()
        for outcome in rows
        if outcome.status == status and title in (None, key)
    ]
    assert found
    return found


def test_every_class_is_in_the_table():
    tried = {*zoo.CONVOLUTIONS, *zoo.NOT_TRIED}
    assert tried == set(pyg_nn.conv.__all__)
    assert not {*zoo.OTHERS} & {*layers_with_tests()}
    assert set(zoo.NORMS) == set(pyg_nn.norm.__all__)


@pytest.mark.slow
def test_generated_pages_are_up_to_date(outcomes):
    for name, text in pages(outcomes).items():
        assert (ROOT / name).read_text() == text, 'run python -m tests.pages'


def test_most_convolutions_convert_exactly(outcomes):
    exact = all_of(outcomes, zoo.EXACT, 'Convolutions')
    assert len({name for name, _ in exact}) >= 30
    assert all(outcome.error < zoo.TOLERANCE for _, outcome in exact)
    assert all(outcome.snn.report.analog == {} for _, outcome in exact)


@pytest.mark.slow
@torch.no_grad()
def test_exact_conversions_follow_the_layer_closely(outcomes):
    """Coded with many steps, the output is the layer's: most with the finest base,
    and with a larger one where scores are too far apart for its ramp.
    """
    for name, outcome in all_of(outcomes, zoo.EXACT):
        expected = outcome.model(*copy.deepcopy(outcome.inputs))
        errors = []
        for base in zoo.BASES:
            config = replace(zoo.FINE, base=base)
            snn = convert(outcome.model, copy.deepcopy(outcome.inputs), config)
            errors.append(zoo.relative(snn(*outcome.inputs), expected))
            if errors[-1] < zoo.CLOSE.get(name, 0.1):
                break
        assert min(errors) < zoo.CLOSE.get(name, 0.1), (name, errors)


def test_refusals_name_path_type_reason_and_remedy(outcomes):
    for name, outcome in all_of(outcomes, zoo.REFUSED):
        message = outcome.message
        path = message.split("Cannot convert '")[1].split("'")[0]
        kind = message.split('(')[1].split(')')[0]
        modules = dict(outcome.model.named_modules())
        if path.rpartition('.')[0] in modules and ' in ' not in message.split(':')[0]:
            if path in modules:
                assert type(modules[path]).__name__ == kind, message
            remedies = (
                f"Add a rule with '@register_rule({kind})' or pass 'ConversionConfig(",
                f'give a subclass of {kind} with it a rule of its own',
            )
            assert any(remedy in message for remedy in remedies)
        else:  # A function inside a layer.
            assert f' in layer ({name}): ' in message, message
            assert (
                "Replace it, or pass 'ConversionConfig(allow_analog=True)'" in message
            )
        assert len(zoo.reason_in(message)) > 20


def test_no_layer_needs_analog_parts(outcomes):
    found = [o.status for table in outcomes.values() for o in sum(table.values(), [])]
    assert set(found) == {zoo.EXACT, zoo.REFUSED}


@torch.no_grad()
@pytest.mark.parametrize(
    'name', ['GATConv', 'GATv2Conv', 'TransformerConv', 'AGNNConv', 'SuperGATConv']
)
def test_analog_coefficients_are_listed_follow_the_layer_and_are_billed(name):
    config = replace(zoo.FINE, products='analog', allow_analog=True)
    for letters, code in zoo.CONVOLUTIONS[name]:
        letters, row = zoo.letters_of(letters), (name, code)
        model, inputs = zoo.build(name, letters, code), zoo.arguments(letters)
        snn = convert(model, copy.deepcopy(inputs), config)
        assert snn.report.analog and snn.report.products == {}, row
        found, expected = snn(*inputs), model(*inputs)
        assert zoo.relative(found, expected) < 0.1, row
        counted = measure(snn, copy.deepcopy(inputs), model)
        assert counted.total.snn_macs > 0, row


def test_what_is_refused_stays_analog_if_allowed(outcomes):
    for name, outcome in all_of(outcomes, zoo.REFUSED):
        assert list(outcome.snn.report.analog.values()) == [f'layer ({name})']
        assert outcome.error < 0.1, (name, outcome.error)


def test_refused_layers_say_why_even_where_they_cannot_be_built(outcomes):
    for name in ('DynamicEdgeConv', 'XConv'):
        kind = getattr(pyg_nn, name)
        assert rule_for(kind.__new__(kind)).reason
    for name in ('GravNetConv', 'SplineConv'):  # They would be looked into.
        kind = getattr(pyg_nn, name)
        assert rule_for(kind.__new__(kind)) is None
        line = f'| `{name}` | | {zoo.MISSING} | needs torch-'
        assert line in (ROOT / 'docs/convolutions.md').read_text()
