"""Whether a network is as it was."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.kernels import dispatch
from spikegraph.kernels.memory import dense
from spikegraph.kernels.places import check_fits, fits
from spikegraph.network.network import Network
from spikegraph.network.registry import is_known_function, is_known_type

MISS = object()


class State:
    """All that a network is apart from its inputs: modules, tensors, attributes."""

    def __init__(self, network: Network, digest: Callable[..., int]) -> None:
        self._digest = digest
        self._kinds = [(m, type(m), type(m).forward) for m in network.modules()]
        self._attributes: list[Any] = []  # As they are, and as they were.
        self._parts: list[Any] = []  # Parameters, buffers and modules.
        self._own: list[Any] = []  # Other tensors.
        self._hooks: list[Any] = []
        for module in network.modules():
            now = vars(module)
            self._attributes.append((now, dict(now)))
            for part in (module._parameters, module._buffers, module._modules):
                self._parts.append((part, [*part], [*part.values()]))
            self._own += [(now, n, v) for n, v in now.items() if isinstance(v, Tensor)]
            self._hooks += [module._forward_hooks, module._forward_pre_hooks]
        held = [v for *_, values in self._parts for v in values]
        held += [value for *_, value in self._own]
        self._tensors = [v for v in held if isinstance(v, Tensor)]
        self.is_dense = all(map(is_dense, self._tensors))
        dense_ones = self._tensors if self.is_dense else []
        self._layout = [(v, v.shape, v.stride(), v.data_ptr()) for v in dense_ones]
        self._addresses = [address for *_, address in self._layout]
        self._sizes = [value.nbytes for value in dense_ones]
        values = [value for now, _ in self._attributes for value in now.values()]
        self._lists = [v for v in values if type(v) is list and not _has_tensors(v)]
        self._known_lists = copy.deepcopy(self._lists)
        self.is_plain = not any('forward' in now for now, _ in self._attributes)

    @classmethod
    def of(cls, network: Network) -> State | None:
        """The state of a network; None where no kernel digests it."""
        if not _is_known(network):
            return None
        first = next(network.parameters(), None)
        digest = dispatch.find('digest_all', torch.empty(1) if first is None else first)
        state = None if digest is None else cls(network, digest)
        return state if state is not None and state.is_dense else None

    def is_same(self) -> bool:
        """Whether modules hold the same objects as before, in the same memory, and have
        no hooks. To share a tensor with other processes, for one, moves it.
        """
        for module, kind, forward in self._kinds:
            if type(module) is not kind or kind.forward is not forward:
                return False
        for value, shape, stride, address in self._layout:
            if value.shape != shape or value.stride() != stride:
                return False
            if value.data_ptr() != address:
                return False
        for hooks_of_one in self._hooks:
            if hooks_of_one:
                return False
        for part, names, values in self._parts:
            if [*part] != names or not all(map(operator.is_, part.values(), values)):
                return False
        for now, name, value in self._own:
            if now.get(name) is not value:
                return False
        try:
            for now, known in self._attributes:
                if now != known:
                    return False
            return self.is_plain and self._lists == self._known_lists
        except (RuntimeError, ValueError):  # A tensor that was no tensor, or another.
            return False

    def digest(self, values: list[Tensor]) -> int:
        """What tells the bits of parameters, buffers and some inputs from others, of a
        network that :meth:`is_same`.
        """
        for value in values:
            check_fits(value)
        addresses = self._addresses + [value.data_ptr() for value in values]
        sizes = self._sizes + [value.nbytes for value in values]
        return self._digest(np.array(addresses), np.array(sizes))


def _is_known(network: Network) -> bool:
    """Whether a network calls nothing but PyTorch, PyG and this package: only of those
    is it known that what they do depends on arguments and attributes.
    """
    if not all(is_known_type(type(module)) for module in network.modules()):
        return False
    for node in network.nodes:
        if node.op == 'call_function' and not is_known_function(node.target):
            return False
        if node.op == 'call_method' and node.target in ('tolist', 'numpy', 'item'):
            return False
    return True


def is_dense(value: Tensor) -> bool:
    """Whether the values lie in memory without gaps, in whatever order."""
    if value.layout != torch.strided or value.is_neg() or not value.is_cpu:
        return False
    if value.numel() == 0 or not fits(value):
        return value.numel() == 0
    return dense(value).data_ptr() == value.data_ptr()


def _has_tensors(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))
