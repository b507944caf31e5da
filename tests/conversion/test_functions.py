"""Functions with gradients of their own, compiled ones, and checkpoints."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import SAGEConv
from torch_geometric.nn.models.rev_gnn import GroupAddRev

from spikegraph import ConversionConfig, convert, load, measure, save, simulate

FINE = ConversionConfig(num_steps=48, base=1.15)


class OwnReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope=1.0):
        ctx.save_for_backward(x)
        ctx.slope, ctx.wants = slope, ctx.needs_input_grad[0]
        return slope * x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0), None


class SetsUp(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.relu()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (4 * x.clamp(min=0)).round() / 4

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, index, values, shape, b):
        a = torch.sparse_coo_tensor(index, values, shape)
        ctx.save_for_backward(a, b)
        ctx.size = shape[0]
        return torch.matmul(a, b)

    @staticmethod
    def backward(ctx, gradient):
        return None, None, None, gradient


@torch.jit.script
def scripted(x):
    return torch.relu(x) + 0.0


@torch.jit.script
def scripted_rows(x):
    return x / x.abs().sum(dim=1, keepdim=True)


kept = OwnReLU.apply  # As models do, long before they are traced.
ACTIVATIONS = {
    'own': lambda h: OwnReLU.apply(h),
    'under another name': lambda h: kept(h, 0.5),
    'straight through': StraightThrough.apply,
    'context apart': SetsUp.apply,
    'checkpoint': lambda h: checkpoint(torch.relu, h, use_reentrant=True),
    'checkpoint, not reentrant': lambda h: checkpoint(F.relu, h, use_reentrant=False),
    'torch.jit': scripted,
}


class Model(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.function = function

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def rows(number=40):
    return torch.rand(number, 6, generator=torch.Generator().manual_seed(number))


def error(model, snn, *call):
    with torch.no_grad():
        expected = model(*call)
    assert torch.allclose(simulate(snn, *call).output, snn(*call), atol=1e-4)
    return float((snn(*call) - expected).norm() / expected.norm())


@pytest.mark.filterwarnings('ignore:None of the inputs have requires_grad')
@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activations(name, tmp_path):
    torch.manual_seed(0)
    model, x = Model(ACTIVATIONS[name]).eval(), rows()
    snn = convert(model, x, FINE)
    steps = 2 if name == 'straight through' else 1  # It cuts off, and rounds.
    assert snn.report.num_activations == steps and snn.report.analog == {}
    assert error(model, snn, rows(23)) < 0.1
    save(snn, tmp_path / 'snn')
    assert torch.equal(load(tmp_path / 'snn', model)(x), snn(x))
    assert measure(snn, x, model).uncounted == []


@pytest.mark.parametrize(
    'function, match',
    [
        (lambda h: torch.sort(h)[0], r"'sort' \(sort\): it decides by the order"),
        (lambda h: h / (h.sum(1, True) + 20), r'it divides by a signal; spikes do so'),
        (scripted_rows, r"'scripted_rows' .*torch.jit hides its operations"),
    ],
)
def test_functions_that_stay_analog(function, match):
    torch.manual_seed(0)
    model, x = Model(function), rows()
    with pytest.raises(NotImplementedError, match=match + r'.*allow_analog=True'):
        convert(model, x, FINE)
    snn = convert(model, x, ConversionConfig(48, 1.15, allow_analog=True))
    assert len(snn.report.analog) > 0
    assert error(model, snn, x) < 0.3


def test_softmax_spikes_or_is_analog():
    torch.manual_seed(0)
    model, x = Model(lambda h: h.softmax(1)), rows()
    snn = convert(model, x, FINE)
    assert snn.report.analog == {} and error(model, snn, rows(23)) < 0.1
    with pytest.raises(NotImplementedError, match='it divides by a sum over features'):
        convert(model, x, replace(FINE, products='analog'))
    config = replace(FINE, products='analog', allow_analog=True)
    snn = convert(model, x, config)
    assert list(snn.report.analog) == ['softmax'] and error(model, snn, x) < 0.1


def test_functions_are_as_they_were_afterwards():
    convert(Model(kept), rows(), FINE)
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    kept(x, 3.0).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]
    assert 'apply' not in vars(torch.autograd.function._SingleLevelFunction)
    assert torch.equal(scripted(x), x.relu())


class Sparse(nn.Module):
    """A graph attention network's product with a sparse matrix."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.spmm = SparseProduct.apply

    def forward(self, x, edge_index, weight):
        h = self.first(x).relu()
        shape = torch.Size([x.size(0), x.size(0)])
        return self.last(self.spmm(edge_index, weight, shape, h))


def test_products_with_sparse_matrices():
    torch.manual_seed(0)
    edge_index = torch.randint(40, (2, 90))
    call = (rows(), edge_index, torch.rand(90))
    model = Sparse().eval()
    snn = convert(model, call, FINE)
    assert snn.report.num_activations == 1 and snn.report.analog == {}
    assert error(model, snn, *call) < 0.1
    assert measure(snn, call, model).uncounted == []


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = SAGEConv(4, 4)

    def forward(self, x, edge_index):
        return self.conv(x.relu(), edge_index)


class Reversible(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.block = GroupAddRev(Block(), num_groups=2)

    def forward(self, x, edge_index):
        return self.last(self.block(self.first(x), edge_index).relu())


@pytest.mark.parametrize('allow_analog', [False, True])
def test_reversible_blocks(allow_analog, tmp_path):
    torch.manual_seed(0)
    model, call = Reversible().eval(), (rows(), torch.randint(40, (2, 90)))
    config = ConversionConfig(48, 1.15, allow_analog=allow_analog)
    snn = convert(model, call, config)
    assert snn.report.num_activations == 3 and snn.report.analog == {}
    assert error(model, snn, *call) < 0.1
    assert not model.block.disable  # The argument is as it was.
    save(snn, tmp_path / 'snn')
    assert torch.equal(load(tmp_path / 'snn', model)(*call), snn(*call))


@torch.no_grad()
@pytest.mark.parametrize(
    'cast',
    [
        lambda h: h.to(float),
        lambda h: h * h.new_ones(h.size(0), 1, dtype=float),
        lambda h: h * torch.ones(h.size(0), 1, dtype=int),
        lambda h: h * (torch.arange(len(h)) % 2).to(bool)[:, None],
    ],
)
def test_types_of_python_are_types_of_numbers(cast, tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.b(cast(self.a(x).relu()))

    torch.manual_seed(0)
    model = Model().double().eval()
    snn = convert(model, torch.rand(20, 6).double())
    x = torch.rand(33, 6).double()
    assert float((snn(x) - model(x)).norm() / model(x).norm()) < 0.1
    save(snn, tmp_path / 'network')
    again = load(tmp_path / 'network', Model().double())
    assert torch.equal(again(x), snn(x))
