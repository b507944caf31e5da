"""Networks in blocks of rows, against all rows at once."""

import copy

import torch
from torch.utils import _pytree as pytree

from spikegraph.running.blocks import layerwise, run_in_blocks
from spikegraph.running.parts.kept import Kept
from spikegraph.running.parts.staged import Staged

SIZES = (1, 7, 100_000)


def run_layerwise(snn, block_size, *args, **kwargs):
    """The outputs, and the spikes of every population."""
    staged = Staged(snn, snn.bind(*args, **kwargs), by_rows=False, watches=True)
    kept = Kept({s: staged.layout.fixed_input(s) for s in staged.features.values()})
    with torch.no_grad():
        run_in_blocks(staged, kept, block_size)
    return staged.returned(kept.whole), staged.spikes(kept.whole)


def assert_layerwise(snn, *args, sizes=SIZES, **kwargs):
    """Blocks of any size give the outputs and the spikes of a whole pass, bit by bit."""

    def given():
        return copy.deepcopy(args), copy.deepcopy(kwargs)

    (a, k), (b, m) = given(), given()
    outputs, spikes = pytree.tree_leaves(snn(*a, **k)), snn.spikes(*b, **m)
    for size in sizes:
        a, k = given()
        found = pytree.tree_leaves(layerwise(snn, *a, block_size=size, **k))
        a, k = given()
        again, times = run_layerwise(snn, size, *a, **k)
        for each in (found, pytree.tree_leaves(again)):
            assert len(each) == len(outputs)
            for left, right in zip(each, outputs, strict=True):
                same = (
                    torch.equal(left, right)
                    if torch.is_tensor(right)
                    else left == right
                )
                assert same, size
        assert list(times) == list(spikes)
        for name, each in spikes.items():
            assert torch.equal(times[name].spike_time, each.spike_time), (size, name)
