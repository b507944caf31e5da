"""The converted network: nodes with roles, and the modules that they call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from spikegraph.calls.outputs import Form
from spikegraph.network.checking import check_form, check_records
from spikegraph.network.graph import Node, Record, Ref
from spikegraph.network.interpreter import Interpreter
from spikegraph.network.roles import Role

_MADE = ('nodes', 'form', 'last_reads')
_HELD = ('_modules', '_parameters', '_buffers')


class Folder(nn.Module):
    """Holds modules that conversion makes, apart from those of the user's."""


class Network(nn.Module):
    """A converted network: nodes in the order in which they run.

    Args:
        records (Sequence[Record]): The nodes.
        form (Form): The structure of what the model returns.

    Attributes:
        nodes (Tuple[Node, ...]): The nodes.
        last_reads (Dict[Node, List[Node]]): Whose values nobody reads after a node.
    """

    def __init__(self, records: Sequence[Record], form: Form) -> None:
        super().__init__()
        self.form = form
        nodes: list[Node] = []
        for record in records:
            args, kwargs = fx.node.map_aggregate(
                (record.args, record.kwargs),
                lambda v: nodes[v.index] if isinstance(v, Ref) else v,
            )
            nodes.append(Node(record, tuple(args), dict(kwargs)))
        self.nodes = tuple(nodes)
        self.last_reads: dict[Node, list[Node]] = {}
        last = {source: n for n in nodes for source in (n, *n.all_input_nodes)}
        for source, node in last.items():
            if node.op != 'output':
                self.last_reads.setdefault(node, []).append(source)

    def forward(self, *args: Any, **inputs: Any) -> Any:
        """What the network returns for inputs, in order or by name, node by node."""
        names = [node.target for node in self.nodes if node.role is Role.INPUT]
        return Interpreter(self).run({**dict(zip(names, args, strict=False)), **inputs})

    @property
    def records(self) -> list[Record]:
        """The nodes as plain data."""
        return [node.record for node in self.nodes]

    def operation(self, node: Node) -> Any:
        """What a node calls: a module, a function or the name of a method."""
        if node.op == 'call_module':
            return self.get_submodule(node.target)
        return node.target

    def named_nodes(self, *roles: Role) -> dict[str, Node]:
        """The nodes of some roles by their labels."""
        return {n.record.label: n for n in self.nodes if n.role in roles}

    def state(self) -> dict[str, Any]:
        """All that the network is, as objects of the types that files may hold."""
        dropped = (*_MADE, 'training')
        held = {
            name: dict(value) if isinstance(value, dict) else value
            for name, value in self.__dict__.items()
            if name not in dropped and not (name.startswith('_') and name not in _HELD)
        }
        parts = [held.pop(name) for name in _HELD]
        return {
            'records': self.records,
            'form': self.form,
            **dict(zip(_HELD, parts, strict=True)),
            'constants': held,
        }

    @classmethod
    def from_state(cls, state: Any) -> Network:
        """The inverse of :meth:`state`.

        Raises:
            ValueError: If it is not the state of a network.
        """
        names = {'records', 'form', 'constants', *_HELD}
        if not isinstance(state, dict) or set(state) != names:
            raise ValueError('expected records, modules and constants of a network')
        check_records(state['records'])
        check_form(state['form'])
        network = cls(state['records'], state['form'])
        for name in _HELD:
            kind: Any = nn.Module if name == '_modules' else Tensor
            for key, value in dict(state[name]).items():
                if not isinstance(value, kind) or not isinstance(key, str):
                    raise ValueError(f'expected {name[1:]} (got {value!r:.60})')
                network.__dict__[name][key] = value
        for key, value in dict(state['constants']).items():
            if not isinstance(key, str) or key[:1] == '_' or key in _TAKEN:
                raise ValueError(f'expected the name of a constant (got {key!r:.60})')
            network.__dict__[key] = value
        return network.eval()

    def __reduce__(self) -> tuple[Any, ...]:
        """Nodes refer to each other, deeper than pickling and copying can follow."""
        held = {k: v for k, v in self.__dict__.items() if k not in _MADE}
        return _restore, (self.records, self.form, held)


def _restore(records: list[Record], form: Form, held: dict[str, Any]) -> Network:
    network = Network(records, form)
    network.__dict__.update(held)
    return network


_TAKEN = {*dir(Network), *_MADE, 'training'}
