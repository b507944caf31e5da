import json
from dataclasses import dataclass, field, replace

import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score
from torch_geometric.data import Batch

import spikegraph.zoo.experiment.runs as runs
from spikegraph import ConversionConfig, SpikingModel
from spikegraph.cli import main
from spikegraph.formatting import format_experiment, format_sweep
from spikegraph.measurement.counts import Counts
from spikegraph.zoo.datasets import GraphDataset
from spikegraph.zoo.experiment import evaluate_graphs, run_experiment, run_sweep
from spikegraph.zoo.experiment.evaluation import calibration_batches, measured_batches
from spikegraph.zoo.models import GRAPH_RECIPES, GraphRecipe, predict
from tests.zoo.models.test_molecule import graphs


class Evaluator:
    """Like ogb's, without its import, which takes seconds."""

    def __init__(self, metric):
        self.metric = metric

    def eval(self, values):
        y_true, y_pred = (values[key].double() for key in ('y_true', 'y_pred'))
        if self.metric == 'rocauc':
            return {'rocauc': roc_auc_score(y_true.numpy(), y_pred.numpy())}
        return {'rmse': (y_true - y_pred).square().mean().sqrt().numpy()}


class Noisy(SpikingModel):
    """Stands for a converted network: the network, and some error."""

    neurons, latency_steps, pipelined_steps = {'a': None, 'b': None}, 48, 16

    def __init__(self, model):
        torch.nn.Module.__init__(self)
        self.model, self.report = model, Report()

    def forward(self, *args):
        out = self.model(*args)
        return out + 0.5 * torch.sin(1000 * out)


class Report:
    def __str__(self):
        return 'the conversion'

    def to_dict(self):
        return {'populations': 2}


@dataclass
class Counted:
    num_nodes: int
    unit: str = 'graph'
    spikes_per_neuron: float = 0.25
    total: Counts = field(default_factory=lambda: Counts(delays=3))

    def energy_ratios(self):
        return {'energy_ratio_compute': 2.0}

    def energy_pj(self):
        return {'ann_compute': 2.0, 'snn_compute': 1.0}

    def to_dict(self):
        found = {'layers': [], 'energy_table': 'none', 'uncounted': []}
        return {**found, 'energies': [], 'machines': {}}

    def __str__(self):
        return f'energy, nJ per {self.unit}'


def graph_dataset(task):
    regression = task == 'regression'
    data = graphs(1500, regression)
    metric = 'rmse' if regression else 'rocauc'
    return GraphDataset(
        name='ogbg-molesol' if regression else 'ogbg-molbace',
        train=data[:1200],
        valid=data[1200:1210],
        test=data[1210:1480],
        num_tasks=1,
        task=task,
        metric=metric,
        evaluator=Evaluator(metric),
        description='chains',
        unit='log10(mol/l)' if regression else '',
    )


@pytest.fixture
def calls(monkeypatch):
    quick = GraphRecipe(hidden_channels=8, num_layers=2, epochs=2, dropout=0.0)
    for name in GRAPH_RECIPES:
        monkeypatch.setitem(GRAPH_RECIPES, name, quick)

    def load(name, root=None):
        return graph_dataset('regression' if name == 'ogbg-molesol' else 'class')

    calls = {}

    def convert(model, calibration_data, config, progress):
        calls.update(calibration=calibration_data, config=config, progress=progress)
        return Noisy(model)

    def measure(snn, data, model, energy_table, per=None):
        calls.update(measured=data, energy_table=energy_table)
        return Counted(sum(batch.num_graphs for batch in data), per or 'graph')

    monkeypatch.setattr('spikegraph.zoo.training.load_dataset', load)
    monkeypatch.setattr(runs, 'convert', convert)
    monkeypatch.setattr(runs, 'measure', measure)
    return calls


@pytest.fixture
def classification(monkeypatch):
    dataset = graph_dataset('classification')
    monkeypatch.setattr('spikegraph.zoo.training.load_dataset', lambda *args: dataset)


def test_energies_per_node(calls, classification):
    graphs, nodes = (run('ogbg-molbace', per=per) for per in (None, 'node'))
    assert graphs.energy_per == 'graph' and nodes.energy_per == 'node'
    num_graphs = graphs.runs[0].measurement.num_nodes
    text = format_experiment(nodes)
    assert f'Operations of {num_graphs} test graphs' in text
    assert 'energy, nJ per node' in text


def run(name, **kwargs):
    return run_experiment(name, ConversionConfig(8), progress=False, **kwargs)


def scores(result):
    trained, snn = result.runs[0].trained.model, result.runs[0].snn
    batch = Batch.from_data_list(list(result.dataset.test))
    y, ann = predict(trained, [batch])
    return y, ann, predict(snn, [batch])[1]


