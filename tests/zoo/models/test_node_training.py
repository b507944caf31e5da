import dataclasses
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from spikegraph.zoo.datasets import DATASETS
from spikegraph.zoo.models import (
    GCN,
    GRAPH_RECIPES,
    IMAGE_RECIPES,
    RECIPES,
    TrainingRecipe,
    train_node_classifier,
)
from spikegraph.zoo.models.gcn_training import _dropout, _Neighborhood

QUICK = TrainingRecipe(hidden_channels=8, epochs=5)


def random_data(num_nodes=63, num_edges=150, num_features=7, num_classes=3):
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(num_nodes - 1, (2, num_edges), generator=generator)
    x = torch.rand(num_nodes, num_features, generator=generator)
    x[x < 0.5] = 0
    y = torch.arange(num_nodes) % num_classes
    part = torch.arange(num_nodes) % 4  # The last node is isolated, in val.
    masks = dict(train_mask=part == 0, val_mask=part == 2, test_mask=part == 1)
    return Data(x=x, edge_index=edge_index, y=y, **masks)


@pytest.fixture
def data():
    return random_data()


def parameters(model):
    return torch.cat([p.detach().view(-1) for p in model.parameters()])


@pytest.mark.parametrize('num_layers', [1, 2, 3])
def test_gcn_matches_its_equation(data, num_layers):
    model = GCN(7, 5, 3, num_layers=num_layers).double().eval()
    adj = torch.eye(63, dtype=torch.double)
    source, target = data.edge_index
    links = source != target  # Self-loops are there once.
    ones = torch.ones(int(links.sum()), dtype=torch.double)
    adj.index_put_((target[links], source[links]), ones, accumulate=True)
    norm = adj.sum(dim=1).rsqrt()
    adj = norm[:, None] * adj * norm
    x = data.x.double()
    for i, conv in enumerate(model.convs):
        x = x.relu() if i > 0 else x
        x = adj @ x @ conv.lin.weight.t() + conv.bias
    out = model(data.x.double(), data.edge_index)
    assert out.shape == (63, 3)
    assert torch.allclose(out, x, rtol=0, atol=1e-12)


def test_gcn_is_made_of_pyg_layers():
    model = GCN(7, 5, 3, num_layers=4, cached=True)
    assert all(type(conv) is GCNConv and conv.cached for conv in model.convs)
    sizes = [(conv.in_channels, conv.out_channels) for conv in model.convs]
    assert sizes == [(7, 5), (5, 5), (5, 5), (5, 3)]


def test_gcn_drops_inputs_in_training_only(data):
    model = GCN(7, 5, 3, dropout=0.5)
    run = lambda: model(data.x, data.edge_index)  # noqa: E731
    assert not torch.equal(run(), run())
    model.eval()
    assert torch.equal(run(), run())


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(in_channels=0), r"'in_channels' to be at least 1 \(got 0\)"),
        (dict(hidden_channels=-2), r"'hidden_channels' to be at least 1 \(got -2\)"),
        (dict(out_channels=0), r"'out_channels' to be at least 1 \(got 0\)"),
        (dict(num_layers=0), r"'num_layers' to be at least 1 \(got 0\)"),
        (dict(dropout=1.0), r"'dropout' to be in \[0, 1\) \(got 1.0\)"),
    ],
)
def test_gcn_errors(kwargs, match):
    sizes = dict(in_channels=7, hidden_channels=5, out_channels=3)
    with pytest.raises(ValueError, match=match):
        GCN(**{**sizes, **kwargs})


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(lr=0.0), r"'lr' to be positive \(got 0.0\)"),
        (dict(weight_decay=-1.0), r"'weight_decay' to be at least 0 \(got -1.0\)"),
        (dict(epochs=0), r"'epochs' to be at least 1 \(got 0\)"),
        (dict(patience=0), r"'patience' to be at least 1 or None \(got 0\)"),
    ],
)
def test_recipe_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        TrainingRecipe(hidden_channels=8, **kwargs)


def test_recipes():
    assert {*RECIPES, *GRAPH_RECIPES, *IMAGE_RECIPES} == set(DATASETS)
    for name in ['cora', 'citeseer', 'pubmed']:
        assert dataclasses.asdict(RECIPES[name]) == dict(
            hidden_channels=16,
            num_layers=2,
            dropout=0.5,
            lr=0.01,
            weight_decay=5e-4,
            decay_all_layers=False,
            epochs=200,
            patience=None,
            model='gcn',
            norm=False,
            dropout_input=True,
            conv_weight_decay=None,
            heads=1,
            out_heads=1,
        )


