"""What cannot spike is refused for its real reason, and stays analog where allowed;
what meets in attention does spike, unless it is to be analog.
"""

from dataclasses import replace

import pytest
import torch
import torch_geometric.nn as pyg_nn
from torch import nn

from spikegraph import ConversionConfig, convert, load, measure, save, simulate

FINE = ConversionConfig(num_steps=48, base=1.15)
ANALOG = ConversionConfig(num_steps=48, base=1.15, allow_analog=True)
N = 30


def graph():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(N, 8, generator=generator, dtype=torch.float64)
    edge_index = torch.randint(N, (2, 4 * N), generator=generator)
    return x, edge_index, torch.arange(N) // 10


def dense_graph():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 10, 8, generator=generator, dtype=torch.float64)
    return x, (torch.rand(3, 10, 10, generator=generator) < 0.3).double()


class ReadOut(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.conv, self.pool = pyg_nn.GCNConv(8, 8), pool
        self.last = nn.Linear(8, 3)

    def forward(self, x, edge_index, batch):
        return self.last(self.pool(self.conv(x, edge_index).relu(), batch))


class Pooled(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.conv1, self.conv2 = pyg_nn.GCNConv(8, 8), pyg_nn.GCNConv(8, 8)
        self.pool, self.last = pool, nn.Linear(8, 3)

    def forward(self, x, edge_index, batch):
        h = self.conv1(x, edge_index).relu()
        found = self.pool(h, edge_index, batch=batch)
        h, edge_index = found[:2]
        h = self.conv2(h, edge_index).relu()
        return self.last(pyg_nn.global_mean_pool(h, found[3]))


class Clustered(nn.Module):
    def __init__(self, cluster):
        super().__init__()
        self.conv1, self.assign = pyg_nn.DenseSAGEConv(8, 8), nn.Linear(8, 4)
        self.conv2, self.last = pyg_nn.DenseGCNConv(8, 8), nn.Linear(8, 3)
        self.cluster = cluster

    def forward(self, x, adj):
        h = self.conv1(x, adj).relu()
        h, adj, first, second = self.cluster(h, adj, self.assign(h))
        return self.last(self.conv2(h, adj).relu().mean(1)), first + second


class Layers(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv, self.last = conv, nn.Linear(8, 3)

    def forward(self, x, adj):
        return self.last(self.conv(x, adj).relu())


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = pyg_nn.GraphUNet(8, 8, 3, depth=2, pool_ratios=0.5)

    def forward(self, x, edge_index):
        return self.net(x, edge_index)


def gate():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


# Each: the model, its call, and the path and the reason of the refusal.
REFUSED = {
    'TopKPooling': (
        lambda: Pooled(pyg_nn.TopKPooling(8)),
        graph,
        r"'sort' \(sort\) in pool.select .*it decides by the order of values",
    ),
    'SAGPooling': (
        lambda: Pooled(pyg_nn.SAGPooling(8)),
        graph,
        r"'sort' \(sort\) in pool.select .*it decides by the order of values",
    ),
    'ASAPooling': (
        lambda: Pooled(pyg_nn.ASAPooling(8)),
        graph,
        r"'sort' \(sort\) in pool.select .*it decides by the order of values",
    ),
    'GraphUNet': (
        UNet,
        lambda: graph()[:2],
        r"'sort' \(sort\) in net.pools.0.select .*it decides by the order",
    ),
    'dense_mincut_pool': (
        lambda: Clustered(pyg_nn.dense_mincut_pool),
        dense_graph,
        r"'truediv' \(truediv\): it divides by a signal; spikes do so",
    ),
}
# The same, of what is refused only where products are to be analog.
MEETING = {
    'GlobalAttention': (
        lambda: ReadOut(pyg_nn.GlobalAttention(gate())),
        graph,
        r"'softmax' .* in pool \(GlobalAttention\): it divides by a sum over",
    ),
    'AttentionalAggregation': (
        lambda: ReadOut(pyg_nn.AttentionalAggregation(gate(), nn.Linear(8, 8))),
        graph,
        r"'softmax' .* in pool \(AttentionalAggregation\): it divides by a sum over",
    ),
    'dense_diff_pool': (
        lambda: Clustered(pyg_nn.dense_diff_pool),
        dense_graph,
        r"'softmax' \(softmax\): it divides by a sum over features",
    ),
    'DenseGATConv': (
        lambda: Layers(pyg_nn.DenseGATConv(8, 8)),
        dense_graph,
        r'in conv \(DenseGATConv\): ',
    ),
    'GATConv': (
        lambda: Layers(pyg_nn.GATConv(8, 8)),
        lambda: graph()[:2],
        r"'softmax' .* in conv \(GATConv\): it divides by a sum over",
    ),
    'TransformerConv': (
        lambda: Layers(pyg_nn.TransformerConv(8, 8)),
        lambda: graph()[:2],
        r"'mul' .* in conv \(TransformerConv\): it multiplies two signals",
    ),
}


def error(model, snn, call):
    with torch.no_grad():
        expected = model(*call)
    found, stepped = snn(*call), simulate(snn, *call).output
    if isinstance(expected, tuple):
        expected, found, stepped = expected[0], found[0], stepped[0]
    tolerance = 1e-9 if found.dtype == torch.float64 else 1e-4
    assert torch.allclose(found, stepped, atol=tolerance)
    return float((found - expected).norm() / expected.norm())


def model_and_call(name, build, make):
    torch.manual_seed(0)
    # ASAPooling makes matrices of float32.
    dtype = torch.float32 if name == 'ASAPooling' else torch.float64
    x, *others = make()
    return build().to(dtype).eval(), (x.to(dtype), *others)


def check_kept(model, snn, call, path):
    assert error(model, snn, call) < 0.1
    save(snn, path)
    assert error(model, load(path, model), call) < 0.1


@pytest.mark.filterwarnings('ignore:Sparse CSR tensor support is in beta')
@pytest.mark.parametrize('name', REFUSED)
def test_refused_or_analog(name, tmp_path):
    *how, reason = REFUSED[name]
    model, call = model_and_call(name, *how)
    with pytest.raises(NotImplementedError, match=reason + r".*allow_analog=True\)'"):
        convert(model, call, FINE)
    snn = convert(model, call, ANALOG)  # As it says.
    assert len(snn.report.analog) > 0 and snn.report.num_activations > 0
    check_kept(model, snn, call, tmp_path / 'snn')


@pytest.mark.filterwarnings('ignore:.*GlobalAttention.*deprecated')
@pytest.mark.parametrize('name', MEETING)
def test_what_meets_spikes_or_is_analog(name, tmp_path):
    *how, reason = MEETING[name]
    model, call = model_and_call(name, *how)
    snn = convert(model, call, FINE)
    assert snn.report.analog == {} and len(snn.report.products) > 0
    check_kept(model, snn, call, tmp_path / 'spiking')
    analog = replace(FINE, products='analog')
    with pytest.raises(NotImplementedError, match=reason + r".*allow_analog=True\)'"):
        convert(model, call, analog)
    snn = convert(model, call, replace(analog, allow_analog=True))
    assert len(snn.report.analog) > 0 and snn.report.products == {}
    assert snn.report.num_activations > 0
    check_kept(model, snn, call, tmp_path / 'analog')


@pytest.mark.parametrize('conv', ['DenseGCNConv', 'DenseSAGEConv', 'DenseGraphConv'])
@pytest.mark.parametrize('config', [FINE, ANALOG], ids=['default', 'analog'])
def test_dense_layers_convert(conv, config):
    torch.manual_seed(0)
    model, call = Layers(getattr(pyg_nn, conv)(8, 8)).double(), dense_graph()
    snn = convert(model, call, config)
    assert snn.report.analog == {} and snn.report.num_activations == 1
    assert error(model, snn, call) < 0.1


class Normed(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv1, self.conv2 = pyg_nn.GCNConv(8, 8), pyg_nn.GCNConv(8, 3)
        self.norm = norm

    def forward(self, x, edge_index, batch):
        h = self.conv1(x, edge_index)
        h = self.norm(h, batch) if hasattr(self.norm, 'reset_running_stats') else h
        return self.conv2(h.relu(), edge_index)


class Plain(Normed):
    def forward(self, x, edge_index, batch):
        return self.conv2(self.norm(self.conv1(x, edge_index)).relu(), edge_index)


UNTRACKED = {
    'BatchNorm1d': lambda **options: Plain(nn.BatchNorm1d(8, **options)),
    'PyG BatchNorm': lambda **options: Plain(pyg_nn.BatchNorm(8, **options)),
    'PyG InstanceNorm': lambda **options: Plain(pyg_nn.InstanceNorm(8, **options)),
    'and a batch': lambda **options: Normed(pyg_nn.InstanceNorm(8, **options)),
}


@pytest.mark.parametrize('name', UNTRACKED)
def test_norms_without_statistics(name, tmp_path):
    torch.manual_seed(0)
    call = graph()
    model = UNTRACKED[name](track_running_stats=False).double().eval()
    match = (
        r"'norm.*statistics of each .*'track_running_stats=True', are affine.*analog"
    )
    analog = ANALOG
    if 'Batch' not in name:  # Statistics of channels or graphs spike.
        snn = convert(model, call, FINE)
        assert snn.report.analog == {} and error(model, snn, call) < 0.1
        match = r" in norm \(InstanceNorm\): it .*allow_analog=True\)'"
        analog = replace(ANALOG, products='analog')
    with pytest.raises(NotImplementedError, match=match):
        convert(model, call, replace(analog, allow_analog=False))
    snn = convert(model, call, analog)
    assert 'norm' in list(snn.report.analog.values())[0]
    assert error(model, snn, call) < 0.1
    model = UNTRACKED[name](track_running_stats=True).double()
    for _ in range(5):  # It trains again, as it says.
        model(*call)
    snn = convert(model.eval(), call, FINE)
    assert snn.report.analog == {} and snn.report.num_activations == 1
    assert snn.report.folded_norms == 1
    assert error(model, snn, call) < 0.1
    save(snn, tmp_path / 'snn')
    assert torch.equal(load(tmp_path / 'snn', model)(*call), snn(*call))
    assert measure(snn, call, model).uncounted == []


class Images(nn.Module):
    def __init__(self, rank, affine):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        norm = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[rank - 1]
        self.conv, self.last = conv(4, 6, 3, padding=1), conv(6, 3, 1)
        self.norm1 = norm(6, track_running_stats=True, affine=affine)
        self.norm2 = norm(6, track_running_stats=True, affine=affine)

    def forward(self, x):
        return self.last(self.norm2(self.norm1(self.conv(x)).relu()))


@pytest.mark.parametrize('affine', [False, True])
@pytest.mark.parametrize('rank', [1, 2, 3])
@pytest.mark.parametrize('batched', [False, True])
def test_instance_norms_with_and_without_batches(rank, affine, batched):
    """Six channels, and as many places, so that nothing but values tells them apart."""
    torch.manual_seed(0)
    model, size = Images(rank, affine).double(), (6,) * rank
    for _ in range(5):
        model(3 * torch.rand(5, 4, *size, dtype=torch.float64) - 1)
    model.norm2.running_mean += torch.arange(6)
    x = torch.rand(*((2, 4) if batched else (4,)), *size, dtype=torch.float64)
    snn = convert(model.eval(), x, FINE)
    assert snn.report.num_activations == 1 and snn.report.analog == {}
    assert error(model, snn, (x,)) < 0.1
    if batched:
        assert snn.report.folded_norms >= 1
