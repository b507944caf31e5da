import pytest
import torch
from torch import fx, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import (
    MessagePassing,
    Set2Set,
    global_add_pool,
    global_mean_pool,
)

from spikegraph import ConversionConfig, convert
from spikegraph.testing import assert_spiking
from spikegraph.zoo.models import GraphRecipe, MoleculeGNN, predict, train_graph_model


class Tracer(fx.Tracer):
    def __init__(self):
        super().__init__(autowrap_functions=(global_add_pool, global_mean_pool))

    def is_leaf_module(self, m, module_qualified_name):
        leaf = isinstance(m, MessagePassing) or type(m).__module__.startswith('ogb.')
        return leaf or super().is_leaf_module(m, module_qualified_name)


def molecule(num_atoms, kind=0, y=0.0):
    bonds = torch.stack([torch.arange(num_atoms - 1), torch.arange(1, num_atoms)])
    edge_index = torch.cat([bonds, bonds.flip(0)], dim=1)
    x = torch.zeros(num_atoms, 9, dtype=torch.long)
    x[:, 0] = kind + torch.arange(num_atoms) % 2
    edge_attr = torch.zeros(edge_index.size(1), 3, dtype=torch.long)
    edge_attr[:, 0] = kind % 3
    return Data(
        x=x, edge_index=edge_index, edge_attr=edge_attr, y=torch.tensor([[float(y)]])
    )


def run(model, data):
    return model(data.x, data.edge_index, data.edge_attr, data.batch)


@pytest.fixture
def batch():
    return Batch.from_data_list([molecule(n, kind=n) for n in (1, 5, 3)])


@pytest.fixture(params=['gin', 'gcn', 'gat'])
def model(request):
    model = MoleculeGNN(2, conv=request.param, hidden_channels=8, num_layers=3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(1, 2)
    return model.eval()


def test_molecules_do_not_see_each_other(model, batch):
    out = run(model, batch)
    assert out.shape == (3, 2)
    for i, data in enumerate(batch.to_data_list()):
        alone = run(model, Batch.from_data_list([data]))
        assert torch.allclose(alone, out[i : i + 1], atol=1e-6)


def test_molecule_network_is_traceable(model, batch):
    graph = fx.GraphModule(model, Tracer().trace(model))
    assert torch.equal(run(graph, batch), run(model, batch))
    other = Batch.from_data_list([molecule(4), molecule(2)])
    assert torch.equal(run(graph, other), run(model, other))


def test_molecule_network_matches_its_equation(model, batch):
    x, virtual = model.atom_encoder(batch.x), torch.zeros(3, 8)
    for i in range(3):
        x = x + virtual[batch.batch]
        bonds = [e(batch.edge_attr) for e in model.bond_encoders[i : i + 1]]
        out = model.norms[i](model.convs[i](x, batch.edge_index, *bonds))
        if i < 2:
            out = out.relu()
            total = torch.zeros(3, 8).index_add(0, batch.batch, x)
            virtual = model.virtual_mlps[i](total + virtual)
        x = out
    mean = torch.stack([x[batch.batch == i].mean(dim=0) for i in range(3)])
    assert torch.allclose(run(model, batch), model.readout(mean), atol=1e-5)


def test_bonds_matter_where_they_are_seen(model, batch):
    out = run(model, batch)
    batch.edge_attr = (batch.edge_attr + 1) % 2
    same = torch.equal(run(model, batch), out)
    assert same == (len(model.bond_encoders) == 0)


def test_set2set_reads_the_atoms(batch):
    recipe = GraphRecipe('gin-set2set', hidden_channels=8, num_layers=2)
    model = recipe.build_model(1).eval()
    assert isinstance(model.pool, Set2Set) and len(model.bond_encoders) == 2
    found = []
    model.pool.register_forward_hook(
        lambda _, args, kwargs, out: found.append((args[0], kwargs['index'], out)),
        with_kwargs=True,
    )
    out = run(model, batch)
    x, index, pooled = found[0]
    assert x.shape == (9, 8) and torch.equal(index, batch.batch)
    assert pooled.shape == (3, 16) and torch.equal(out, model.readout(pooled))


@pytest.mark.parametrize('model', ['gat', 'gin-set2set'])
def test_attention_becomes_spikes(model):
    torch.manual_seed(0)
    recipe = GraphRecipe(model, hidden_channels=8, num_layers=2, virtual_node=False)
    network = recipe.build_model(6).double().eval()
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
    batch = Batch.from_data_list([molecule(n, kind=n) for n in range(2, 10)])
    snn = convert(network, batch, ConversionConfig(num_steps=24, per_channel=True))
    assert snn.report.products
    assert_spiking(snn, batch)
    assert snn.report.logit_relative_error < 0.2


@pytest.mark.parametrize('virtual_node', [False, True])
def test_residual(batch, virtual_node):
    kwargs = dict(hidden_channels=8, num_layers=2, virtual_node=virtual_node)
    model = MoleculeGNN(1, residual=True, **kwargs).eval()
    for norm in model.norms:
        nn.init.zeros_(norm.weight)  # Layers add nothing, virtual nodes a constant.
    for mlp in model.virtual_mlps:
        nn.init.zeros_(mlp[-2].weight)
    expected = global_mean_pool(model.atom_encoder(batch.x), batch.batch)
    assert torch.allclose(run(model, batch), model.readout(expected), atol=1e-6)


def test_parameters_are_drawn_anew(model):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(2):
        torch.manual_seed(5)
        model.reset_parameters()
        after = model.state_dict()
        changed = [
            k for k in before if before[k].dim() == 2 and 'virtual_node' not in k
        ]
        assert not any(torch.equal(before[k], after[k]) for k in changed)
    assert not model.virtual_node.any()


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(conv='cheb'), r"'conv' to be one of gin, gcn, gat \(got 'cheb'\)"),
        (dict(readout='max'), r"'readout' to be one of mean, set2set \(got 'max'\)"),
        (
            dict(conv='gat', hidden_channels=6),
            r'multiple of .heads. \(got 6 features and 4 heads\)',
        ),
        (dict(num_layers=0), r"'num_layers' to be at least 1 \(got 0\)"),
        (dict(out_channels=0), r"'out_channels' to be at least 1 \(got 0\)"),
        (dict(dropout=-1.0), r"'dropout' to be in \[0, 1\) \(got -1.0\)"),
    ],
)
def test_molecule_network_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        MoleculeGNN(**{'out_channels': 1, **kwargs})


