"""What new users pass at first: the message says what to do."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch_geometric.nn.models import GCN

from spikegraph import convert, predict, simulate

X = torch.rand(64, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % 3
ONE_HOT = torch.eye(3)[LABELS]


@pytest.fixture
def model():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 4, 3)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()


@pytest.fixture
def snn(model):
    return convert(model, X)


ARRAY = r"to be a tensor, .*\(got numpy.ndarray of float32\); use 'torch.from_numpy\("
DROP = r"Labels are not needed; drop .*'\[batch\[:1\] for batch in loader\]'"


@pytest.mark.parametrize(
    'data, match',
    [
        (X.numpy(), ARRAY),
        ([X.numpy()], f"'input' {ARRAY}"),
        ([(X.numpy(), LABELS.numpy())], f"'input' {ARRAY}"),
        ({'input': X.numpy()}, f"'input' {ARRAY}"),
        (
            TensorDataset(X, LABELS),
            r'to give batches \(got the dataset TensorDataset, .*DataLoader\(dataset',
        ),
        (5, r'an iterable of either \(got int\)'),
        (
            (X * 255).byte(),
            r"floating point .*'input' of torch.uint8\).*'x.float\(\) / 255'",
        ),
        ([(X * 255).long()], r"\(got no .*'input' of torch.int64\)"),
        ((X, ONE_HOT), rf'at most 1 .*, input \(got 2\).*{DROP}'),
        ([(X, LABELS, LABELS)], rf'at most 1 .*, input \(got 3\).*{DROP}'),
        (DataLoader(TensorDataset(X, ONE_HOT), 32), rf'\(got 2\).*{DROP}'),
    ],
)
def test_calibration_data(model, data, match):
    with pytest.raises(ValueError, match=match):
        convert(model, data)


def test_remedies(model, snn):
    out = snn(X)
    for data in (
        torch.from_numpy(X.numpy()),
        [batch[:1] for batch in DataLoader(TensorDataset(X, ONE_HOT), 64)],
        DataLoader(TensorDataset(X, LABELS), 64),
    ):
        assert torch.equal(convert(model, data)(X), out)


def test_labels_of_graphs(graph):
    model = GCN(5, 8, 2, 3)
    batch = (graph.x, graph.edge_index, *9 * [None])
    with pytest.raises(ValueError, match=r"\(got 11\).*'\[batch\[:2\] for batch"):
        convert(model, [batch])


@pytest.mark.parametrize('value', [2.5, '2', 1e3])
def test_max_batches(model, value):
    match = rf"'max_batches' to be a whole number \(got {value!r}\)"
    with pytest.raises(ValueError, match=match):
        convert(model, [X], max_batches=value)


@pytest.mark.parametrize(
    'value, match',
    [
        ([X], r"'input' to be a tensor, .*\(got list\)"),
        (DataLoader(X, 32), r"\(got DataLoader\).*'spikegraph.predict' for a loader"),
        (X.numpy(), f"'input' {ARRAY}"),
    ],
    ids=['list', 'loader', 'array'],
)
def test_arguments(snn, value, match):
    for call in (snn, snn.spikes, lambda x: simulate(snn, x)):
        with pytest.raises(ValueError, match=match):
            call(value)
    with pytest.raises(ValueError, match="'input' to be a tensor"):
        snn(input=value)


def test_graph_arguments(graph):
    snn = convert(GCN(5, 8, 2, 3).double(), graph)
    with pytest.raises(ValueError, match=r"'x' to be a tensor, .*\(got list\)"):
        snn([graph])


def test_predict(model, snn):
    out = snn(X)
    assert torch.equal(predict(snn, X), out)
    assert torch.equal(predict(model, X), predict(model, [X]))
    for batch in ((X, ONE_HOT), [X, LABELS, LABELS]):
        for network in (model, snn):
            with pytest.raises(ValueError, match=DROP):
                predict(network, [batch])
    for network in (model, snn):
        with pytest.raises(ValueError, match=ARRAY):
            predict(network, [X.numpy()])
        with pytest.raises(ValueError, match=ARRAY):
            predict(network, [(X.numpy(), LABELS.numpy())])


def test_predict_takes_a_graph(graph):
    snn = convert(GCN(5, 8, 2, 3).double(), graph)
    assert torch.equal(predict(snn, graph), snn(graph))