def test_recipe_builds_a_model():
    recipe = TrainingRecipe(hidden_channels=8, num_layers=3, dropout=0.25)
    model = recipe.build_model(7, 3)
    sizes = [(conv.in_channels, conv.out_channels) for conv in model.convs]
    assert sizes == [(7, 8), (8, 8), (8, 3)]
    assert model.dropout == 0.25


@pytest.mark.parametrize('num_layers', [1, 2, 3])
@pytest.mark.parametrize('num_edges', [0, 150])
def test_neighborhood_matches_the_whole_graph(num_layers, num_edges):
    data = random_data(num_edges=num_edges)
    model = GCN(7, 5, 3, num_layers=num_layers, dropout=0.0)
    out = model(data.x, data.edge_index)[data.val_mask]
    F.cross_entropy(out, data.y[data.val_mask]).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    part = _Neighborhood(data, data.val_mask, num_layers=num_layers)
    part_out = part.forward(model)
    F.cross_entropy(part_out, part.y).backward()
    assert torch.allclose(part_out, out, rtol=0, atol=1e-6)
    for p, grad in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(p.grad, grad, rtol=0, atol=1e-6)


def test_neighborhood_leaves_out_what_is_too_far():
    line = torch.stack([torch.arange(9), torch.arange(1, 10)])
    data = Data(x=torch.ones(10, 2), edge_index=line, y=torch.zeros(10).long())
    mask = torch.arange(10) == 5
    part = _Neighborhood(data, mask, num_layers=2)
    assert [block.shape for block in part.blocks] == [(2, 3), (1, 2)]
    assert part.x.shape == (3, 2)


def test_neighborhood_drops_the_inputs_of_every_layer(data):
    model = GCN(7, 5, 3, num_layers=1, dropout=0.5)
    part = _Neighborhood(data, data.train_mask, num_layers=1)
    rng = np.random.default_rng(0)
    outs = torch.stack([part.forward(model, rng).detach() for _ in range(4000)])
    mean = model.eval()(data.x, data.edge_index)[data.train_mask].detach()
    error = outs.std(dim=0) / 4000**0.5
    assert (outs.std(dim=0) > 0).any()
    assert ((outs.mean(dim=0) - mean).abs() <= 5 * error + 1e-5).all()


def test_dropout():
    x = torch.rand(300, 200) + 1
    out = _dropout(x, 0.25, np.random.default_rng(0))
    kept = out != 0
    assert torch.allclose(out[kept], x[kept] / 0.75)
    assert abs(kept.float().mean() - 0.75) < 0.01
    assert _dropout(x, 0.0, np.random.default_rng(0)) is x
    assert _dropout(x, 0.25, None) is x


def test_training_depends_on_the_seed_only(data):
    results = []
    num_threads = torch.get_num_threads()
    for seed, threads in [(0, 1), (0, 2), (1, 2)]:
        model = GCN(7, 8, 3)
        torch.set_num_threads(threads)
        state = torch.get_rng_state()
        train_node_classifier(model, data, QUICK, seed=seed, progress=False)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads
        assert not model.training
        results.append(parameters(model))
    torch.set_num_threads(num_threads)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_training_forgets_a_cached_adjacency(data):
    model = GCN(7, 8, 3, cached=True)
    other = random_data(num_edges=0)
    model(other.x, other.edge_index)
    train_node_classifier(model, data, QUICK, progress=False)
    fresh = GCN(7, 8, 3)
    train_node_classifier(fresh, data, QUICK, progress=False)
    out = model(data.x, data.edge_index)
    assert torch.equal(out, fresh(data.x, data.edge_index))


def test_weight_decay_by_layer(data):
    def norms(**kwargs):
        model = GCN(7, 8, 3)
        recipe = TrainingRecipe(hidden_channels=8, epochs=200, **kwargs)
        train_node_classifier(model, data, recipe, progress=False)
        return [float(conv.lin.weight.detach().norm()) for conv in model.convs]

    none = norms(weight_decay=0.0)
    first = norms(weight_decay=1.0)
    both = norms(weight_decay=1.0, decay_all_layers=True)
    assert first[0] < 0.05 * none[0] and first[1] > 0.3 * none[1]
    assert both[0] < 0.05 * none[0] and both[1] < 0.05 * none[1]