QUICK = GraphRecipe(
    hidden_channels=8, num_layers=2, dropout=0.0, lr=0.02, epochs=12, batch_size=16
)


def accuracy(y_true, y_pred):
    return float(((y_pred > 0) == (y_true > 0)).float().mean())


def rmse(y_true, y_pred):
    return float((y_true - y_pred).square().mean().sqrt())


def graphs(count, regression=False):
    kinds = [i % 2 for i in range(count)]
    y = [2 * k if regression else k for k in kinds]
    return [molecule(2 + i % 4, 5 * k, y[i]) for i, k in enumerate(kinds)]


def fit(task='classification', seed=0, train=None, recipe=QUICK):
    model = recipe.build_model(1)
    regression = task == 'regression'
    train = graphs(48, regression) if train is None else train
    result = train_graph_model(
        model,
        train,
        graphs(10, regression),
        recipe,
        task=task,
        score=rmse if regression else accuracy,
        seed=seed,
        progress=False,
    )
    return model, result


@pytest.mark.parametrize('task', ['classification', 'regression'])
def test_training_learns_and_keeps_the_best_epoch(task):
    model, result = fit(task)
    assert not model.training
    score = rmse if task == 'regression' else accuracy
    batch = Batch.from_data_list(graphs(10, task == 'regression'))
    value = score(*predict(model, [batch]))
    assert result['val_score'] == pytest.approx(value, abs=1e-5)
    assert value < 0.9 if task == 'regression' else value == 1
    assert 1 <= result['best_epoch'] <= result['epochs'] == 12


def test_training_depends_on_the_seed_only():
    states = []
    for seed in (0, 0, 1):
        torch.rand(1)
        state = torch.get_rng_state()
        states.append(fit(seed=seed)[0].state_dict())
        assert not torch.equal(states[-1]['readout.weight'], torch.zeros(1, 8))
    del state
    same = [torch.equal(states[0][k], states[1][k]) for k in states[0]]
    assert all(same)
    assert not torch.equal(states[0]['readout.weight'], states[2]['readout.weight'])


def test_unknown_labels_are_left_out():
    train = graphs(48)
    for data in train[::3]:
        data.y.fill_(float('nan'))
    model, _ = fit(train=train)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_training_errors():
    with pytest.raises(ValueError, match=r"or 'regression' \(got 'ranking'\)"):
        fit('ranking')
    with pytest.raises(ValueError, match=r"'train' to hold at least one graph \(got 0"):
        fit(train=[])
    with pytest.raises(ValueError, match=r"'batch_size' to be at least 1 \(got 0\)"):
        GraphRecipe(batch_size=0)
    with pytest.raises(
        ValueError, match=r"'model' to be one of gin, gcn.* \(got 'sage'"
    ):
        GraphRecipe(model='sage')
