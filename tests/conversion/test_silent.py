"""What used to give a wrong network without a word: it is right, or refused, on
every call.
"""

import copy
import functools
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from spikegraph import ConversionConfig, convert, load, save, simulate
from spikegraph.network.interpreter import AnalogReading

CONFIG = ConversionConfig(num_steps=8, compensate=None)
EDGES = torch.stack([torch.arange(39), torch.arange(1, 40)])
LOOPS = torch.cat([EDGES, torch.arange(9).repeat(2, 1)], dim=1)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@functools.lru_cache
def ones_of(number):
    return number * torch.ones(number)


class Asking(nn.Module):
    """Does something between two layers: ``ask(self, h, x)``."""

    def __init__(self, ask):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 3), nn.Linear(8, 8)
        self.mod23 = nn.Linear(8, 8)
        self.register_buffer('table', rand(8, 8))
        self.ask, self.count = ask, 0

    def forward(self, x):
        return self.b(F.relu(self.ask(self, self.a(x), x)))


class OnData(nn.Module):
    """Does something with PyG data: ``ask(self, h, data)``."""

    def __init__(self, ask):
        super().__init__()
        self.a, self.b, self.c = GCNConv(8, 8), nn.Linear(8, 3), nn.Linear(8, 8)
        self.ask = ask

    def forward(self, data):
        h = self.a(data.x, data.edge_index)
        return self.b(F.relu(self.ask(self, h, data)))


class OnContainer(Asking):
    """Does something with a list or a dictionary of inputs, or with two inputs."""

    def forward(self, d, more=None):
        x = d if isinstance(d, torch.Tensor) else d['x' if isinstance(d, dict) else 0]
        return self.b(F.relu(self.ask(self, self.a(x), d if more is None else more)))


class OnFirst(Asking):
    """Does something with the first of two inputs."""

    def forward(self, x, more):
        return self.b(F.relu(self.ask(self, self.a(x), x))) + more


class OnImages(nn.Module):
    """Does something with images: ``ask(self, h)``."""

    def __init__(self, ask):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
        self.ask = ask

    def forward(self, x):
        return self.b(self.ask(self, F.relu(self.a(x))).sum(dim=(2, 3)))


def rand(*size):
    return torch.rand(size, dtype=torch.float64)


def rows(number):
    return (rand(number, 8),)


def images(size):
    return (rand(4, 1, size, size),)


def data(edge_index=EDGES, **values):
    return (Data(x=rand(40, 8), edge_index=edge_index, **values),)


