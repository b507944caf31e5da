"""Several processes fire the spikes of one, whatever the partition."""

import pytest
import torch
from torch.utils import _pytree as pytree
from torch_geometric.data import Data
from torch_geometric.nn import APPNP, Sequential, TransformerConv
from torch_geometric.nn.models import GAT, GCN, GraphSAGE
from torch_geometric.utils import erdos_renyi_graph

from spikegraph import (
    ConversionConfig,
    DistributedModel,
    Partition,
    convert,
    load_partition,
    partition_graph,
    save_partition,
)
from tests.conversion.test_hetero import MODELS as HETERO
from tests.conversion.test_hetero import build, hetero_data
from tests.running.blocks import run_layerwise
from tests.running.distributed.processes import run

NUM_NODES = 60
MODELS = {
    'GCN': lambda: GCN(8, 16, 3, 4, jk='cat'),
    'GAT': lambda: GAT(8, 16, 2, 4, heads=2),
    'GraphSAGE max': lambda: GraphSAGE(8, 16, 2, 4, aggr='max'),
    'real inputs': lambda: GraphSAGE(8, 16, 2, 4),
    'APPNP': lambda: Sequential(
        'x, edge_index',
        [
            (torch.nn.Linear(8, 16), 'x -> x'),
            torch.nn.ReLU(),
            torch.nn.Linear(16, 4),
            (APPNP(3, 0.1), 'x, edge_index -> x'),
        ],
    ),
    'Transformer': lambda: Sequential(
        'x, edge_index',
        [
            (TransformerConv(8, 16, 2), 'x, edge_index -> x'),
            torch.nn.ReLU(),
            (TransformerConv(32, 4), 'x, edge_index -> x'),
        ],
    ),
}


def graph():
    """With isolated nodes."""
    torch.manual_seed(0)
    edge_index = erdos_renyi_graph(NUM_NODES - 3, 0.1)
    return Data(x=torch.randn(NUM_NODES, 8), edge_index=edge_index)


def partitions(data, size):
    """METIS, a range, a hash, and one with an empty part."""
    found = [partition_graph(data, size, how) for how in ('metis', 'hash')]
    owners = torch.arange(NUM_NODES) % max(1, size - 1)
    return [*found, Partition({'': owners}, size, 'by hand')]


def alone(snn, data):
    """The outputs and spikes of one process, by the same kernels."""
    expected = snn(data)
    found, spikes = run_layerwise(snn, 10**9, data)
    assert torch.equal(found, expected)
    return expected, spikes


def differences(model, expected, spikes):
    """What differs from one process, and what was sent."""
    result = model.run()
    assert set(result.spikes) == set(spikes)
    found = [
        name
        for name, (index, s) in result.spikes.items()
        if not torch.equal(s.spike_time, spikes[name].spike_time[index])
    ]
    if not torch.equal(result.values, expected[result.rows['x']]):
        found.append('output')
    whole = model.gather(result)
    if model.peers.rank == 0 and not torch.equal(whole, expected):
        found.append('gathered output')
    return found, [(s.rows_sent, s.bytes_sent, s.float_bytes) for s in result.stages]


@torch.no_grad()
def compare(rank, size, num_steps):
    data, found = graph(), {}
    for name, make in MODELS.items():
        torch.manual_seed(1)
        config = ConversionConfig(num_steps, encode_input=name != 'real inputs')
        snn = convert(make().eval(), data, config)
        expected, spikes = alone(snn, data)
        for partition in partitions(data, size):
            model = DistributedModel(snn, data, partition=partition, watches=True)
            key = f'{name}, {partition.method}'
            found[key] = differences(model, expected, spikes)
    return found


@pytest.mark.parametrize('size, num_steps, less', [(2, 16, 4), (3, 15, 8)])
def test_spike_times_equal_those_of_one_process(size, num_steps, less):
    results = run(compare, size, num_steps)
    assert len(results) == size
    for found in results.values():
        assert isinstance(found, dict), found
        assert len(found) == 3 * len(MODELS)
        for name, (different, sent) in found.items():
            assert not different, name
            if name.startswith('GCN'):  # Half a byte for each spike.
                rows, num, as_floats = sent[1]
                assert as_floats == less * num == 64 * rows, name
                assert rows > 0 or 'by hand' in name
            if name.startswith('real inputs'):  # These are sent, too, and first.
                rows, num, as_floats = sent[0]
                assert num == as_floats == 32 * rows, name
                assert rows > 0 or 'by hand' in name


def divided(rank, size, folder):
    """From folders, and with several types of nodes."""
    data, found = graph(), []
    torch.manual_seed(1)
    snn = convert(GAT(8, 16, 2, 4, heads=2).eval(), data)
    part = load_partition(f'{folder}/parts')
    model = DistributedModel(snn, part)
    out = model.gather(model.run())
    found.append(rank > 0 or torch.equal(out, snn(data)))
    for name in HETERO:
        torch.manual_seed(1)
        data = hetero_data(20, 20)  # As many of either type.
        snn = convert(build(name, data), data)
        partition = partition_graph(data, size, 'hash')
        model = DistributedModel(snn, data, partition=partition)
        out = model.gather(model.run())
        leaves = pytree.tree_leaves(out), pytree.tree_leaves(snn(data))
        same = all(map(torch.equal, *leaves)) if rank == 0 else True
        found.append(same)
    return found


def test_folders_and_types(tmp_path):
    data = graph()
    save_partition(partition_graph(data, 3, 'hash'), data, tmp_path / 'parts')
    results = run(divided, 3, str(tmp_path))
    assert results == dict.fromkeys(range(3), [True] * (1 + len(HETERO)))
