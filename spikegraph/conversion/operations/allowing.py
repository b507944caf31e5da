"""A call as its rule sees it."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.utils import _pytree as pytree

from spikegraph.conversion.features.sources import way_to_declare
from spikegraph.conversion.operations.activations import is_activation
from spikegraph.conversion.operations.kinds import Refused, Rule, rounds
from spikegraph.conversion.operations.refusals import BESIDE
from spikegraph.conversion.operations.rules import ends, rule_at, rule_for
from spikegraph.conversion.passes.gates import values_compared
from spikegraph.conversion.passes.products import factors_of
from spikegraph.network.naming import (
    module_of,
    name_of,
    place_of,
)
from spikegraph.nn import Analog, SpikeGate, SpikingLayer


@dataclass(frozen=True)
class Call:
    """A call of an operation, among what is known of a network so far.

    Args:
        network (torch.fx.GraphModule): The traced network.
        node (torch.fx.Node): The call.
        signals (Collection[torch.fx.Node]): Values on their way to a membrane.
        fixed (Collection[torch.fx.Node]): Those among them that no spike changes.
    """

    network: fx.GraphModule
    node: fx.Node
    signals: Collection[fx.Node]
    fixed: Collection[fx.Node]

    def rule(self) -> Rule:
        """The rule that the call goes by; :class:`Refused` if there is none."""
        if self.node.op != 'call_module':
            rule = rule_at(self.node)
        elif isinstance(self.module, (SpikingLayer, SpikeGate)):
            rule = rule_for(self.module)
        else:
            rule = self.node.meta.get('rule') or rule_for(self.module)
            rule = None if isinstance(self.module, Analog) else rule
        if rule is None:
            return Refused()
        is_module = self.node.op == 'call_module' and not isinstance(rule, Refused)
        if is_module and self.moving((self.args[1:], self.kwargs)):
            return Refused(reason=BESIDE)
        return rule.allow(self)

    def moving(self, value: Any) -> list[fx.Node]:
        """See :func:`moving`."""
        return moving(value, self.signals, self.fixed)

    @property
    def module(self) -> nn.Module:
        """The module that is called."""
        return module_of(self.network, self.node)

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments by position."""
        return self.node.args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments by name."""
        return dict(self.node.kwargs)

    def bound_arguments(self) -> dict[str, Any]:
        """All arguments of a function by name."""
        signature = inspect.signature(self.node.target)  # type: ignore[arg-type]
        return signature.bind(*self.args, **self.kwargs).arguments

    @property
    def rounds(self) -> bool:
        """Whether an argument says so, see :func:`rounds`."""
        return self.node.op != 'call_module' and rounds(self.args, self.kwargs)

    @property
    def factors(self) -> list[fx.Node]:
        """The signals that are multiplied."""
        return self.moving(factors_of(self.node))

    @property
    def compares_signals(self) -> bool:
        """Whether it takes the largest of several values, and all of them are sent."""
        values = values_compared(self.node)
        return bool(values) and all(
            isinstance(value, fx.Node) and value in self.signals for value in values
        )

    @property
    def ends(self) -> bool:
        """Whether only read-outs follow, and some: what is just being written is read
        by nothing yet."""
        return bool(self.node.users) and ends(self.node)

    @property
    def is_activation(self) -> bool:
        """Whether it can be a population."""
        return is_activation(self.network, self.node)

    def way_to_declare(self, factors: list[fx.Node]) -> str:
        """How to say that a factor is no signal, if it may be none."""
        return way_to_declare(self.network, factors)

    def never_off(self) -> str:
        """What to say of a dropout that evaluation does not turn off."""
        return (
            f'Expected {name_of(self.network, self.node)} to be off in evaluation (got '
            f"training=True{place_of(self.node, '; ')}); pass 'training=self.training'"
        )


def moving(
    value: Any, signals: Collection[fx.Node], fixed: Collection[fx.Node]
) -> list[fx.Node]:
    """The signals in an argument that depend on spikes; one that is there twice
    counts twice.
    """
    leaves = pytree.tree_leaves(value)
    nodes = [n for n in leaves if isinstance(n, fx.Node) and n in signals]
    return [n for n in nodes if n not in fixed]
