import json
import re
import urllib.error

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import is_undirected

from spikegraph.cli import main
from spikegraph.zoo.datasets import DATASETS, GraphDataset, load_dataset
from spikegraph.zoo.experiment import run_experiment
from spikegraph.zoo.models import GRAPH_RECIPES, RECIPES, TrainingRecipe

SPLIT = {'train': range(0, 24), 'valid': range(24, 30), 'test': range(30, 40)}


def write(file, values):
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(np.asarray(values))
    table.to_csv(file, index=False, header=False, compression='gzip')


def write_ogb(root, name, split, **tables):
    folder = root / name.replace('-', '_')
    for table, values in tables.items():
        table = table if table == 'node_year' else table.replace('_', '-')
        write(folder / 'raw' / f'{table}.csv.gz', values)
    for part, index in SPLIT.items():
        write(folder / 'split' / split / f'{part}.csv.gz', list(index))
    (folder / 'RELEASE_v1.txt').touch()
    return folder


@pytest.fixture
def arxiv(tmp_path):
    """40 papers in two classes, cited in a chain, in OGB's raw format."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = rng.random((40, 6)).round(3)
    features[:, 0] = labels
    years = [2016] * 24 + [2018] * 6 + [2020] * 10
    write_ogb(
        tmp_path,
        'ogbn-arxiv',
        'time',
        edge=[(i, i + 2) for i in range(38)],
        node_feat=features,
        node_label=labels,
        num_node_list=[40],
        num_edge_list=[38],
        node_year=years,
    )
    return tmp_path


def write_molecules(root, name, labels):
    """40 chains of 3 to 6 atoms."""
    sizes = 3 + np.arange(40) % 4
    atoms = np.zeros((sizes.sum(), 9), dtype=int)
    atoms[:, 0] = np.repeat(np.arange(40) % 2, sizes) + 5
    bonds = [(i, i + 1) for size in sizes for i in range(size - 1)]
    return write_ogb(
        root,
        name,
        'scaffold',
        edge=bonds,
        node_feat=atoms,
        edge_feat=np.zeros((len(bonds), 3), dtype=int),
        graph_label=labels,
        num_node_list=sizes,
        num_edge_list=sizes - 1,
    )


@pytest.fixture
def molbace(tmp_path):
    write_molecules(tmp_path, 'ogbg-molbace', np.arange(40) % 2)
    return tmp_path


@pytest.mark.parametrize('times', [1, 2])  # From raw files, and from processed ones.
def test_nodes(arxiv, capsys, times):
    for _ in range(times):
        dataset = load_dataset('ogbn-arxiv', arxiv)
    data = dataset.data
    assert (dataset.num_features, dataset.num_classes) == (6, 2)
    assert is_undirected(data.edge_index) and data.num_edges == 2 * 38
    assert data.y.tolist() == [i % 2 for i in range(40)]
    for mask, index in zip(['train', 'val', 'test'], SPLIT.values(), strict=True):
        assert data[f'{mask}_mask'].nonzero().view(-1).tolist() == list(index)
    assert capsys.readouterr() == ('', '')


def test_accuracy_is_that_of_the_evaluator(arxiv, monkeypatch):
    from ogb.nodeproppred import Evaluator

    quick = TrainingRecipe(hidden_channels=4, epochs=20, norm=False)
    monkeypatch.setitem(RECIPES, 'ogbn-arxiv', quick)
    result = run_experiment('ogbn-arxiv', root=arxiv, progress=False)
    run, data = result.runs[0], result.dataset.data
    with torch.no_grad():
        out = run.trained.model(data.x, data.edge_index)[data.test_mask]
    y_pred, y_true = out.argmax(-1, keepdim=True), data.y[data.test_mask].view(-1, 1)
    score = Evaluator('ogbn-arxiv').eval({'y_true': y_true, 'y_pred': y_pred})['acc']
    assert run.metrics['ann_accuracy'] == pytest.approx(100 * score)


def test_graphs(molbace, capsys):
    dataset = load_dataset('ogbg-molbace', molbace)
    assert isinstance(dataset, GraphDataset)
    sizes = [len(part) for part in (dataset.train, dataset.valid, dataset.test)]
    assert sizes == [24, 6, 10]
    assert (dataset.task, dataset.metric) == ('classification', 'rocauc')
    assert dataset.num_tasks == 1 and dataset.unit == ''
    data = dataset.test[1]  # The 32nd, of 6 atoms.
    assert data.x.shape == (6, 9) and data.edge_attr.shape == (10, 3)
    assert data.y.tolist() == [[1]]
    y = torch.tensor([[0], [1], [1]])
    assert dataset.evaluate(y, torch.tensor([[0.1], [0.3], [0.2]])) == 1.0
    assert dataset.evaluate(y, torch.tensor([[0.2], [0.3], [0.1]])) == 0.5
    assert capsys.readouterr() == ('', '')


def test_regression(tmp_path):
    write_molecules(tmp_path, 'ogbg-molesol', np.arange(40) / 7)
    dataset = load_dataset('ogbg-molesol', tmp_path)
    assert (dataset.task, dataset.metric) == ('regression', 'rmse')
    assert dataset.unit == 'log10(mol/l)'
    y = torch.zeros(4, 1)
    assert dataset.evaluate(y, y + 3) == pytest.approx(3)


def test_missing_release_file_asks_nothing(molbace):
    (molbace / 'ogbg_molbace' / 'RELEASE_v1.txt').unlink()
    with pytest.raises(FileNotFoundError, match='create an empty one; else delete'):
        load_dataset('ogbg-molbace', molbace)


@pytest.mark.parametrize('name', [name for name in DATASETS if 'ogb' in name])
def test_failed_download(name, tmp_path, monkeypatch):
    def fail(url):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', fail)
    message = f"of '{name}' (got '{tmp_path}'), and their download failed"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        load_dataset(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_raw_files_are_those_of_ogb(arxiv, molbace):
    assert arxiv == molbace
    for name in ['ogbn-arxiv', 'ogbg-molbace']:
        assert all((arxiv / file).exists() for file in DATASETS[name].raw_files)
        load_dataset(name, arxiv)
        assert (arxiv / DATASETS[name].processed_file).exists()


def test_run_on_nodes(arxiv, monkeypatch, capsys):
    quick = TrainingRecipe(hidden_channels=4, epochs=5, norm=False)
    monkeypatch.setitem(RECIPES, 'ogbn-arxiv', quick)
    assert main(['run', 'ogbn-arxiv', '--root', str(arxiv), '--json', '-']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['dataset']['num_nodes'] == 40 and result['model']['name'] == 'gcn'


def test_model_that_suits_no_molecules(molbace, capsys):
    args = ['run', 'ogbg-molbace', '--root', str(molbace), '--model', 'sage']
    assert main(args) == 2
    message = "gin, gcn, gat, gin-set2set for the molecules of 'ogbg-molbace'"
    assert message in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.parametrize('name', GRAPH_RECIPES)
def test_files(dataset_root, name):
    dataset, info = load_dataset(name, dataset_root(name)), DATASETS[name]
    graphs = [*dataset.train, *dataset.valid, *dataset.test]
    assert len(graphs) == info.num_graphs
    assert sum(graph.num_nodes for graph in graphs) == info.num_nodes
    assert sum(graph.num_edges for graph in graphs) == info.num_edges


def test_what_torch_may_load_stays_as_it_was():
    from spikegraph.zoo.datasets.ogb import _loading

    before = set(torch.serialization.get_safe_globals())
    with _loading():
        assert Data in torch.serialization.get_safe_globals()
    assert set(torch.serialization.get_safe_globals()) == before