def test_patience_returns_to_the_best_epoch(digits):
    recipe = TrainingRecipe(hidden_channels=8, lr=0.1, epochs=300, patience=7)
    model, best = recipe.build_model(64, 10), recipe.build_model(64, 10)
    result = train_node_classifier(model, digits.data, recipe, progress=False)
    assert 7 < result['epochs'] < 300
    until = dataclasses.replace(recipe, epochs=result['epochs'] - 7, patience=None)
    expected = train_node_classifier(best, digits.data, until, progress=False)
    assert expected['epochs'] == result['epochs'] - 7
    assert torch.equal(parameters(model), parameters(best))
    assert result['val_accuracy'] == expected['val_accuracy']


def test_digits_recipe(digits):
    recipe = RECIPES['digits']
    model = recipe.build_model(digits.num_features, digits.num_classes)
    result = train_node_classifier(model, digits.data, recipe, progress=False)
    data = digits.data
    correct = model(data.x, data.edge_index).argmax(dim=-1) == data.y
    accuracy = float(correct[data.test_mask].float().mean())
    assert set(result) == {'val_accuracy', 'test_accuracy', 'epochs', 'seconds'}
    assert result['test_accuracy'] == pytest.approx(accuracy)
    assert 0.95 <= accuracy < 1 and 0.95 <= result['val_accuracy'] < 1
    assert result['epochs'] == recipe.epochs
    assert 0 < result['seconds'] < 30


@pytest.mark.data
@pytest.mark.parametrize(
    'name, low, high',
    [('cora', 0.80, 0.83), ('citeseer', 0.69, 0.73), ('pubmed', 0.78, 0.80)],
)
def test_recipe_reaches_the_published_accuracy(load_data, name, low, high):
    dataset, recipe = load_data(name), RECIPES[name]
    accuracies = []
    for seed in range(3):
        model = recipe.build_model(dataset.num_features, dataset.num_classes)
        result = train_node_classifier(
            model, dataset.data, recipe, seed=seed, progress=False
        )
        accuracies.append(result['test_accuracy'])
    assert low <= sum(accuracies) / 3 <= high


def test_progress_bar(data, capsys):
    train_node_classifier(GCN(7, 8, 3), data, QUICK)
    assert capsys.readouterr() == ('', '')
    train_node_classifier(GCN(7, 8, 3), data, QUICK, progress=True)
    out, err = capsys.readouterr()
    assert out == '' and 'Training' in err and '/5' in err


@pytest.mark.parametrize('name', ['x', 'edge_index', 'y', 'val_mask'])
def test_training_without(data, name):
    del data[name]
    message = rf"'data.{name}' to be a tensor \(got NoneType\)"
    with pytest.raises(ValueError, match=message):
        train_node_classifier(GCN(7, 8, 3), data, QUICK, progress=False)


def test_training_errors(data):
    message = r"'model' to have a method 'reset_parameters' \(got ReLU\)"
    with pytest.raises(ValueError, match=message):
        train_node_classifier(torch.nn.ReLU(), data, QUICK)
    message = r"'model' to be on the CPU \(got meta\). Call 'model.cpu\(\)'"
    with pytest.raises(ValueError, match=message):
        train_node_classifier(GCN(7, 8, 3).to('meta'), data, QUICK)
    elsewhere = data.clone().to('meta')
    message = r"'data.x' to be on the CPU \(got meta\). Call 'data.cpu\(\)'"
    with pytest.raises(ValueError, match=message):
        train_node_classifier(GCN(7, 8, 3), elsewhere, QUICK)
    data.test_mask.fill_(False)
    message = re.escape("'data.test_mask' to select at least one node (got none)")
    with pytest.raises(ValueError, match=message):
        train_node_classifier(GCN(7, 8, 3), data, QUICK)


def test_training_needs_matching_sizes(data):
    message = r"'model' to take 7 features \(got 6\)"
    with pytest.raises(ValueError, match=message):
        train_node_classifier(GCN(6, 8, 3), data, QUICK)
    message = r"'model' to have at least 3 classes \(got 2\)"
    with pytest.raises(ValueError, match=message):
        train_node_classifier(GCN(7, 8, 2), data, QUICK)
