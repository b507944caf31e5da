from types import SimpleNamespace

import pytest

from spikegraph.nn.order import choose

LAYER = SimpleNamespace(
    num_sources=12,
    num_targets=6,
    num_edges=40,
    num_inputs=8,
    num_outputs=3,
    num_terms=1,
    num_hops=1,
    real_size=4,
    input_size=1,
    density=1,
)
# Weights, 8 * 3 * 4 = 96 bytes, are read for every sixth row; inputs are a byte each.
BYTES = {
    'one hop': ({}, 12 * 8 + 12 * 16 + 2 * 12 * 12 + 40 * 12, 40 * 8 + 6 * 16),
    'two hops': (
        {'num_hops': 2},
        12 * 8 + 12 * 16 + 2 * 12 * 12 + 2 * 40 * 12 + 2 * 6 * 12,
        40 * 8 + 40 * 32 + 2 * 6 * 32 + 6 * 16,
    ),
    'two terms': (
        {'num_terms': 2},
        12 * 8 + 12 * 32 + 2 * 12 * 24 + 40 * 12,
        40 * 8 + 6 * 32,
    ),
    'few spikes': (
        {'density': 1 / 96},
        12 * 8 + 12 * 1 + 2 * 12 * 12 + 40 * 12,
        40 * 8 + 6 * 16,
    ),
    'packed': (
        {'input_size': 0.5, 'num_outputs': 1},
        12 * 4 + 12 * 32 / 6 + 2 * 12 * 4 + 40 * 4,
        40 * 4 + 6 * 32 / 6,
    ),
    'many inputs': (
        {'num_inputs': 60},
        12 * 60 + 12 * 120 + 2 * 12 * 12 + 40 * 12,
        40 * 60 + 6 * 120,
    ),
}


@pytest.mark.parametrize('case', BYTES)
def test_bytes_are_those_counted_by_hand(case):
    changed, transform, aggregate = BYTES[case]
    choice = choose('auto', **{**vars(LAYER), **changed})
    assert (choice.transform_bytes, choice.aggregate_bytes) == (transform, aggregate)
    sooner = 'transform' if transform <= aggregate else 'aggregate'
    assert choice.order == sooner


def test_both_orders_are_chosen():
    chosen = {choose('auto', **{**vars(LAYER), **b[0]}).order for b in BYTES.values()}
    assert chosen == {'transform', 'aggregate'}


@pytest.mark.parametrize('order', ['transform', 'aggregate'])
def test_order_that_is_asked_for(order):
    assert choose(order, **vars(LAYER)).order == order
