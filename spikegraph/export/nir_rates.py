"""A graph of integrate-and-fire neurons, run step by step as NIR defines its nodes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spikegraph.export.nir_nodes import import_nir
from spikegraph.export.segments import Segments


@torch.no_grad()
def rate_error(
    graph: Any, segments: Segments, num_steps: int, is_layered: bool
) -> dict[str, Any]:
    """How far the output of a graph of rates is from that of the spiking network, on
    the inputs that its segments hold.

    Args:
        graph (nir.NIRGraph): The graph.
        segments (Segments): The network.
        num_steps (int): How many steps are run.
        is_layered (bool): Whether the graph is about one sample, and rows are samples.

    Returns:
        Dict[str, Any]: ``relative_error``, ``agreement``, and ``num_samples``, the rows.
    """
    given = {}
    for name, each in segments.populations.items():
        if each.encodes:
            value = each.bias if is_layered else each.bias.flatten().unsqueeze(0)
            given[f'input_{name}'.replace('/', '_')] = value
    found = run_rates(graph, given, num_steps).view(segments.shapes['output'])
    expected = segments.output
    norm = float(expected.norm())
    rows, right = (v.reshape(-1, v.shape[-1]).argmax(-1) for v in (found, expected))
    return {
        'relative_error': float((found - expected).norm()) / max(norm, 1e-30),
        'agreement': float((rows == right).double().mean()),
        'num_samples': len(rows),
    }


def run_rates(graph: Any, inputs: dict[str, Tensor], num_steps: int) -> Tensor:
    """Runs steps of one second, and returns what the output is after the last.

    In a step, values pass through all nodes without memory, and those with one take an
    Euler step: an IF adds its current, and where it is above the threshold it fires and
    is set back; an LI leaks.

    Args:
        graph (nir.NIRGraph): A graph without cycles.
        inputs (Dict[str, torch.Tensor]): The current of each input :math:`(B, *)`.
        num_steps (int): The number of steps.
    """
    order = _in_order(graph)
    before: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        before[target].append(source)
    state: dict[str, Tensor] = {}
    values: dict[str, Tensor] = {}
    for _ in range(num_steps):
        for name in order:
            if name in inputs:
                values[name] = inputs[name]
                continue
            total = sum((values[n] for n in before[name][1:]), values[before[name][0]])
            values[name] = _step(graph.nodes[name], total, state, name)
    last = next(iter(graph.outputs))
    return values[last]


def _step(node: Any, x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    nir, kind = import_nir(), type(node).__name__

    def get(field: str) -> Tensor:
        return torch.as_tensor(getattr(node, field)).to(x)

    if kind in ('Linear', 'Affine'):
        bias = get('bias') if kind == 'Affine' else None
        return F.linear(x, get('weight'), bias)
    if kind in ('Conv1d', 'Conv2d'):
        options = {
            n: _size(getattr(node, n)) for n in ('stride', 'padding', 'dilation')
        }
        convolve: Any = F.conv1d if kind == 'Conv1d' else F.conv2d
        found: Tensor = convolve(x, get('weight'), get('bias'), **options)
        return found
    if kind == 'AvgPool2d':
        size = (_size(getattr(node, n)) for n in ('kernel_size', 'stride', 'padding'))
        return F.avg_pool2d(x, *size)
    if kind == 'Flatten':
        return x.flatten(1)
    if kind == 'Scale':
        return x * get('scale')
    if kind == 'LI':
        membrane = state.get(name, torch.zeros_like(x))
        drift = get('v_leak') - membrane + get('r') * x
        state[name] = membrane + drift / get('tau')
        return state[name]
    if kind == 'IF':
        membrane = state.get(name, torch.zeros_like(x)) + get('r') * x
        fires = membrane > get('v_threshold')
        state[name] = torch.where(fires, get('v_reset'), membrane)
        return fires.to(x)
    assert isinstance(node, nir.Output), kind
    return x


def _size(value: Any) -> Any:
    if isinstance(value, str):
        return value
    found = torch.as_tensor(value).flatten().tolist()
    return found[0] if len(found) == 1 else tuple(found)


def _in_order(graph: Any) -> list[str]:
    """The nodes, each behind all that it reads."""
    waiting = {name: 0 for name in graph.nodes}
    for _, target in graph.edges:
        waiting[target] += 1
    ready = [name for name, number in waiting.items() if number == 0]
    order: list[str] = []
    while ready:
        order.append(ready.pop(0))
        for source, target in graph.edges:
            if source == order[-1]:
                waiting[target] -= 1
                if waiting[target] == 0:
                    ready.append(target)
    return order