def in_chunks(self, h, x):
    parts = []
    for i in range((x.size(0) + 9) // 10):
        parts.append(self.c(h[i * 10 : (i + 1) * 10]))
    return torch.cat(parts)


def in_a_loop(self, h, x):
    number, got = x.size(0) % 2, []
    for part in ([1.0, 2.0], h):
        got.append(part[number])
    return h * got[0] + got[1]


def index_of_two(self, h, x):
    number = x.size(0) % 3
    return [self.c, self.a, self.c][number](h) + self.table.narrow(0, number, 1)


def as_key(self, h, x):
    known = {x.size(0): 2.0}
    return h * known.get(23, 1.0)


def matched(self, h, x):
    match tuple(x.shape):
        case (23, _):
            return self.c(h)
        case _:
            return h


def empty_part(self, h, x):
    h = h * 1.0
    part = h[40:]
    part += 5
    return h


def stale_constant(self, h, x):
    table = torch.zeros(8)
    first = h + table
    table += 1
    return first + h * table


def keyless(self, h, data):
    try:
        return h + data['w']
    except KeyError:
        return h


# Of each: what asks, and a call of the calibration and another one. 'right' and
# 'refused' say what becomes of the other one.
CASES = {
    # Sizes that were baked in.
    'chunks': (Asking, in_chunks, rows(40), rows(17), 'refused'),
    'same chunks': (Asking, in_chunks, rows(40), rows(38), 'right'),
    'branch on rows': (
        Asking,
        lambda s, h, x: s.c(h) if x.size(0) > 30 else h,
        *(rows(40), rows(20), 'refused'),
    ),
    'rows of the first input': (
        OnFirst,
        lambda s, h, x: h * len([row for row in x]),  # noqa: C416
        *((rand(40, 8), rand(3)), (rand(23, 8), rand(3)), 'refused'),
    ),
    'pairs with the first input': (
        OnFirst,
        lambda s, h, x: h * len(list(zip(x, range(30), strict=False))),
        *((rand(40, 8), rand(3)), (rand(23, 8), rand(3)), 'refused'),
    ),
    'same branch': (
        Asking,
        lambda s, h, x: s.c(h) if x.size(0) > 30 else h,
        *(rows(40), rows(31), 'right'),
    ),
    'area': (
        OnImages,
        lambda s, h: h / float(h.size(2) * h.size(3)),
        *(images(6), images(8), 'right'),
    ),
    'area as it is': (
        OnImages,
        lambda s, h: h / (h.size(2) * h.size(3)),
        *(images(6), images(8), 'right'),
    ),
    'pool of all': (
        OnImages,
        lambda s, h: F.avg_pool2d(h, int(h.size(2))),
        *(images(6), images(8), 'right'),
    ),
    'pool if large': (
        OnImages,
        lambda s, h: F.max_pool2d(h, 2) if h.size(2) > 4 else h,
        *(images(6), images(8), 'refused'),
    ),
    # Sizes as keys, as texts and as numbers of others.
    'set': (
        Asking,
        lambda s, h, x: s.c(h) if x.size(0) in {23} else h,
        *(rows(40), rows(23), 'refused'),
    ),
    'dictionary': (
        Asking,
        lambda s, h, x: h * {23: 2.0}.get(x.size(0), 1.0),
        *(rows(40), rows(23), 'refused'),
    ),
    'shape as key': (
        Asking,
        lambda s, h, x: s.c(h) if x.shape in {torch.Size((23, 8)): 1} else h,
        *(rows(40), rows(23), 'refused'),
    ),
    'as key': (Asking, as_key, rows(40), rows(23), 'refused'),
    'matched': (Asking, matched, rows(40), rows(23), 'refused'),
    'text': (
        Asking,
        lambda s, h, x: h * (2.0 if str(x.size(0)) == '23' else 1.0),
        *(rows(40), rows(23), 'refused'),
    ),
    'name': (
        Asking,
        lambda s, h, x: getattr(s, f'mod{x.size(0)}', s.c)(h),
        *(rows(40), rows(23), 'refused'),
    ),
    'lru_cache': (
        Asking,
        lambda s, h, x: h * ones_of(x.size(0))[:, None],
        *(rows(40), rows(23), 'refused'),
    ),
    'numpy': (
        Asking,
        lambda s, h, x: h * float(np.sqrt(x.size(0)) + np.prod(x.shape)),
        *(rows(40), rows(23), 'refused'),
    ),
    'in a loop': (Asking, in_a_loop, rows(40), rows(41), 'refused'),
    'index of two': (Asking, index_of_two, rows(40), rows(41), 'refused'),
    # Metadata that depends on sizes, on types and on memory.
    'squeeze': (
        Asking,
        lambda s, h, x: s.c(h) if h.squeeze().dim() == 1 else h,
        *(rows(40), rows(1), 'refused'),
    ),
    'contiguous': (
        Asking,
        lambda s, h, x: h if x.is_contiguous() else s.c(h),
        *(rows(40), (rand(8, 40).t(),), 'refused'),
    ),
    'copy or not': (
        Asking,
        lambda s, h, x: x.contiguous().add_(1) + h + x,
        *(rows(40), (rand(8, 40).t(),), 'refused'),
    ),
    'stride': (
        Asking,
        lambda s, h, x: h / h.relu().stride(0) + h.t().contiguous().stride()[0],
        *(rows(40), rows(23), 'right'),
    ),
    'stride of a part': (
        Asking,
        lambda s, h, x: h / h[::2].stride(0) + h[:, ::2].stride(1),
        *(rows(40), rows(23), 'refused'),
    ),
    'stride of an input': (
        Asking,
        lambda s, h, x: h / x.stride(0),
        *(rows(40), (rand(8, 40).t(),), 'refused'),
    ),
    'order': (
        Asking,
        lambda s, h, x: h if x.dim_order() == (0, 1) else s.c(h),
        *(rows(40), (rand(8, 40).t(),), 'refused'),
    ),
    'offset': (
        Asking,
        lambda s, h, x: h + x.storage_offset(),
        *(rows(40), (rand(41, 8)[1:],), 'refused'),
    ),
    'offset of a part': (
        Asking,
        lambda s, h, x: h + h[h.size(0) // 2 :].storage_offset(),
        *(rows(40), rows(23), 'refused'),
    ),
    'bytes': (
        Asking,
        lambda s, h, x: h / (h.nbytes + h.element_size() + h.itemsize),
        *(rows(40), rows(23), 'right'),
    ),
    'same size': (
        Asking,
        lambda s, h, x: h if x.is_same_size(s.table) else s.c(h),
        *(rows(40), rows(8), 'refused'),
    ),
    'numbers': (
        OnContainer,
        lambda s, h, m: h * 2 if m.is_floating_point() else h,
        *((rand(40, 8), rand(40, 1)),),
        *((rand(40, 8), torch.ones(40, 1, dtype=torch.long)), 'refused'),
    ),
    'signed': (
        OnContainer,
        lambda s, h, m: h * 2 if m.dtype.is_signed else h,
        *((rand(40, 8), torch.ones(40, 1, dtype=torch.long)),),
        *((rand(40, 8), torch.ones(40, 1, dtype=torch.bool)), 'refused'),
    ),
    # What is written in place, under another name.
    'empty part': (Asking, empty_part, rows(40), rows(60), 'right'),
    'constant': (Asking, stale_constant, rows(40), rows(23), 'right'),
    # What else is in the arguments.
    'loops': (
        OnData,
        lambda s, h, d: s.c(h) if d.has_self_loops() else h,
        *(data(), data(LOOPS), 'refused'),
    ),
    'flag': (
        OnData,
        lambda s, h, d: s.c(h) if d.flag else h,
        *(data(flag=True), data(flag=False), 'refused'),
    ),
    'kind': (
        OnData,
        lambda s, h, d: s.c(h) if d['kind'] == 'a' else h,
        *(data(kind='a'), data(kind='b'), 'refused'),
    ),
    'missing key': (OnData, keyless, data(), data(w=rand(40, 8)), 'refused'),
    'keys': (
        OnData,
        lambda s, h, d: s.c(h) if 'w' in d.keys() else h,  # noqa: SIM118
        *(data(), data(w=rand(40, 8)), 'refused'),
    ),
    'length': (
        OnData,
        lambda s, h, d: s.c(h) if len(d) > 2 else h,
        *(data(), data(w=rand(40, 8)), 'refused'),
    ),
    'switch in a dictionary': (
        OnContainer,
        lambda s, h, d: s.c(h) if d['flag'] else h,
        *(({'x': rand(40, 8), 'flag': True},),),
        *(({'x': rand(40, 8), 'flag': False},), 'refused'),
    ),
    'nothing in a list': (
        OnContainer,
        lambda s, h, d: h if d[1] is None else s.c(h),
        *(([rand(40, 8), None],),),
        *(([rand(40, 8), rand(40, 8)],), 'refused'),
    ),
}


@pytest.mark.parametrize('name', CASES)
@torch.no_grad()
def test_other_calls_are_right_or_refused(name, tmp_path):
    kind, ask, calibration, other, what = CASES[name]
    model = kind(ask).eval()
    network = convert(model, copy.deepcopy(calibration), CONFIG)
    save(network, tmp_path / 'network')
    networks = [network, load(tmp_path / 'network', model), copy.deepcopy(network)]
    for snn in networks:
        found = AnalogReading(snn.network).run(snn.bind(*copy.deepcopy(calibration)))
        expected = model(*copy.deepcopy(calibration))
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
        if what == 'refused':
            for run in (snn, snn.spikes, functools.partial(simulate, snn)):
                with pytest.raises(ValueError, match=r'Expected .*\(got '):
                    run(*copy.deepcopy(other))
        else:
            found = AnalogReading(snn.network).run(snn.bind(*copy.deepcopy(other)))
            expected = model(*copy.deepcopy(other))
            assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


class Branch(nn.Module):
    """Of a class that pickle finds."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 3), nn.Linear(8, 8)

    def forward(self, x):
        h = self.a(x).relu()
        if x.size(0) > 30:  # Large.
            h = self.c(h).relu()
        return self.b(h)


def test_guards_survive_pickling_and_say_where():
    snn = pickle.loads(pickle.dumps(convert(Branch(), rows(40), CONFIG)))
    match = (
        r'answer of True, as with the calibration data \(got False\).*test_silent.py, '
        r"line \d+: 'if x.size\(0\) > 30:  # Large.'.*convert again"
    )
    with pytest.raises(ValueError, match=match):
        snn(*rows(20))


def test_questions_about_shared_memory_are_asked_again():
    snn = convert(Asking(lambda s, h, x: s.c(h) if x.is_shared() else h), rows(40))
    assert snn(*rows(23)).shape == (23, 3)
    with pytest.raises(ValueError, match=r'in shared memory: False.*\(got True\)'):
        snn(rand(40, 8).share_memory_())


def views_of_a_constant(self, h, x):
    out = torch.zeros(4, 8)
    for row, value in zip(out, h[:4], strict=True):
        row.copy_(value)
    return h + out.sum(0)


def view_made_before(self, h, x):
    out = torch.zeros(4, 8)
    first = out[0]
    out[0] = h[0]
    return h + first


def array_of_a_constant(self, h, x):
    array = np.zeros((4, 8))
    torch.from_numpy(array)[0] = h[0]
    return h + torch.from_numpy(array)[0]


def counted(self, h, x):
    self.count += 1
    return h if self.count % 2 else self.c(h)


def counted_in_a_buffer(self, h, x):
    self.table += 1
    return h + self.table[0]


def decaying_weight(self, h, x):
    self.c.weight.data.mul_(0.9)
    return self.c(h)


def kept_features(self, h, x):
    self.kept = getattr(self, 'kept', [])
    self.kept.append(h)
    return h + self.kept[0].mean(0)


def tried(self, h, x):
    try:
        return self.c(h.view(7, -1, 8)).view(-1, 8)
    except RuntimeError:
        return h


def tried_to_ask(self, h, x):
    try:
        return self.c(h) if h.sum() > 0 else h
    except Exception:
        return h


def merged(self, h, data):
    return h + data.coalesce().edge_index.size(1)


REFUSALS = {
    'views of a constant': (views_of_a_constant, 'shares its memory'),
    'view made before': (view_made_before, 'shares its memory'),
    'array of a constant': (array_of_a_constant, 'shares its memory'),
    'counted': (counted, 'stateful'),
    'counted in a buffer': (counted_in_a_buffer, 'stateful'),
    'decaying weight': (decaying_weight, "'c.weight': the model writes to it"),
    'random': (lambda s, h, x: h + rand(8), 'random'),
    'dropout': (lambda s, h, x: F.dropout(h, 0.5, True), 'to be off in evaluation'),
    'tried': (tried, r'after an error.*invalid for input.*test_silent.py, line'),
    'tried to ask': (tried_to_ask, 'after an error.*value of'),
    'address': (lambda s, h, x: h / (h.data_ptr() % 7 + 1), "'data_ptr'.*in memory"),
    'storage': (lambda s, h, x: h / h.untyped_storage().nbytes(), 'in memory'),
}


@pytest.mark.parametrize('name', REFUSALS)
def test_what_no_call_can_guard_is_refused(name):
    ask, match = REFUSALS[name]
    with pytest.raises((NotImplementedError, ValueError), match=match):
        convert(Asking(ask), rows(40), CONFIG)


def test_data_that_are_computed_are_refused():
    with pytest.raises(NotImplementedError, match=r'data.coalesce\(\).*test_silent.py'):
        convert(OnData(merged), data(), CONFIG)


def test_values_of_another_conversion_are_refused():
    kept = []

    def keep(self, h, x):
        kept.append(h)
        return h + kept[0].mean(0)

    model = Asking(keep)
    with pytest.raises(NotImplementedError, match='keeps values of other calls'):
        for _ in range(2):
            convert(model, rows(40), CONFIG)
