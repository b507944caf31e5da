"""What functions without a rule compute, found out by calling them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikegraph.conversion.operations.activations import Activation
from spikegraph.conversion.operations.affinity import as_double, mixes
from spikegraph.conversion.passes.products import shape_of
from spikegraph.conversion.tracing.proxies import map_values
from spikegraph.network.interpreter import run_node
from spikegraph.network.naming import is_input
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Formula

_SPREADS = (1.0, 4e4)  # Of probes: wide ones reach far bounds.
_MAX_STEPS = 24  # Operations in a formula.
_LEAST_VALUES = 8  # A function of fewer values is a step, and tells too little.

Moving = Callable[[Any], list[fx.Node]]


@torch.no_grad()
def is_affine_function(node: fx.Node, moving: Moving) -> bool:
    r"""Whether a function is affine in the signals among its arguments, the others
    as they are on the calibration data:

    .. math::
        f(\lambda x + (1 - \lambda) y) = \lambda f(x) + (1 - \lambda) f(y)

    Args:
        node (torch.fx.Node): The call, with the arguments of the first calibration
            call as :obj:`node.meta['sample']`.
        moving (Callable): Finds the signals in an argument.
    """
    if 'sample' not in node.meta:
        return False
    signals = set(moving((node.args, node.kwargs)))

    def run(values: list[Tensor]) -> list[Any]:
        drawn = iter(values)
        args, kwargs = _arguments(node, signals, lambda _: next(drawn))
        return _outputs(node, args, kwargs)

    like: list[Tensor] = []
    try:
        _arguments(node, signals, like.append)
        return mixes(run, like, [1.0] * len(like), _SPREADS)
    except Exception:  # Whatever a function says of such numbers.
        return False


def _arguments(
    node: fx.Node, signals: set[fx.Node], draw: Callable[[Tensor], Any]
) -> tuple[Any, Any]:
    """The arguments of a call, signals drawn and all else in float64."""

    def fill(given: Any, sample: Any) -> Any:
        if isinstance(given, fx.Node):
            if given in signals:
                if not isinstance(sample, Tensor) or not sample.is_floating_point():
                    raise TypeError('only numbers are drawn')
                return draw(sample)
            return as_double(sample)
        if isinstance(given, (tuple, list)):
            return type(sample)(fill(g, s) for g, s in zip(given, sample, strict=True))
        if isinstance(given, dict):
            return {key: fill(value, sample[key]) for key, value in given.items()}
        return as_double(sample)

    args, kwargs = node.meta['sample']
    return fill(tuple(node.args), args), fill(dict(node.kwargs), kwargs)


def _outputs(node: fx.Node, args: Any, kwargs: Any) -> list[Any]:
    if node.op == 'call_method':
        out = getattr(args[0], str(node.target))(*args[1:], **kwargs)
    else:
        out = node.target(*args, **kwargs)  # type: ignore[operator]
    return pytree.tree_leaves(out)


@torch.no_grad()
def find_formula(
    network: fx.GraphModule,
    node: fx.Node,
    moving: Moving,
    beyond: Collection[fx.Node] = (),
) -> tuple[Activation, fx.Node] | None:
    """The activation that a few operations make together of one signal, and that
    signal: such as ``torch.where(h > 0, h, 0)``, ``h * torch.sigmoid(1.7 * h)``, or a
    single function without a rule. It has to act on each value alone, and to never
    fall, or to fall to its one minimum, all below zero, and then rise.

    Args:
        network (torch.fx.GraphModule): The network.
        node (torch.fx.Node): The last of the operations.
        moving (Callable): Finds the signals in an argument.
        beyond (Collection[torch.fx.Node], optional): What the signal must not be.
            (default: :obj:`()`)
    """
    order = {n: i for i, n in enumerate(network.graph.nodes)}
    front = set(moving((node.args, node.kwargs)))
    for _ in range(_MAX_STEPS):
        if not front:
            return None
        if len(front) == 1 and not front & set(beyond):
            source = next(iter(front))
            activation = None
            if shape_of(source) is not None and shape_of(source) == shape_of(node):
                activation = _activation(network, node, source)
            if activation is not None:
                return activation, source
        latest = max(front, key=order.__getitem__)
        before = set(moving((latest.args, latest.kwargs)))
        if not before:
            return None
        front = front - {latest} | before
    return None


def _activation(
    network: fx.GraphModule, node: fx.Node, source: fx.Node
) -> Activation | None:
    """What the operations from a signal to a node are, as an activation."""
    try:
        function = _subgraph(network, node, source)
        if function is None:
            return None
        return _classify(function)
    except Exception:  # Whatever a function says of a vector of numbers.
        return None


def _subgraph(
    network: fx.GraphModule, node: fx.Node, source: fx.Node
) -> fx.GraphModule | None:
    """The operations from a signal to a node as a module of one argument."""
    root, graph = nn.Module(), fx.Graph()
    done: dict[fx.Node, Any] = {source: graph.placeholder('x')}

    def copy(n: fx.Node) -> Any:
        if n in done:
            return done[n]
        if n.op == 'placeholder':
            raise ValueError('another input takes part')
        if n.op == 'get_attr':
            value = run_node(network, n, {})
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise ValueError('values differ from place to place')
            name = f'value_{len(done)}'
            root.register_buffer(name, value.detach().clone())
            done[n] = graph.get_attr(name)
            return done[n]
        for before in n.all_input_nodes:
            copy(before)
        if n.op == 'call_module':
            done[n] = _call(network, n, root, graph, done)
        else:
            done[n] = graph.node_copy(n, done.__getitem__)
        return done[n]

    graph.output(copy(node))
    return fx.GraphModule(root, graph)


def _call(
    network: fx.GraphModule,
    n: fx.Node,
    root: nn.Module,
    graph: fx.Graph,
    done: dict[fx.Node, Any],
) -> Any:
    """The activation of a population that is there already."""
    module = network.get_submodule(str(n.target))
    if not isinstance(module, PhaseNeuron) or len(n.args) != 1:
        raise ValueError('a layer takes part')
    x = done[n.all_input_nodes[0]]
    if is_input(n):
        raise ValueError('an input takes part')
    if module.activation == 'identity':
        return x
    if module.activation == 'relu':
        return graph.call_function(torch.relu, (x,))
    name = f'part_{len(done)}'
    root.add_module(name, module.activation)
    return graph.call_module(name, (x,))


def _classify(function: fx.GraphModule) -> Activation | None:
    near = torch.linspace(-30, 30, 12001, dtype=torch.float64)
    far = torch.logspace(1.5, 4, 200, dtype=torch.float64)
    tiny = torch.logspace(-9, -2, 200, dtype=torch.float64)
    grid = torch.cat([-far, -tiny, near, tiny, far]).unique()
    double = function.double()
    y = double.forward(grid)  # A call would print what goes wrong.
    if not isinstance(y, Tensor) or y.shape != grid.shape:
        return None
    if not y.is_floating_point() or not bool(y.isfinite().all()):
        return None
    if y.unique().numel() < _LEAST_VALUES or not _is_elementwise(double, grid, y):
        return None
    size = 1e-12 * (1 + y.abs())
    rises = (y[1:] - y[:-1]) >= -size[1:]
    if bool(rises.all()):
        if torch.allclose(y, F.relu(grid), rtol=1e-12, atol=1e-12):
            return 'relu'
        return Formula(function)
    k = int(y.argmin())
    falls = (y[1:] - y[:-1]) <= size[1:]
    is_valley = bool(falls[:k].all()) and bool(rises[k:].all())
    if is_valley and 0 < k < len(grid) - 1 and bool((y[:k] <= size[:k]).all()):
        return Formula(function, (float(grid[k - 1]), float(grid[k + 1])))
    return None


def _is_elementwise(function: fx.GraphModule, x: Tensor, y: Tensor) -> bool:
    """Whether each value is made of the one in its place, wherever that is."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    some = order[: len(x) // 3]
    square = function.forward(x[:12100].view(110, 110))
    pairs = [
        (function.forward(x[order]), y[order]),
        (function.forward(x[some]), y[some]),
        (square, y[:12100].view(110, 110)),
    ]
    # To rounding: the last numbers of a vector are computed by other instructions.
    return all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in pairs)


def keep_sample(node: fx.Node, args: Any, kwargs: Any) -> None:
    """Keeps the arguments that a call has on the calibration data."""
    node.meta['sample'] = map_values(
        lambda v: v.detach() if isinstance(v, Tensor) else v, (args, kwargs)
    )
