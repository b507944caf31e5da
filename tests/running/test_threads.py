"""Threads that convert and run networks at once get what they get alone, bit by bit."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCN

from spikegraph import convert

TIMEOUT = 300


def graph(num_nodes, seed):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(num_nodes, (2, 5 * num_nodes), generator=generator)
    return Data(x=torch.rand(num_nodes, 6, generator=generator), edge_index=edges)


GRAPHS = [graph(30 + 7 * k, k) for k in range(4)]


def gcn():
    torch.manual_seed(0)
    return GCN(6, 16, 2, 3).eval()


def cnn():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(36, 3)).eval()


def at_once(*functions, times=1):
    """What functions return in threads that start together; the first error of one."""
    start = threading.Barrier(len(functions))
    found = [None] * len(functions)

    def run(place, function):
        try:
            start.wait(TIMEOUT)
            found[place] = [function() for _ in range(times)]
        except BaseException as error:
            found[place] = error

    threads = [
        threading.Thread(target=run, args=pair, daemon=True)
        for pair in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), 'it hangs'
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found


def assert_equal_networks(found, expected, call):
    assert found.report == expected.report
    state = expected.state_dict()
    for name, value in found.state_dict().items():  # What is not used yet is NaN.
        torch.testing.assert_close(value, state[name], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(found(*call), expected(*call))


def test_two_conversions():
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = convert(gcn(), GRAPHS[0]), convert(cnn(), images)
    a, b = at_once(
        lambda: convert(gcn(), GRAPHS[0]), lambda: convert(cnn(), images), times=2
    )
    for one, other in zip(a, b, strict=True):
        call = GRAPHS[1].x, GRAPHS[1].edge_index
        assert_equal_networks(one, expected[0], call)
        assert_equal_networks(other, expected[1], (images[:3],))


@pytest.mark.parametrize('num_threads', [1, 2])
def test_inferences_on_one_network(num_threads):
    """On graphs of several sizes, so that plans are made and thrown away meanwhile."""
    snn, before = convert(gcn(), GRAPHS[0]), torch.get_num_threads()
    calls = [(data.x, data.edge_index) for data in GRAPHS]
    expected = [convert(gcn(), GRAPHS[0])(*call) for call in calls]

    def run(order):
        return [(k, snn(*calls[k])) for k in order]

    orders = [[0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 2, 2]]
    try:
        torch.set_num_threads(num_threads)
        results = at_once(*(lambda order=o: run(order) for o in orders), times=8)
    finally:
        torch.set_num_threads(before)
    for rounds in results:
        for each in rounds:
            assert all(torch.equal(out, expected[k]) for k, out in each)


def test_a_conversion_beside_an_inference():
    snn, call = convert(gcn(), GRAPHS[0]), (GRAPHS[2].x, GRAPHS[2].edge_index)
    expected = snn(*call), convert(gcn(), GRAPHS[1])
    outs, networks = at_once(
        lambda: [snn(*call) for _ in range(30)],
        lambda: convert(gcn(), GRAPHS[1]),
        times=2,
    )
    assert all(torch.equal(out, expected[0]) for each in outs for out in each)
    for network in networks:
        assert_equal_networks(network, expected[1], call)


def test_weights_that_change_in_another_thread():
    """Each result is that of the weights before or after, and never of a mixture that
    was kept; the last is that of the last weights."""
    snn, call = convert(gcn(), GRAPHS[0]), (GRAPHS[2].x, GRAPHS[2].edge_index)
    bias = next(
        p for n, p in snn.named_parameters() if n.endswith('bias') and p.dim() == 1
    )
    first, last = bias.detach().clone(), bias.detach() + 0.25
    allowed = []
    for value in (first, last):
        with torch.no_grad():
            bias.copy_(value)
        allowed.append(snn(*call))
    assert not torch.equal(*allowed)

    def change():
        for value in 10 * [first, last]:
            with torch.no_grad():
                bias.copy_(value)

    outs, _ = at_once(lambda: [snn(*call) for _ in range(20)], change)
    torch.testing.assert_close(snn(*call), allowed[1], rtol=0, atol=0)
    shapes = {out.shape for each in outs for out in each}
    assert shapes == {allowed[0].shape}


def test_modes_of_threads_stay():
    """Gradients, inference mode and the number of threads are what they were."""
    before = torch.is_grad_enabled(), torch.get_num_threads()
    snn = convert(gcn(), GRAPHS[0])
    model = gcn().train()
    snn(GRAPHS[0].x, GRAPHS[0].edge_index)
    convert(model, GRAPHS[0])
    assert model.training and all(part.training for part in model.modules())
    assert (torch.is_grad_enabled(), torch.get_num_threads()) == before
    out = model(GRAPHS[0].x, GRAPHS[0].edge_index)
    F.mse_loss(out, torch.zeros_like(out)).backward()
