from dataclasses import replace

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from spikegraph.zoo.models import (
    GRAPH_RECIPES,
    NODE_MODELS,
    RECIPES,
    GraphRecipe,
    TrainingRecipe,
    get_recipe,
    train_node_classifier,
)
from spikegraph.zoo.models.dropout import dropout
from spikegraph.zoo.models.full_batch import _adjacency, _constants_kept

# Networks whose messages are more than a weight times features.
_PER_EDGE = ('gat', 'gatv2', 'transformer', 'resgated', 'film')


@pytest.fixture
def data():
    edge_index = torch.randint(30, (2, 90)).unique(dim=1)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    part = torch.arange(30) % 3
    masks = dict(train_mask=part == 0, val_mask=part == 1, test_mask=part == 2)
    y = torch.arange(30) % 2
    return Data(x=torch.rand(30, 4), edge_index=edge_index, y=y, **masks)


@pytest.mark.parametrize('name', NODE_MODELS)
def test_training_computes_what_the_network_does(name, data):
    recipe = TrainingRecipe(5, model=name, dropout=0.5, dropout_input=False)
    model = recipe.build_model(4, 2)
    for training in (True, False):
        model.train(training)
        torch.manual_seed(1)
        expected = model(data.x, data.edge_index)
        expected.sum().backward()
        grads = [p.grad.clone() for p in model.parameters()]
        adj = _adjacency(data, model)
        assert (adj.layout == torch.sparse_csr) == (name not in _PER_EDGE)
        with _constants_kept(model, data.x):
            for _ in range(3):
                model.zero_grad()
                torch.manual_seed(1)
                out = model(data.x, adj)
                assert torch.allclose(out, expected, atol=1e-5)
                out.sum().backward()
                for p, grad in zip(model.parameters(), grads, strict=True):
                    assert torch.allclose(p.grad, grad, atol=1e-4)
        model.zero_grad()
    other = torch.rand(30, 4)
    assert torch.allclose(model(other, data.edge_index), model(other, adj), atol=1e-5)
    assert not any(getattr(m, 'cached', False) for m in model.modules())


def test_inputs_are_aggregated_once(data):
    recipe = TrainingRecipe(0, model='sgc', num_layers=3)
    model = recipe.build_model(4, 2)
    calls = []
    propagate = model.conv.propagate
    model.conv.propagate = lambda *a, **k: calls.append(1) or propagate(*a, **k)
    spy = model.conv.propagate
    with _constants_kept(model, data.x):
        for _ in range(4):
            model(data.x, data.edge_index)
        model(data.x.clone(), data.edge_index)
    assert len(calls) == 3 + 3
    assert getattr(model.conv, 'propagate', spy) is not None


def test_parallel_edges_are_kept(data):
    data.edge_index = torch.cat([data.edge_index, data.edge_index[:, :1]], dim=1)
    assert _adjacency(data, nn.Module()) is data.edge_index


def test_self_loops_are_kept(data):
    data.edge_index[:, 0] = 3
    assert _adjacency(data, nn.Module()) is data.edge_index


def test_a_cached_adjacency_is_forgotten(data):
    model = TrainingRecipe(5, norm=True).build_model(4, 2)
    with _constants_kept(model, data.x):
        model(data.x, data.edge_index)
        assert all(conv.cached for conv in model.convs)
    for conv in model.convs:
        assert isinstance(conv, GCNConv)
        assert not conv.cached and conv._cached_edge_index is None


@pytest.mark.parametrize('name', NODE_MODELS)
def test_recipes_learn_digits(digits, name):
    epochs = 45 if name == 'gps' else 60  # It compares all nodes with all others.
    recipe = replace(get_recipe('digits', name), epochs=epochs, patience=None)
    model = recipe.build_model(64, 10)
    result = train_node_classifier(model, digits.data, recipe, progress=False)
    assert result['test_accuracy'] > 0.9 and result['epochs'] == epochs
    assert not model.training


def test_training_depends_on_the_seed_only(data):
    recipe = TrainingRecipe(5, model='sage', epochs=5)
    outs = []
    for seed in (0, 0, 1):
        torch.rand(1)
        model = recipe.build_model(4, 2)
        train_node_classifier(model, data, recipe, seed=seed, progress=False)
        outs.append(model(data.x, data.edge_index))
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])


@pytest.mark.parametrize('decay, same', [(None, True), (3.0, False)])
def test_weight_decay_of_convolutions(data, decay, same):
    recipe = TrainingRecipe(
        5, model='gcn2', epochs=150, weight_decay=0.0, conv_weight_decay=decay
    )
    model = recipe.build_model(4, 2)
    train_node_classifier(model, data, recipe, progress=False)
    assert (model.convs[0].weight1.abs().max() > 0.1) == same
    assert model.lin2.weight.abs().max() > 0.05


def test_get_recipe():
    for dataset in RECIPES:
        for model in NODE_MODELS:
            assert get_recipe(dataset, model).model == model
        assert get_recipe(dataset) is RECIPES[dataset]
    for dataset in GRAPH_RECIPES:
        assert get_recipe(dataset) == GRAPH_RECIPES[dataset]
        assert get_recipe(dataset, 'gcn').model == 'gcn'
        assert isinstance(get_recipe(dataset), GraphRecipe)
    arxiv = get_recipe('ogbn-arxiv', 'sage')
    assert (arxiv.hidden_channels, arxiv.num_layers, arxiv.norm) == (256, 3, True)
    assert get_recipe('ogbn-products', 'sgc').hidden_channels == 0


@pytest.mark.parametrize(
    'args, match',
    [
        (('coral',), r"'dataset' to be one of digits.*\(got 'coral'\)"),
        (('cora', 'gta'), r"one of gcn.* for the nodes of 'cora' \(got 'gta'\)"),
        (
            ('ogbg-molhiv', 'sgc'),
            r"gin, gcn, gat, gin-set2set for the molecules of .* \(got 'sgc'\)",
        ),
    ],
)
def test_get_recipe_errors(args, match):
    with pytest.raises(ValueError, match=match):
        get_recipe(*args)
    with pytest.raises(ValueError, match=r"'model' to be one of .*\(got 'gta'\)"):
        TrainingRecipe(5, model='gta')


def test_dropout():
    x = torch.rand(300, 200, requires_grad=True)
    for p in (0.25, 0.6):
        out = dropout(x, p, True)
        kept = out != 0
        assert torch.allclose(out[kept], x[kept] / (1 - p))
        assert abs(kept.float().mean() - (1 - p)) < 0.01
        (grad,) = torch.autograd.grad(out.sum(), x)
        assert torch.equal(grad != 0, kept)
    assert dropout(x, 0.25, False) is x and dropout(x, 0.0, True) is x
    torch.manual_seed(0)
    first, second = dropout(x, 0.5, True), dropout(x, 0.5, True)
    torch.manual_seed(0)
    assert torch.equal(dropout(x, 0.5, True), first) and not torch.equal(first, second)
    assert dropout(torch.rand(4, device='meta'), 0.5, True).shape == (4,)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize('name, low', [('appnp', 0.8), ('gcn2', 0.8), ('sage', 0.78)])
def test_recipes_reach_sensible_accuracies(load_data, name, low):
    dataset, recipe = load_data('cora'), get_recipe('cora', name)
    model = recipe.build_model(dataset.num_features, dataset.num_classes)
    result = train_node_classifier(model, dataset.data, recipe, progress=False)
    assert low < result['test_accuracy'] < 0.86
