"""What a refusal says: which operation stands in the way, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from spikegraph.conversion.refusals import reason_for
from spikegraph.conversion.tracing import describe, module_of


def first_refused(
    node: fx.Node, reason: str, refused: Mapping[fx.Node, str]
) -> tuple[fx.Node, str]:
    """The first operation without a rule that a refused one is made of, and why it has
    none.

    Args:
        node (torch.fx.Node): The one that is refused.
        reason (str): Why, empty if nothing is known.
        refused (Dict[torch.fx.Node, str]): Those without a rule, in order.
    """
    behind, queue = {node}, [node]
    while queue:
        before = set(queue.pop().all_input_nodes) - behind
        behind |= before
        queue += before
    for earlier, why in refused.items():
        if earlier in behind and earlier is not node:
            return earlier, why
    return node, reason


def describe_refusal(network: fx.GraphModule, node: fx.Node, reason: str) -> str:
    """Path, type, reason, remedy and line of an operation that cannot be converted.

    Args:
        network (torch.fx.GraphModule): The network.
        node (torch.fx.Node): The operation.
        reason (str): Why, empty if nothing is known.
    """
    name, _, kind = describe(network, node).partition(' ')
    kind, _, layer = kind.partition(' in ')
    kind, layer = kind.strip('()'), f' in {layer}' if layer else ''
    is_module = node.op == 'call_module'
    why = reason or ('' if is_module else reason_for(node.target))
    if not why:
        why = 'no rule makes it affine or a phase neuron'
        if 'why_whole' in node.meta:
            why += f', and its messages cannot be traced ({node.meta["why_whole"]})'
    remedy = 'Put it into a module with a rule of its own'
    if is_module:
        remedy = f"Add a rule with '@register_rule({kind})'"
        if isinstance(module_of(network, node), torch.jit.ScriptModule):
            remedy = (
                f"Make '{name}' what it was before torch.jit.script or torch.jit.trace, "
                'and load its state_dict(),'
            )
    place = f' ({node.meta["where"]})' if 'where' in node.meta else ''
    return (
        f"Cannot convert '{name}' ({kind}){layer}: {why}. {remedy} or pass "
        f"'allow_analog=True'{place}"
    )
