"""Random networks that edit, share, tie, write and ask: Python code that is drawn
from a seed, one line for each step, and calls of several sizes.
"""

from __future__ import annotations

import linecache
import math
import random

import numpy as np
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
from torch import nn
from torch_geometric.data import Data

WIDTH, NUM_FEATURES, NUM_CLASSES = 8, 6, 3
SIZES = (12, 12, 17, 9, 24)  # Of graphs; calibrated on the first one.
IMAGES = (6, 6, 8, 10)

# What a step may do to ``h``, of width 8; {k} is a number, {l} a layer, {o} an
# earlier value, {t} a threshold of sizes.
LAYERS = [
    'h = self.{l}(h)',
    'h = F.linear(h, self.{l}.weight, self.{l}.bias)',
    'h = F.linear(h, self.{l}.weight.t())',
    'h = h @ self.{l}.weight',
    'h = h @ self.{l}.weight.T + self.tied',
    'h = torch.addmm(self.tied, h, self.free)',
    'h = [self.{l}, self.lin0, self.{l}][len(self.many) - 2](h)',
    'h = self.many[{k} % len(self.many)](h)',
    'for layer in self.many[:2]:\n    h = layer(h) + 0.1 * h',
    'h = self.norm(h)',
    'h = self.twice(h)',
    'h = self.run(self.{l}, h)',
]
GRAPHS = [
    'h = self.gcn(h, edge_index)',
    'h = self.sage(h, edge_index)',
    'h = self.gin(h, edge_index)',
    'h = self.same(h, edge_index)',
    'h = adj @ h',
    'h = torch.spmm(adj, self.{l}(h))',
    'h = torch.zeros_like(h).index_add_(0, edge_index[1], h[edge_index[0]])',
    'h = h + 0.2 * torch.zeros(n, 8).index_add(0, edge_index[1], h[edge_index[0]])',
]
ACTIVATIONS = [
    'h = F.relu(h)',
    'h = h.relu()',
    'h = torch.relu(h)',
    'h = self.act(h)',
    'h = self.in_place(h)',
    'h = F.relu(h, inplace=True)',
    'h = (h + 0.1).relu_()',
    'h = F.leaky_relu(h, 0.2)',
    'h = h.clamp(min=0)',
    'a, b = h.chunk(2, 1)\na.relu_()\nh = torch.cat([b, a], 1)',
    'h = self.act(self.act(h) - 0.1)',
]
SHAPES = [
    'h = h + {o}',
    'h = {o} - 0.5 * h',
    'h = self.merge(torch.cat([h, {o}], dim=1))',
    'h = torch.maximum(h, {o})',
    'h = torch.stack([h, {o}]).amax(dim=0)',
    'h = h.flip(1)',
    'h = h[:, self.order]',
    'h = h.view(n, 2, 4).transpose(1, 2).reshape(n, 8)',
    'h = torch.cat([h[:, 4:], h[:, :4]], dim=-1)',
    'h = h * self.gains',
    'h = h * self.learned + 0.1',
    'h = 0.5 * h + self.shift[0]',
]
WRITES = [
    'h = h * 1.0\nh[:, :{k}] += 1',
    'h = h * 1.0\nh[:, {k}] = 0',
    'h = h * 1.0\nh[mask] = 0',
    'h = h.clone()\nh.view(n, 2, 4)[:, 0].add_(0.3)',
    'h = h + 0\npart = h[:, 2:6]\nmore = part[:, 1:]\nmore.mul_(0.5)\npart -= 0.2',
    'h = h + 0\na, b = h.chunk(2, dim=1)\na.relu_()\nb += 0.1 * a.detach()',
    'h = h + 0\nrow = h[{t}:]\nrow += 2.0',
    'h = h + 0\nh[{t}:] *= 0.5',
    'out = torch.zeros(n, 8)\nout[:, :4] = h[:, 4:]\nout[:, 4:] = {o}[:, :4]\nh = out',
    'out = torch.zeros(2, n, 8)\nout[0] = h\nout[1] = {o}\nh = out.sum(0)',
    'out = h.new_zeros(n, 8)\nout[mask] = h[mask]\nh = out + 0.5 * h',
    'out = torch.zeros_like(h)\nout.copy_(h)\nh += 1\nh = h - out + {o}',
    'g = h.t()\nh = h * 1\ng = h.t()\ng += 0.25\nh = h + g.t()',
    'bank = torch.zeros(2, 8)\nbank[0] = self.shift[0]\nh = h + bank[0]\nbank += 1\n'
    'h = h - bank[1]',
    'h = h + 0\nflat = h.reshape(-1)\nflat *= 0.5\nh = h + 0.1',
    'h = h + 0\nsame = h.contiguous()\nsame += 0.5',
    'h = h + 0\nother = h.detach()\nother.sub_(0.1)',
    'bank = torch.zeros(2, 8)\nfirst = bank[0]\nbank[0] = h[0]\nh = h + first',
    'bank = torch.zeros(2, 8)\nfor row, v in zip(bank, h[:2]):\n    row.copy_(v)\n'
    'h = h + bank[1]',
]
QUESTIONS = [
    'if n > {t}:\n    h = self.{l}(h)',
    'h = h if x.shape[0] <= {t} else h * 0.5',
    'for i in range((n + 7) // 8):\n    h = h + 0.1 * i',
    'h = torch.cat([self.{l}(h[i * 8 : i * 8 + 8]) for i in range((n + 7) // 8)])',
    'h = h * (len(h) / 12)',
    'h = h / float(n)  * 12',
    'h = h * {{{t}: 2.0}}.get(n, 1.0)',
    'if n in {{17, {t}}}:\n    h = h - 1',
    "h = h * (2.0 if str(n) == '{t}' else 1.0)",
    "h = getattr(self, f'lin{{n - {t}}}', self.{l})(h)",
    'h = h + [0.1, 0.2, 0.3][n % 3]',
    'h = h * (2 if (n, 8) == ({t}, h.size(1)) else 1)',
    'h = h + self.shift.narrow(0, n % 2, 1)',
    'h = h * sorted([n, {t}])[0] / 10',
    'h = h * (edge_index.size(1) // n)',
    'h = h + torch.arange(n).view(-1, 1) / n',
    'h = h + torch.linspace(0, 1, n)[:, None]',
    'h = h * torch.tensor([n, 8.0]).mean() / 10',
    'if mask.any():\n    h = h + 0.5',
    'if int(mask.sum()) > {k}:\n    h = -h',
    'h = h * (int(batch.max()) + 1)',
    'if h.dim() == 2 and h.size(-1) == 8:\n    h = h + 0.1',
    'if h.squeeze().dim() == 1:\n    h = h + 1',
    'try:\n    h = h.view({t}, -1, 8).flip(0).reshape(-1, 8)\n'
    'except RuntimeError:\n    h = h + 1',
    'assert n > 2 and h.dtype == x.dtype',
    'if h.is_sparse or not h.is_floating_point():\n    h = h.to_dense()',
    'if mask.dtype == torch.bool:\n    h = h + 0.2',
    'if batch.is_floating_point():\n    h = h * 2',
    'if x.is_contiguous():\n    h = h + 0.3',
    'h = h * min(n, {t}) / max(n, {t})',
    'while h.size(0) < {t}:\n    h = torch.cat([h, h])\nh = h[:n]',
    'h = h * math.sqrt(n / 12)',
    'if isinstance(n, int) and isinstance(h, torch.Tensor):\n    h = h + 0.1',
    'h = h * float(np.prod(x.shape)) / 72',
    'sizes = [v.size(0) for v in (h, x)]\nh = h * (sizes[0] == sizes[1])',
]
DATA = [
    "if 'mask' in data:\n    h = h + 0.1",
    'if data.train:\n    h = h + 0.2',
    'if data.has_self_loops():\n    h = h * 0.5',
    'h = h * (data.num_nodes / 12)',
    "h = h + 0.1 * len(data)\nif data['kind'] == 'a':\n    h = h + 1",
    'try:\n    h = h + data["weight"]\nexcept KeyError:\n    pass',
    'if getattr(data, "weight", None) is not None:\n    h = h * 2',
]
STATES = [
    'self.count += 1\nh = h * (1 + self.count % 2)',
    'self.shift += 1\nh = h + self.shift[0]',
    'self.store.append(h)\nh = h + self.store[0] * 0.1',
    'h = h + torch.rand(8)',
    'h = F.dropout(h, 0.5, self.training)',
    'self.last = h',
    'self.free.data.mul_(0.9)\nh = h @ self.free',
]
MEETINGS = [
    'h = h * {o}',
    'h = h * torch.sigmoid(self.{l}(h))',
    'h = torch.tanh(h) * {o} + h',
    'z = torch.sigmoid(self.{l}(h))\nh = (1 - z) * h + z * {o}',
    'h = h.pow(2) - 0.5',
    'h = h - h.abs()',
    'h = self.layer_norm(h)',
    'h = F.layer_norm(h, (8,)) + {o}',
    'h = h / (1 + h.abs())',
    'h = h / (h * h).sum(-1, keepdim=True).add(0.1).sqrt()',
    'h = F.normalize(h + 0.5, dim=-1)',
    'h = h * torch.softmax(self.{l}(h), dim=-1)',
    'h = torch.softmax(self.{l}(h) @ h.t() / 3, dim=-1) @ h',
    'h = self.gat(h, edge_index)',
    'h = self.transformer(h, edge_index)',
    'a = (h[edge_index[0]] * {o}[edge_index[1]]).sum(-1, keepdim=True)\n'
    'h = h + torch.zeros_like(h).index_add_(0, edge_index[1], '
    'torch.sigmoid(a) * h[edge_index[0]])',
    'h = F.glu(torch.cat([h, {o}], dim=-1))',
    'h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 0.1).sqrt()',
    'h = torch.exp(-h.relu()) * {o}',
    'h = h * h.mean(dim=-1, keepdim=True)',
    'h = F.scaled_dot_product_attention(h, {o}, self.{l}(h))',
]
OPERATIONS = [
    *(('layer', 4, LAYERS), ('graph', 3, GRAPHS), ('activation', 4, ACTIVATIONS)),
    *(('shape', 3, SHAPES), ('write', 3, WRITES), ('question', 2, QUESTIONS)),
    *(('data', 0.6, DATA), ('state', 0.15, STATES)),
    ('meeting', 2, MEETINGS),
]
HEADS = {
    'tensors': ('x, edge_index, adj, mask, batch', ''),
    'tuple': (
        'inputs, adj',
        'x, edge_index, mask, batch = inputs\n',
    ),
    'dict': (
        'inputs, adj',
        "x, edge_index = inputs['x'], inputs['edge_index']\n"
        "mask, batch = inputs['mask'], inputs['batch']\n",
    ),
    'data': (
        'data, adj',
        'x, edge_index, mask, batch = data.x, data.edge_index, data.mask, data.batch\n',
    ),
}
ENDS = [
    'return self.out(h)',
    'return F.log_softmax(self.out(h), dim=1)',
    'return self.out(pyg_nn.global_mean_pool(h, batch))',
    'return self.out(pyg_nn.global_max_pool(h, batch))',
    'return self.out(h) + F.linear(h, self.out.weight)',
]
STEPS_OF_IMAGES = [
    'h = self.conv(h)',
    'h = F.relu(h)',
    'h = self.in_place(h)',
    'h = self.pool(h)',
    'h = F.conv2d(h, self.conv.weight, padding=1)',
    'h = self.norm2(h)',
    'if h.size(2) > {t}:\n    h = F.max_pool2d(h, 2)',
    'h = h * float(h.size(2) * h.size(3)) / 36',
    'h = h + 0\nh[:, :2] += 1',
    'h = h + 0\nh[:, :, {k}:] = 0',
    'h = F.interpolate(h, size=h.shape[2:])',
    'h = h + F.avg_pool2d(h, int(h.size(2)))',
    'h = h + self.conv(h).relu()',
    'h = torch.cat([h[:, 2:], h[:, :2]], dim=1)',
]
IMAGE_END = 'return self.out2(h.mean(dim=(2, 3)))'


