"""The graph of a network as a module that can be pickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn

_KEPT = (
    'population',
    'made',
    'role',
    'ann_type',
    'example',
)  # Of what is noted on operations.


class Network(fx.GraphModule):
    """A graph of operations as a module. PyTorch's own pickles its code, and runs that
    on symbolic values to read it, which not every operation can do; this one pickles
    the operations.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        held = {k: v for k, v in self.__dict__.items() if k != '_graph'}
        return _restore, (self.__class__.__name__, held, _operations(self.graph))


@dataclass(frozen=True)
class _Result:
    """Stands for the result of an operation."""

    index: int


def _operations(graph: fx.Graph) -> list[tuple[Any, ...]]:
    places: dict[fx.Node, Any] = {n: _Result(i) for i, n in enumerate(graph.nodes)}
    return [
        (
            *(node.name, node.op, node.target),
            *fx.node.map_arg((node.args, node.kwargs), places.__getitem__),
            {key: node.meta[key] for key in _KEPT if key in node.meta},
        )
        for node in graph.nodes
    ]


def _restore(
    name: str, held: dict[str, Any], operations: list[tuple[Any, ...]]
) -> Network:
    holder = nn.Module()
    holder.__dict__.update(held)
    graph, nodes = fx.Graph(), list[fx.Node]()

    def result(value: Any) -> Any:
        return nodes[value.index] if isinstance(value, _Result) else value

    for own, op, target, args, kwargs, meta in operations:
        args, kwargs = fx.node.map_aggregate((args, kwargs), result)
        nodes.append(graph.create_node(op, target, args, kwargs, own))
        nodes[-1].meta.update(meta)
    return Network(holder, graph, name)
