import pytest
import torch
from torch_geometric.data import Data

from spikegraph.zoo.models import FiLM, ResGated, TrainingRecipe


@pytest.fixture
def data():
    edge_index = torch.randint(20, (2, 60))
    edge_index = edge_index[:, edge_index[0] != edge_index[1]].unique(dim=1)
    return Data(x=torch.rand(23, 5).double(), edge_index=edge_index)  # 3 are alone.


def adjacency(data):
    adj = torch.zeros(23, 23, dtype=torch.double)
    adj[data.edge_index[1], data.edge_index[0]] = 1
    return adj


def test_resgated_matches_its_equation(data):
    model = ResGated(5, 4, 3, num_layers=3).double().eval()
    x = data.x
    for i, conv in enumerate(model.convs):
        x = x.relu() if i > 0 else x
        gate = (conv.lin_key(x)[:, None] + conv.lin_query(x)[None]).sigmoid()
        message = gate * conv.lin_value(x)[None] * adjacency(data)[:, :, None]
        x = message.sum(dim=1) + conv.lin_skip(x) + conv.bias
    assert torch.allclose(model(data.x, data.edge_index), x)


def test_film_matches_its_equation(data):
    model = FiLM(5, 4, 3, num_layers=3).double().eval()
    x, adj = data.x, adjacency(data)
    for i, conv in enumerate(model.convs):
        act = torch.relu if i < 2 else lambda out: out
        beta, gamma = conv.films[0](x).chunk(2, dim=-1)
        message = act(gamma[:, None] * conv.lins[0](x)[None] + beta[:, None])
        mean = (message * adj[:, :, None]).sum(dim=1)
        mean = mean / adj.sum(dim=1, keepdim=True).clamp(min=1)
        beta, gamma = conv.film_skip(x).chunk(2, dim=-1)
        x = mean + act(gamma * conv.lin_skip(x) + beta)
    assert torch.allclose(model(data.x, data.edge_index), x)
    assert bool((x < 0).any())


@pytest.mark.parametrize('name, network', [('resgated', ResGated), ('film', FiLM)])
def test_recipes_build_them(name, network):
    recipe = TrainingRecipe(4, num_layers=3, model=name, norm=True)
    model = recipe.build_model(5, 3)
    assert isinstance(model, network)
    assert len(model.convs) == 3 and len(model.norms) == 2


@pytest.mark.parametrize('network', [ResGated, FiLM])
def test_errors(network):
    with pytest.raises(ValueError, match=r"'num_layers' to be at least 1 \(got 0\)"):
        network(5, 4, 3, num_layers=0)