class RandomNetwork(nn.Module):
    """Holds the layers; its forward is drawn."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.inp = nn.Linear(NUM_FEATURES, WIDTH)
        self.lin0, self.lin1 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.lin2 = self.lin0  # Another name.
        self.lin3 = nn.Linear(WIDTH, WIDTH)
        self.lin3.weight = self.lin1.weight  # Tied.
        self.many = nn.ModuleList([self.lin1, nn.Linear(WIDTH, WIDTH), self.lin1])
        self.twice = nn.Sequential(self.lin0, nn.ReLU(), self.lin0)
        self.merge, self.out = nn.Linear(16, WIDTH), nn.Linear(WIDTH, NUM_CLASSES)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.act, self.in_place = nn.ReLU(), nn.ReLU(inplace=True)
        self.gcn, self.sage = pyg_nn.GCNConv(8, 8), pyg_nn.SAGEConv(8, 8)
        self.same, self.gin = self.gcn, pyg_nn.GINConv(self.twice)
        self.layer_norm = nn.LayerNorm(WIDTH)
        self.gat = pyg_nn.GATConv(WIDTH, 4, heads=2)
        self.transformer = pyg_nn.TransformerConv(WIDTH, 4, heads=2)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.pool, self.out2 = nn.MaxPool2d(2, ceil_mode=True), nn.Linear(4, 3)
        self.norm2 = nn.BatchNorm2d(4)
        self.tied = self.lin0.bias
        self.free = nn.Parameter(torch.randn(WIDTH, WIDTH) / 3)
        self.learned = nn.Parameter(torch.rand(WIDTH))
        self.register_buffer('order', torch.randperm(WIDTH))
        self.register_buffer('gains', torch.rand(WIDTH) + 0.5)
        self.register_buffer('shift', torch.rand(2, WIDTH))
        self.count, self.store, self.last = 0, [], None
        for norm in (self.norm, self.norm2):
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.running_mean, -0.3, 0.3)
        self.eval()

    def run(self, layer: nn.Module, h: torch.Tensor, depth: int = 2) -> torch.Tensor:
        """By recursion."""
        return h if depth == 0 else self.run(layer, 0.5 * layer(h), depth - 1)


def draw(seed: int) -> tuple[nn.Module, list[tuple[object, ...]], str]:
    """A network, calls of it, and its code; it is calibrated on the first call."""
    dice = random.Random(seed)
    form = dice.choice([*HEADS, 'image'])
    if form == 'image':
        code, calls = _draw_images(dice), [(_image(s),) for s in IMAGES]
    else:
        code = _draw_graphs(dice, form)
        calls = [_call(form, size, i, dice) for i, size in enumerate(SIZES)]
    return build(code, seed), calls, code


def build(code: str, seed: int = 0) -> nn.Module:
    """The network with a forward of this code."""
    file = f'<random network {seed}>'
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)
    places: dict[str, object] = {'torch': torch, 'F': F, 'pyg_nn': pyg_nn}
    places.update(__name__='random_network', math=math, np=np)
    exec(compile(code, file, 'exec'), places)
    kind = type('Network', (RandomNetwork,), {'forward': places['forward']})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return kind(seed)
    finally:
        torch.set_default_dtype(before)


def _draw_graphs(dice: random.Random, form: str) -> str:
    names, start = HEADS[form]
    lines = f'{start}n = x.size(0)\nh = self.inp(x)\nv0 = h * 1.0\n'
    earlier = 1
    kinds = [k for k in OPERATIONS if form == 'data' or k[0] != 'data']
    for _ in range(dice.randint(3, 8)):
        _, _, steps = dice.choices(kinds, [weight for _, weight, _ in kinds])[0]
        step = dice.choice(steps).format(
            k=dice.randint(1, 6),
            l=dice.choice(['lin0', 'lin1', 'lin2', 'lin3']),
            o=f'v{dice.randrange(earlier)}',
            t=dice.choice([9, 10, 12, 14, 17, 20]),
        )
        lines += step + '\n'
        if dice.random() < 0.3:
            lines += (
                f'v{earlier} = {dice.choice(["h * 1.0", "h.clone()", "h + 0.1"])}\n'
            )
            earlier += 1
    return _function(names, lines + 'h = h.relu()\n' + dice.choice(ENDS))


def _draw_images(dice: random.Random) -> str:
    lines = 'h = self.first(x).relu()\n'
    for _ in range(dice.randint(2, 6)):
        step = dice.choice(STEPS_OF_IMAGES)
        lines += step.format(k=dice.randint(1, 4), t=dice.choice([4, 6, 7])) + '\n'
    return _function('x', lines + 'h = h.relu()\n' + IMAGE_END)


def _function(names: str, lines: str) -> str:
    body = ''.join(f'    {line}\n' for line in lines.splitlines())
    return f'def forward(self, {names}):\n{body}'


def _image(size: int) -> torch.Tensor:
    return torch.rand(3, 1, size, size, dtype=torch.float64)


def _call(form: str, size: int, number: int, dice: random.Random) -> tuple[object, ...]:
    x = torch.rand(size, NUM_FEATURES, dtype=torch.float64)
    if number == 3:  # Another order in memory.
        x = x.t().contiguous().t()
    edge_index = torch.randint(size - 1, (2, 3 * size))
    if number < 2 or dice.random() < 0.5:
        edge_index[1] = (edge_index[0] + 1 + edge_index[1] % (size - 2)) % (size - 1)
    adj = torch.zeros(size, size, dtype=torch.float64)
    adj[edge_index[1], edge_index[0]] = 1 / 3
    mask = torch.rand(size) < (0.3 if number != 2 else 0)
    batch = torch.arange(size) // 6
    if form == 'tensors':
        return x, edge_index, adj, mask, batch
    if form == 'tuple':
        return (x, edge_index, mask, batch), adj
    values = dict(x=x, edge_index=edge_index, mask=mask, batch=batch)
    if form == 'dict':
        return values, adj
    more = dict(train=number < 3, kind='a' if number < 4 else 'b')
    if number == 4:
        more['weight'] = torch.rand(size, 1, dtype=torch.float64)
    return Data(**values, **more), adj
