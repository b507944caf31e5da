import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GATv2Conv

from spikegraph.zoo.models import GAT, GPS, GraphTransformer, TrainingRecipe, get_recipe


@pytest.fixture
def data():
    edge_index = torch.randint(20, (2, 60))
    edge_index = edge_index[:, edge_index[0] != edge_index[1]].unique(dim=1)
    return Data(x=torch.rand(23, 5).double(), edge_index=edge_index)  # 3 are alone.


def softmax(score, data, self_loops):
    """Over the neighbors, of dense scores [N, N, H]; nothing where there is none."""
    adj = torch.eye(23) if self_loops else torch.zeros(23, 23)
    adj[data.edge_index[1], data.edge_index[0]] = 1
    score = score.masked_fill(adj[:, :, None] == 0, -torch.inf)
    return score.softmax(dim=1).nan_to_num()


def gat_layer(conv, x, data):
    heads, width = conv.heads, conv.out_channels
    if isinstance(conv, GATv2Conv):
        source = conv.lin_l(x).view(-1, heads, width)
        target = conv.lin_r(x).view(-1, heads, width)
        score = F.leaky_relu(target[:, None] + source[None], 0.2)
        score = (score * conv.att).sum(-1)
    else:
        source = conv.lin(x).view(-1, heads, width)
        score = (source * conv.att_dst).sum(-1)[:, None]
        score = F.leaky_relu(score + (source * conv.att_src).sum(-1)[None], 0.2)
    alpha = softmax(score, data, self_loops=True)
    out = torch.einsum('ijh,jhc->ihc', alpha, source)
    return (out.flatten(1) if conv.concat else out.mean(dim=1)) + conv.bias


@pytest.mark.parametrize('dynamic', [False, True])
def test_gat_matches_its_equation(data, dynamic):
    model = GAT(5, 6, 3, num_layers=3, heads=2, out_heads=4, dynamic=dynamic)
    model = model.double().eval()
    kinds = {type(conv) for conv in model.convs}
    assert kinds == {GATv2Conv if dynamic else GATConv}
    x = data.x
    for i, conv in enumerate(model.convs):
        x = gat_layer(conv, F.elu(x) if i > 0 else x, data)
    assert torch.allclose(model(data.x, data.edge_index), x)


def test_graph_transformer_matches_its_equation(data):
    model = GraphTransformer(5, 6, 3, heads=2, out_heads=2).double().eval()
    x = data.x
    for i, conv in enumerate(model.convs):
        x = x.relu() if i > 0 else x
        shape = (23, conv.heads, conv.out_channels)
        query, key = conv.lin_query(x).view(shape), conv.lin_key(x).view(shape)
        score = torch.einsum('ihc,jhc->ijh', query, key) / conv.out_channels**0.5
        alpha = softmax(score, data, self_loops=False)
        out = torch.einsum('ijh,jhc->ihc', alpha, conv.lin_value(x).view(shape))
        out = out.flatten(1) if conv.concat else out.mean(dim=1)
        x = out + conv.lin_skip(x)
    assert torch.allclose(model(data.x, data.edge_index), x)


def test_gps_matches_its_equation(data):
    model = GPS(5, 4, 3, num_layers=2, heads=2).double()
    model.eval()
    x = model.lin1(data.x).relu()
    for conv in model.convs:
        local = conv.norm1(x + conv.conv(x, data.edge_index))
        everywhere = conv.attn(x, x, x, need_weights=False)[0]
        x = local + conv.norm2(x + everywhere)
        x = conv.norm3(x + conv.mlp(x))
    assert torch.allclose(model(data.x, data.edge_index), model.lin2(x))


@pytest.mark.parametrize('network', [GAT, GraphTransformer])
def test_coefficients_are_dropped_in_training(network):
    model = network(5, 4, 3, heads=2, dropout=0.25)
    assert [conv.dropout for conv in model.convs] == [0.25, 0.25]
    model = GPS(5, 4, 3, heads=2, dropout=0.25)
    assert [conv.attn.dropout for conv in model.convs] == [0.25, 0.25]


def test_recipes_are_those_of_the_papers():
    for name in ('gat', 'gatv2'):
        cora = get_recipe('cora', name).build_model(5, 3)
        pubmed = get_recipe('pubmed', name).build_model(5, 3)
        shapes = [(c.heads, c.out_channels, c.concat) for c in cora.convs]
        assert shapes == [(8, 8, True), (1, 3, False)]
        assert [c.heads for c in pubmed.convs] == [8, 8]
        assert cora.dropout == pubmed.dropout == 0.6
    assert get_recipe('pubmed', 'gat').weight_decay == 1e-3
    assert get_recipe('ogbn-arxiv', 'gat').heads == 8
    recipe = TrainingRecipe(6, model='transformer', heads=3, out_heads=2, norm=True)
    model = recipe.build_model(5, 3)
    assert [c.heads for c in model.convs] == [3, 2] and len(model.norms) == 1


@pytest.mark.parametrize('network', [GAT, GraphTransformer, GPS])
@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(heads=0), r"'heads' to be at least 1 \(got 0\)"),
        (dict(heads=3), r"multiple of 'heads' \(got 4 features and 3 heads\)"),
        (dict(dropout=1.0), r"'dropout' to be in \[0, 1\) \(got 1.0\)"),
        (dict(num_layers=0), r"'num_layers' to be at least 1 \(got 0\)"),
    ],
)
def test_errors(network, kwargs, match):
    with pytest.raises(ValueError, match=match):
        network(5, 4, 3, **kwargs)


def test_out_heads_errors():
    with pytest.raises(ValueError, match=r"'out_heads' to be at least 1 \(got 0\)"):
        GAT(5, 8, 3, out_heads=0)