def test_classification(calls, classification):
    result = run('ogbg-molbace', seeds=2)
    y, ann, snn = scores(result)
    metrics = result.runs[0].metrics
    first, second = (100 * roc_auc_score(y, out) for out in (ann, snn))
    assert metrics['ann_rocauc'] == pytest.approx(first, abs=1e-6)
    assert metrics['snn_rocauc'] == pytest.approx(second, abs=1)
    loss = metrics['ann_rocauc'] - metrics['snn_rocauc']
    assert metrics['loss_points'] == pytest.approx(loss)
    same = ((ann > 0) == (snn > 0)).double().mean()
    assert metrics['agreement'] == pytest.approx(100 * float(same), abs=1)
    assert metrics['logit_relative_error'] > 0 and 'loss_rmse' not in metrics
    summary = result.summary()
    assert summary['populations'] == 2 and summary['latency_steps'] == 48
    text = format_experiment(result)
    for part in [
        'ogbg-molbace: chains',
        '1,200 training, 10 validation and 270 test graphs',
        'calibrated on 1,024 training graphs, without labels; operations counted on 270',
        'GIN, virtual node, 2 layers, 8 hidden features; 2 seeds',
        'ANN ROC-AUC',
        'ROC-AUC loss',
        'agreement with the ANN',
        's (batch of 128 graphs)\nSNN forward',
        'Operations of 270 test graphs (seed 0)',
        'energy, nJ per graph',
    ]:
        assert part in text
    assert 'accuracy' not in text and 'RMSE' not in text


def test_regression(calls):
    result = run('ogbg-molesol', model='gcn')
    y, ann, snn = scores(result)
    metrics = result.runs[0].metrics
    first, second = (float((out - y).square().mean().sqrt()) for out in (ann, snn))
    assert metrics['ann_rmse'] == pytest.approx(first, rel=1e-5)
    assert metrics['snn_rmse'] == pytest.approx(second, rel=0.05)
    loss = metrics['snn_rmse'] - metrics['ann_rmse']
    assert metrics['loss_rmse'] == pytest.approx(loss)
    assert metrics['loss_percent'] == pytest.approx(100 * loss / first, rel=1e-4)
    correlation = pearsonr(ann.view(-1), snn.view(-1)).statistic
    assert metrics['correlation'] == pytest.approx(correlation, abs=0.05)
    assert 'agreement' not in metrics and 'loss_points' not in metrics
    text = format_experiment(result)
    assert 'GCN, virtual node' in text
    for label in ['ANN RMSE', 'SNN RMSE', 'RMSE increase']:
        line = next(line for line in text.splitlines() if line.startswith(label))
        assert line.endswith('log10(mol/l)')
    assert '% of that of the ANN' in text and 'accuracy' not in text


def test_calibration_and_measurement(calls, classification):
    result = run('ogbg-molbace')
    batches = calls['calibration']
    assert [batch.num_graphs for batch in batches] == [128] * 8
    assert [batch.num_graphs for batch in calls['measured']] == [128, 128, 14]
    assert calls['config'] is result.config and calls['progress'] is False
    kinds = torch.cat([batch.y.view(-1) for batch in batches])
    assert 0.4 < kinds.mean() < 0.6  # Drawn at random.
    again = calibration_batches(result.dataset)
    assert all(torch.equal(a.x, b.x) for a, b in zip(batches, again, strict=True))
    few = replace(result.dataset, train=result.dataset.train[:130])
    assert [batch.num_graphs for batch in calibration_batches(few)] == [128, 2]
    many = replace(result.dataset, test=result.dataset.train)
    assert [batch.num_graphs for batch in measured_batches(many)] == [128] * 4


def test_sweep(calls):
    result = run_sweep('ogbg-molesol', [4, 8], [2.0], progress=False)
    text = format_sweep(result)
    assert 'ANN RMSE' in text and 'correlation' in text and 'loss, %' in text
    assert [row['num_steps'] for row in result.rows] == [4, 8]


def test_command_line(calls, classification, capsys, tmp_path):
    weights = tmp_path / 'ann.pt'
    result = run('ogbg-molbace')
    torch.save(result.runs[0].trained.model.state_dict(), weights)
    assert main(['run', 'ogbg-molbace', '--weights', str(weights), '--json', '-']) == 0
    out = json.loads(capsys.readouterr().out)
    expected = result.summary()['ann_rocauc']
    assert out['summary']['ann_rocauc'] == expected
    assert out['model']['name'] == 'gin' and out['model']['virtual_node']
    dataset = out['dataset']
    assert (dataset['task'], dataset['metric']) == ('classification', 'rocauc')
    assert (dataset['num_test'], dataset['num_calibration']) == (270, 1024)
    args = ['run', 'ogbg-molbace', '--model', 'gcn', '--weights', str(weights)]
    assert main(args) == 2
    assert 'state dict of a MoleculeGNN' in capsys.readouterr().err


def test_bars_are_shown_when_asked(calls, classification, capsys):
    result = run('ogbg-molbace')
    assert capsys.readouterr().err == ''
    model, snn = result.runs[0].trained.model, result.runs[0].snn
    evaluate_graphs(snn, result.dataset, model, progress=True)
    err = capsys.readouterr().err
    assert 'Testing the ANN' in err and 'Testing the SNN' in err


def test_no_test_graphs(calls, classification):
    result = run('ogbg-molbace')
    empty = replace(result.dataset, test=[])
    with pytest.raises(ValueError, match=r"'dataset.test' .*\(got 0\)"):
        evaluate_graphs(result.runs[0].snn, empty, result.runs[0].trained.model)


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(name='ogbg-molbace', model='appnp'), r"gin, gcn.*\(got 'appnp'\)"),
        (dict(name='digits', model='gan'), r"for the nodes of .*\(got 'gan'\)"),
        (
            dict(name='digits', model='sgc', hidden=3),
            r"'sgc', which has no .*\(got 3\)",
        ),
    ],
)
def test_unsuitable_options(kwargs, match):
    with pytest.raises(ValueError, match=match):
        run_experiment(**kwargs)
