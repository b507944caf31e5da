"""Sizes as Python numbers, while a network is traced: those that calibration fixes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from spikegraph.conversion.call import CallSpec
from spikegraph.conversion.interpretation import run_node
from spikegraph.conversion.replacement import UserError

# What tells about a tensor without reading its values.
ATTRIBUTES = {'shape', 'ndim', 'dtype', 'device', 'is_cuda', 'requires_grad'}
_METHODS = {'size', 'dim', 'ndimension', 'numel', 'nelement', 'is_floating_point'}
_FUNCTIONS = {torch.numel, torch.is_floating_point}


class SizeProxy(fx.Proxy):
    """A symbolic value that is asked for its length, or to be a number."""

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:  # At once, so that it can be asked the same.
            return self.tracer.create_proxy('call_function', getattr, (self, name), {})
        return super().__getattr__(name)

    def __len__(self) -> int:
        return int(self._known('length'))

    def __int__(self) -> int:
        return int(self._known('value'))

    def __index__(self) -> int:
        return int(self._known('value'))

    def __float__(self) -> float:
        return float(self._known('value'))

    def _known(self, what: str) -> Any:
        return self.tracer.known_size(self.node, what)  # type: ignore[attr-defined]


class UnknownSize(UserError):
    """A size that the trace so far does not tell, but running it does.

    Args:
        node (torch.fx.Node): What is asked.
        what (str): For its ``'length'`` or its ``'value'``.
    """

    def __init__(self, node: fx.Node, what: str) -> None:
        super().__init__(NotImplementedError, f"the {what} of '{node.name}'")
        self.node = node
        self.what = what

    def find(self, root: nn.Module, spec: CallSpec) -> Any:
        """Runs what leads to the node, with two numbers of samples.

        Raises:
            UserError: If it is no size, or depends on the number of samples.
        """
        found = [None, None]
        if self.what == 'length' or _depends_on_sizes(self.node):
            found = [self._run(root, spec, more) for more in (0, 1)]
        if found[0] is None or found[1] not in (None, found[0]):
            raise UserError(
                NotImplementedError,
                f'Cannot trace {type(root).__name__}.forward: it asks for {self}, which '
                'is not fixed by the calibration data: only sizes are, other than the '
                "number of samples. For that, write 'x.size(0)', not 'len(x)' or "
                "'int(...)'; control flow may not depend on the values of tensors",
            )
        return found[0]

    def _run(self, root: nn.Module, spec: CallSpec, more: int) -> Any:
        env: dict[fx.Node, Any] = {}
        needed = _behind(self.node)
        dtype = next((p.dtype for p in root.parameters()), torch.float32)
        for node in self.node.graph.nodes:
            if node in needed and node.op == 'placeholder':
                shape = spec.shapes.get(str(node.target))
                if not shape:
                    return None
                size = (shape[0] + more, *shape[1:])
                env[node] = torch.zeros(size, dtype=dtype)
            elif node in needed:
                try:
                    env[node] = run_node(root, node, env)  # type: ignore[arg-type]
                except Exception:  # Nor may zeros fit as features.
                    return None
        value = env[self.node]
        return len(value) if self.what == 'length' else value


def _behind(node: fx.Node) -> set[fx.Node]:
    """The node and all that it is made of."""
    found, queue = {node}, [node]
    while queue:
        new = [n for n in queue.pop().all_input_nodes if n not in found]
        found.update(new)
        queue += new
    return found


def _depends_on_sizes(node: fx.Node) -> bool:
    """Whether no value of a tensor matters to a node."""
    if node.target in _METHODS or node.target in _FUNCTIONS:
        return True
    if node.target is getattr and node.args[1] in ATTRIBUTES:
        return True
    if not isinstance(node.target, (str, Callable)) or node.op == 'call_module':  # type: ignore[arg-type]
        return False
    inputs = node.all_input_nodes
    return bool(inputs) and all(_depends_on_sizes(n) for n in inputs)
