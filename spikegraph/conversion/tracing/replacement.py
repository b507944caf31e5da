"""Replaces the layers of a model by their spiking twins, before it is traced."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch_geometric.nn.conv import MessagePassing

from spikegraph.calls.errors import UserError
from spikegraph.calls.wrappers import plain_copy
from spikegraph.conversion.operations.activations import check_hooks
from spikegraph.conversion.operations.kinds import Affine, Attention, Refused, Rule
from spikegraph.conversion.operations.refusals import BESIDE, describe_option
from spikegraph.conversion.operations.rules import rule_for
from spikegraph.nn import SpikingAffine, SpikingLayer
from spikegraph.nn.conv.twin import SignalsMeet


class Layers:
    """The layers of a model and their spiking twins, which are made when a layer is
    called: what a model asks about its layers is answered by those it was built of.

    Args:
        root (torch.nn.Module): The model, a copy.
        options (TraceOptions): What else matters.
    """

    def __init__(self, root: nn.Module, options: TraceOptions) -> None:
        self.root = root
        self.options = options
        self.paths: dict[int, str] = {}
        self.modules: dict[str, nn.Module] = {}  # By path, twins as they are made.
        self._twins: dict[int, tuple[nn.Module, Rule | None]] = {}
        self._copies: dict[int, nn.Module] = {}
        self._originals: list[nn.Module] = []  # Kept, so that each has its own id.
        self._tensors: dict[int, str] = {}
        self._memory: dict[int, str] = {}
        self._num_listed = 0
        self._add(root, '')

    def _add(self, module: nn.Module, path: str) -> None:
        for name, part in module.named_modules(prefix=path):
            self.paths[id(part)] = name
            self.modules[name] = part

    def own(self, module: nn.Module) -> nn.Module:
        """A module of the model itself. One that it has not registered, such as a layer
        in a plain list, gets a path, or a copy does: it may be anybody's, unless it was
        made in ``forward`` of what has no value yet.
        """
        if id(module) in self.paths:
            return module
        if id(module) not in self._copies:
            values = [v for part in module.modules() for v in vars(part).values()]
            is_made = any(isinstance(v, fx.Proxy) for v in values)
            copy = module.eval() if is_made else plain_copy(module)
            path = f'unregistered_{len(self.modules)}'
            self.root.add_module(path, copy)
            self._add(copy, path)
            self._originals.append(module)
            self._copies[id(module)] = copy
        return self._copies[id(module)]

    def twin_of(self, module: nn.Module) -> tuple[nn.Module, Rule | None]:
        """What runs in place of a layer, itself if there is nothing else, and by
        which rule.

        Raises:
            UserError: If a layer has an option without a twin.
        """
        if id(module) in self._twins:
            return self._twins[id(module)]
        path = self.paths[id(module)]
        rule = _rule_at(module, path, self.options)
        twin = module
        if rule is not None and rule.convert is not None:
            twin, rule = _convert(module, path, rule, self.options)
        found = (twin, rule)
        self._twins[id(module)] = self._twins[id(twin)] = found
        self._originals.append(module)
        if twin is not module:
            self._add(twin, path)  # What it took over from the layer is now in there.
            self.paths[id(module)] = path
        return found

    def rule_at(self, module: nn.Module) -> Rule | None:
        """The rule by which a layer, or its twin, is converted."""
        known = self._twins.get(id(module))
        return rule_for(module) if known is None or known[1] is None else known[1]

    def tensor_paths(self) -> dict[int, str]:
        """The paths of parameters and buffers by identity, those of twins, too."""
        if self._num_listed != len(self.modules) + len(self._twins):
            for path, module in self.modules.items():
                own = {**vars(module), **module._parameters, **module._buffers}
                for name, value in own.items():
                    if issubclass(type(value), Tensor):  # No symbolic one.
                        self._list(value, f'{path}.{name}'.strip('.'))
            self._num_listed = len(self.modules) + len(self._twins)
        return self._tensors

    def _list(self, value: Tensor, path: str) -> None:
        self._tensors.setdefault(id(value), path)
        if value.layout == torch.strided:
            self._memory.setdefault(value.untyped_storage().data_ptr(), path)

    def memory_paths(self) -> dict[int, str]:
        """The paths of parameters and buffers by where they lie in memory."""
        self.tensor_paths()
        return self._memory

    def install(self) -> None:
        """Puts the twins in the places of the layers, outer ones first."""

        def visit(parent: nn.Module, around: tuple[nn.Module, ...]) -> None:
            for name, child in list(parent._modules.items()):
                if child is None or child in around:
                    continue  # What replaces it holds it. A layer may be there twice.
                twin, _ = self._twins.get(id(child), (child, None))
                outer = around
                if twin is not child:
                    parent._modules[name] = twin
                    outer = (*around, child)
                    if isinstance(twin, SpikingLayer):
                        continue  # Whole, whatever it holds.
                visit(twin, outer)

        visit(self.root, ())


def _rule_at(module: nn.Module, path: str, options: TraceOptions) -> Rule | None:
    rule = rule_for(module)
    if isinstance(module, MessagePassing) and options.opens(path):
        return Attention(reason=BESIDE)
    if isinstance(rule, Attention):
        return rule if options.analog_products and options.allow_analog else None
    if rule is None and path in options.affine:
        return Affine(SpikingAffine)
    return rule


def _convert(
    module: nn.Module, path: str, rule: Rule, options: TraceOptions
) -> tuple[nn.Module, Rule]:
    """The twin; or the module itself, to stay analog, if it has an option
    without a twin.
    """
    what = f"'{path}' ({type(module).__name__})"
    assert rule.convert is not None
    try:
        check_hooks(path, module)
    except ValueError as error:
        raise UserError(ValueError, str(error)) from error
    try:
        converted = rule.convert(module)
    except NotImplementedError as error:
        if isinstance(error, SignalsMeet) and not options.analog_products:
            return module, Attention(reason=str(error))
        has_weights = any(True for _ in module.parameters())
        if options.allow_analog or not has_weights:  # It may act on inputs alone.
            return module, Refused(reason=str(error))
        message = describe_option(path, module, str(error))
        raise UserError(type(error), message) from error
    except ValueError as error:
        message = f'Cannot convert {what}: {error}'
        raise UserError(type(error), message) from error
    if not isinstance(converted, nn.Module):
        raise UserError(
            ValueError,
            f'Expected the rule for {what} to return a module '
            f'(got {type(converted).__name__})',
        )
    return converted.eval(), rule


@dataclass(frozen=True)
class TraceOptions:
    """What tracing depends on besides model and call.

    Args:
        allow_analog (bool): Whether anything may stay analog.
        affine (FrozenSet[str]): Layers without a rule that were found to be
            affine, by :func:`find_affine`.
        analog_products (bool): Whether attention is taken apart into analog
            coefficients and spiking values, and not looked into.
        opened (FrozenSet[str]): Layers that have a signal beside their features, or
            parts of them: they are looked into.
    """

    allow_analog: bool = False
    affine: frozenset[str] = frozenset()
    analog_products: bool = False
    opened: frozenset[str] = frozenset()

    def opens(self, path: str) -> bool:
        """Whether a layer is looked into for what meets its features."""
        return any(f'{part}.'.startswith(f'{path}.') for part in self.opened)
