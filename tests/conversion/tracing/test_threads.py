"""Threads that convert, and threads that do something else at the same time."""

import builtins
import threading

import pytest
import torch
import torch_geometric.utils
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, SumAggregation
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.utils import softmax

from spikegraph import ConversionConfig, convert
from spikegraph.calls.wrappers import full_precision

OWNERS = {
    torch: ('zeros', 'full', 'arange', 'where', 'Size'),
    torch.Tensor: ('view', 'to', 'expand'),
    Aggregation: ('__call__',),
    nn.Module: ('__call__', '__getattr__'),
    torch.autocast: ('__enter__',),
    torch.jit.ScriptFunction: ('__call__',),
    builtins: ('isinstance', 'int', 'len'),
    torch_geometric.utils: ('softmax', 'scatter'),
    torch._functorch.utils: ('unwrap_dead_wrappers',),
}


def everything():
    """What a conversion swaps, as it is."""
    found = {
        (owner, name): getattr(owner, name)
        for owner in OWNERS
        for name in OWNERS[owner]
    }
    own = {name: globals().get(name) for name in ('int', 'len', 'float', 'softmax')}
    places = {owner: (type(owner), list(vars(owner))) for owner in OWNERS}
    return found, own, places


WAIT = None  # Called in the middle of a trace.


class Waits(nn.Module):
    """Lets others go on in the middle of its forward."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = GCNConv(6, 8), nn.Linear(8, 3)

    def forward(self, x, edge_index):
        num = int(x.size(0)) + len(x)
        h = self.conv(x, edge_index).relu() + torch.zeros(num - len(x), 1)
        if type(h) is not torch.Tensor and WAIT is not None:
            WAIT()
        return self.last(h)


@pytest.fixture
def graph():
    x = torch.randn(20, 6)
    return Data(x=x, edge_index=torch.randint(20, (2, 60)))


def while_tracing(graph, function, monkeypatch):
    """What a function returns in a thread, while this one traces a model."""
    found, thread = [], []

    def run():
        try:
            found.append(function())
        except BaseException as error:
            found.append(error)

    def wait():
        if not thread:
            thread.append(threading.Thread(target=run))
            thread[0].start()
            thread[0].join(120)

    monkeypatch.setitem(globals(), 'WAIT', wait)
    convert(Waits(), graph)
    assert thread, 'It was not traced'
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def ordinary(graph):
    torch.manual_seed(0)
    model = GATConv(6, 4, heads=2)
    out = model(graph.x, graph.edge_index)
    out.sum().backward()
    values = torch.zeros(3, 2), torch.full((2,), 1.5), graph.x.view(-1)
    return [
        out,
        model.lin.weight.grad,
        *values,
        softmax(graph.x[:, 0], torch.arange(20) // 4),
    ]


def test_ordinary_models_run_beside(graph, monkeypatch):
    def run():
        return ordinary(graph)

    found = while_tracing(graph, lambda: [*run(), *run()], monkeypatch)
    expected = [*run(), *run()]
    assert all(map(torch.equal, found, expected))


def test_functions_are_as_ever_beside(graph, monkeypatch):
    def look():
        x = torch.rand(3, 2)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            casts = nn.Linear(2, 2)(x).dtype
        with pytest.raises(ValueError, match='invalid dimension'):
            SumAggregation()(x, torch.zeros(3, dtype=torch.long), dim=7)
        script = torch.jit.script(blank)
        return (
            *(type(x.shape) is torch.Size, torch.Size([1]) == (1,), casts),
            *(isinstance(3, int), isinstance(x, nn.Module)),
            *(int('7'), len([1]), float('2')),
            *(torch.zeros, torch.where, torch.arange, torch.Size),
            script(x).shape,
        )

    assert while_tracing(graph, look, monkeypatch) == look()


def blank(x):
    return torch.zeros(x.size(0), 2)


def test_all_comes_back(graph, monkeypatch):
    before = everything()
    convert(Waits(), graph)
    assert everything() == before

    def fails():
        raise KeyError('in the middle')

    monkeypatch.setitem(globals(), 'WAIT', fails)
    with pytest.raises(NotImplementedError, match='in the middle'):
        convert(Waits(), graph)
    assert everything() == before

    def interrupts():
        raise KeyboardInterrupt

    monkeypatch.setitem(globals(), 'WAIT', interrupts)
    with pytest.raises(KeyboardInterrupt):
        convert(Waits(), graph)
    assert everything() == before


def test_converting_at_once(graph):
    """Two threads give the networks that one gives, while a third one runs models."""
    torch.manual_seed(0)
    config = ConversionConfig(num_steps=8)
    models = [Waits(), nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))]
    data = [graph, graph.x]
    expected = [convert(m, d, config)(d) for m, d in zip(models, data, strict=True)]
    plain, before = ordinary(graph), everything()
    found, errors, done = [[], []], [], threading.Event()

    def work(i):
        try:
            for _ in range(4):
                found[i].append(convert(models[i], data[i], config)(data[i]))
        except BaseException as error:
            errors.append(error)

    def run():
        try:
            while not done.is_set():
                torch.autocast('cpu').__enter__().__exit__(None, None, None)
                kinds = type(graph.x.shape) is torch.Size, isinstance(1, int)
                assert kinds == (True, True)
                model = models[0]
                assert model(graph.x, graph.edge_index).requires_grad
                x = graph.x.requires_grad_(False)
                out = GCNConv(6, 2)(x, graph.edge_index)
                assert out.grad_fn is not None
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    beside = threading.Thread(target=run)
    for thread in (*threads, beside):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    beside.join()
    assert not errors, errors
    for outs, out in zip(found, expected, strict=True):
        assert len(outs) == 4 and all(torch.equal(o, out) for o in outs)
    assert everything() == before
    assert all(map(torch.equal, ordinary(graph), plain))


def test_autocast_is_ignored_by_one_thread_only():
    layer, x = nn.Linear(2, 2), torch.rand(3, 2)
    found = []

    def run():
        with torch.autocast('cpu', dtype=torch.bfloat16):
            found.append(layer(x).dtype)

    with full_precision():
        run()
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    run()
    assert found == [torch.float32, torch.bfloat16, torch.bfloat16]
