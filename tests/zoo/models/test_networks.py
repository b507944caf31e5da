import pytest
import torch
from torch import fx, nn
from torch_geometric.data import Data
from torch_geometric.nn import GPSConv, GraphNorm, MessagePassing
from torch_geometric.utils import dropout_edge

from spikegraph.zoo.models import (
    GCN,
    GCN2,
    GIN,
    NODE_MODELS,
    SAGE,
    SGC,
    APPNPNet,
    ResGCN,
    TrainingRecipe,
)


class Tracer(fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        leaf = isinstance(m, (MessagePassing, GPSConv))
        return leaf or super().is_leaf_module(m, module_qualified_name)


def build(name, **kwargs):
    hidden = 0 if name == 'sgc' else 4
    return TrainingRecipe(hidden, num_layers=3, model=name, **kwargs).build_model(5, 3)


@pytest.fixture
def data():
    edge_index = torch.randint(20, (2, 60))
    edge_index = edge_index[:, edge_index[0] != edge_index[1]].unique(dim=1)
    return Data(x=torch.rand(23, 5).double(), edge_index=edge_index)  # 3 are alone.


def adjacency(data):
    adj = torch.zeros(23, 23, dtype=torch.double)
    adj[data.edge_index[1], data.edge_index[0]] = 1
    return adj


def normalized(data):
    adj = adjacency(data) + torch.eye(23).double()
    norm = adj.sum(dim=1).rsqrt()
    return norm[:, None] * adj * norm


def randomize(model):
    """Gives batch norm more than an identity to do."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(1, 2)
    return model.double().eval()


@pytest.mark.parametrize('name', NODE_MODELS)
def test_networks_are_traceable(name, data):
    model = randomize(build(name))
    graph = fx.GraphModule(model, Tracer().trace(model))
    out = model(data.x, data.edge_index)
    assert out.shape == (23, 3)
    assert torch.equal(graph(data.x, data.edge_index), out)


@pytest.mark.parametrize('name', NODE_MODELS)
def test_networks_draw_parameters_anew(name):
    model, other = build(name), build(name)
    for one in (model, other):
        torch.manual_seed(3)
        one.reset_parameters()
    state = other.state_dict()
    assert all(
        torch.equal(value, state[key]) for key, value in model.state_dict().items()
    )
    model.reset_parameters()
    weights = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in other.parameters() if p.dim() == 2]
    assert not any(torch.equal(a, b) for a, b in zip(weights, others, strict=True))


@pytest.mark.parametrize('name', [name for name in NODE_MODELS if name != 'sgc'])
def test_networks_drop_features_in_training_only(name, data):
    model = build(name, dropout=0.5).double()
    run = lambda: model(data.x, data.edge_index)  # noqa: E731
    assert not torch.equal(run(), run())
    model.eval()
    assert torch.equal(run(), run())


def test_norm_before_relu(data):
    model = randomize(GCN(5, 4, 3, norm=True))
    x = (normalized(data) @ data.x) @ model.convs[0].lin.weight.t() + model.convs[
        0
    ].bias
    x = model.norms[0](x).relu()
    x = (normalized(data) @ x) @ model.convs[1].lin.weight.t() + model.convs[1].bias
    assert torch.allclose(model(data.x, data.edge_index), x)


@pytest.mark.parametrize(
    'norm, kind',
    [('batch', nn.BatchNorm1d), ('layer', nn.LayerNorm), ('graph', GraphNorm)],
)
def test_norms_of_gcn(data, norm, kind):
    model = GCN(5, 4, 3, num_layers=3, norm=norm).double().eval()
    assert [type(module) for module in model.norms] == [kind, kind]
    x = data.x
    for i, conv in enumerate(model.convs):
        x = model.norms[i - 1](x).relu() if i > 0 else x
        x = normalized(data) @ conv.lin(x) + conv.bias
    assert torch.allclose(model(data.x, data.edge_index), x)


@pytest.mark.parametrize('norm', ['layer', 'graph'])
def test_recipes_of_normed_gcns(norm):
    model = TrainingRecipe(4, num_layers=4, model=f'gcn-{norm}norm').build_model(5, 3)
    kind = nn.LayerNorm if norm == 'layer' else GraphNorm
    assert [type(module) for module in model.norms] == [kind] * 3


@pytest.mark.parametrize('aggr', ['mean', 'max'])
def test_sage_matches_its_equation(data, aggr):
    model = randomize(SAGE(5, 4, 3, aggr=aggr))
    adj, x = adjacency(data), data.x
    for i, conv in enumerate(model.convs):
        x = x.relu() if i > 0 else x
        if aggr == 'mean':
            out = adj @ x / adj.sum(dim=1, keepdim=True).clamp(min=1)
        else:
            out = (adj[:, :, None] * x).max(dim=1).values  # None is negative.
        x = conv.lin_l(out) + conv.lin_r(x)
    assert torch.allclose(model(data.x, data.edge_index), x)


@pytest.mark.parametrize('norm', [False, True])
def test_gin_matches_its_equation(data, norm):
    model = randomize(GIN(5, 4, 3, norm=norm))
    assert any(isinstance(m, nn.BatchNorm1d) for m in model.modules()) == norm
    x = data.x
    for i, conv in enumerate(model.convs):
        x = x.relu() if i > 0 else x
        x = conv.nn(x + adjacency(data) @ x)
    assert torch.allclose(model(data.x, data.edge_index), x)


def test_sgc_matches_its_equation(data):
    model = randomize(SGC(5, 3, num_hops=3))
    x = torch.linalg.matrix_power(normalized(data), 3) @ data.x
    assert torch.allclose(model(data.x, data.edge_index), model.conv.lin(x))


def test_appnp_matches_its_equation(data):
    model = randomize(APPNPNet(5, 4, 3, num_hops=3, alpha=0.2))
    x = initial = model.lin2(model.lin1(data.x).relu())
    for _ in range(3):
        x = 0.8 * normalized(data) @ x + 0.2 * initial
    assert torch.allclose(model(data.x, data.edge_index), x)


@pytest.mark.parametrize('shared_weights', [False, True])
def test_gcn2_matches_its_equation(data, shared_weights):
    model = randomize(
        GCN2(5, 4, 3, num_layers=3, theta=0.7, shared_weights=shared_weights)
    )
    x = initial = model.lin1(data.x).relu()
    for layer, conv in enumerate(model.convs, start=1):
        beta = torch.tensor(0.7 / layer + 1).double().log()
        second = conv.weight1 if shared_weights else conv.weight2
        parts = [(0.9 * normalized(data) @ x, conv.weight1), (0.1 * initial, second)]
        x = sum((1 - beta) * part + beta * part @ weight for part, weight in parts)
        x = x.relu()
    assert torch.allclose(model(data.x, data.edge_index), model.lin2(x))


def test_resgcn_matches_its_equation(data):
    model = randomize(ResGCN(5, 4, 3, num_layers=2))
    x = model.lin1(data.x).relu()
    for conv, norm in zip(model.convs, model.norms, strict=True):
        x = x + norm(normalized(data) @ conv.lin(x) + conv.bias).relu()
    assert torch.allclose(model(data.x, data.edge_index), model.lin2(x))


@pytest.mark.parametrize('name', NODE_MODELS)
def test_networks_without_edges(name, data):
    model = randomize(build(name))
    edge_index, _ = dropout_edge(data.edge_index, p=1.0)
    assert torch.isfinite(model(data.x, edge_index)).all()


@pytest.mark.parametrize(
    'network, kwargs, match',
    [
        (SAGE, dict(aggr='sum'), r"'aggr' to be one of mean, max \(got 'sum'\)"),
        (GCN, dict(norm='rms'), r"one of batch, layer, graph \(got 'rms'\)"),
        (SAGE, dict(num_layers=0), r"'num_layers' to be at least 1 \(got 0\)"),
        (GIN, dict(dropout=1.5), r"'dropout' to be in \[0, 1\) \(got 1.5\)"),
        (APPNPNet, dict(alpha=-0.5), r"'alpha' to be in \[0, 1\] \(got -0.5\)"),
        (APPNPNet, dict(num_hops=0), r"'num_hops' to be at least 1 \(got 0\)"),
        (GCN2, dict(alpha=2.0), r"'alpha' to be in \[0, 1\] \(got 2.0\)"),
        (GCN2, dict(theta=0.0), r"'theta' to be positive \(got 0.0\)"),
        (ResGCN, dict(out_channels=0), r"'out_channels' to be at least 1 \(got 0\)"),
    ],
)
def test_network_errors(network, kwargs, match):
    sizes = dict(in_channels=5, hidden_channels=4, out_channels=3)
    with pytest.raises(ValueError, match=match):
        network(**{**sizes, **kwargs})


def test_sgc_errors():
    with pytest.raises(ValueError, match=r"'num_hops' to be at least 1 \(got 0\)"):
        SGC(5, 3, num_hops=0)
