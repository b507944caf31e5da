"""What a refusal says: which operation stands in the way, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from spikegraph.conversion.operations.reasons import reason_for
from spikegraph.network.naming import (
    name_of,
    operation_of,
    place_of,
)


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
    operation = operation_of(network, node)
    why = reason or reason_for(operation)
    if 'why_whole' in node.meta and not reason:
        why += f', and its messages cannot be traced ({node.meta["why_whole"]})'
    remedy = 'Replace it,'
    if isinstance(operation, torch.jit.ScriptModule):
        remedy = (
            'Make it what it was before torch.jit.script or torch.jit.trace, and load '
            'its state_dict(),'
        )
    elif node.op == 'call_module':
        kind = node.meta.get('ann_type') or type(operation).__name__
        remedy = f"Add a rule with '@register_rule({kind})'"
    return (
        f'Cannot convert {name_of(network, node)}: {why}. {remedy} or pass '
        f"'ConversionConfig(allow_analog=True)'{place_of(node)}"
    )
