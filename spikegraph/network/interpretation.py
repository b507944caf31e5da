"""What nodes of a graph that is being converted are."""

from __future__ import annotations

from torch import fx


def is_input(node: fx.Node) -> bool:
    """Whether a population encodes an input of the model."""
    source = node.args[0] if node.args else None
    if not str(node.target).startswith('neurons.input_'):
        return False
    return isinstance(source, fx.Node) and not _has_spikes_behind(source)


def _has_spikes_behind(node: fx.Node) -> bool:
    """Whether a value is made of populations."""
    queue, seen = [node], {node}
    while queue:
        value = queue.pop()
        if value.op == 'call_module' and str(value.target).startswith('neurons.'):
            return True
        queue += [n for n in value.all_input_nodes if n not in seen]
        seen.update(value.all_input_nodes)
    return False
