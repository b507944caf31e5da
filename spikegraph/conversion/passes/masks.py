"""Masks of scores: what they hide is silent, and no potential as low as that is coded."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from spikegraph.conversion.passes.carrying import carry
from spikegraph.conversion.passes.relays import Fraction, Relays
from spikegraph.network.functions import set_items
from spikegraph.network.interpreter import run_node
from spikegraph.network.naming import called
from spikegraph.network.ops import is_call
from spikegraph.nn.routing import (
    hidden_part,
    hides_all,
    relative_mask,
    swallows_scores,
)

NEVER = -100.0  # Scores below are those of what is masked.


@dataclass
class Masks:
    """What is hidden of scores.

    Args:
        scores (torch.fx.Node): Scores without what hides some.
        hidden (torch.fx.Node, optional): Where nothing is sent.
            (default: :obj:`None`, nowhere)
        alike (torch.fx.Node, optional): Where all that are sent are as large.
            (default: :obj:`None`, nowhere)
    """

    scores: fx.Node
    hidden: fx.Node | None = None
    alike: fx.Node | None = None


def unmasked(relays: Relays, scores: Any, dim: int) -> Masks:
    """Takes all masks off that scores were given, one after the other."""
    write = relays.writer.write
    replaced: Any = None
    added: Any = None
    lowest = 0.0
    while True:
        found = _replaced(relays, scores)
        if found is not None:
            scores, mask, low = found
            lowest = min(low, lowest)
            replaced = (
                mask if replaced is None else write(torch.logical_or, replaced, mask)
            )
            continue
        found = _added(relays, scores)
        if found is None:
            break
        scores, mask, _ = found
        added = mask if added is None else write(operator.add, added, mask)
    out = Masks(scores)
    if replaced is not None:
        out.hidden = replaced
        if lowest > -math.inf:
            out.hidden = write(hidden_part, replaced, dim)
            out.alike = write(hides_all, replaced, dim)
    if added is not None:
        _add(relays, out, added, dim)
    return out


def _add(relays: Relays, out: Masks, mask: fx.Node, dim: int) -> None:
    """What of a mask is not so low that it hides is added to the scores."""
    write = relays.writer.write
    relative = write(relative_mask, mask, dim)
    hidden = write(torch.le, relative, NEVER)
    alike = write(swallows_scores, mask, dim)
    finite = write(torch.masked_fill, relative, hidden, 0.0)
    added = write(operator.add, out.scores, finite)
    if out.scores in relays.fractions:
        made = carry(relays, added)
        assert isinstance(made, Fraction)
        relays.fractions[added] = made
    out.scores = added
    if out.hidden is not None:
        hidden = write(torch.logical_or, out.hidden, hidden)
        alike = write(torch.logical_or, out.alike, alike) if out.alike else alike
    out.hidden, out.alike = hidden, alike


def _replaced(relays: Relays, score: Any) -> tuple[Any, Any, float] | None:
    """Scores, where they are replaced by a low number, and that."""
    moving, write = relays.writer.is_moving, relays.writer.write
    x: Any = None
    if is_call(score, 'masked_fill') and len(score.args) == 3:
        x, mask, low = score.args
    elif called(score) is torch.where and len(score.args) == 3:
        mask, low, x = score.args
        if not moving(x):
            mask, x, low = write(torch.logical_not, mask), low, x
    elif called(score) is set_items:
        x, index, low = score.args
        if not moving(low) and _number(relays, low) <= NEVER:
            mask = write(torch.zeros_like, x, dtype=torch.bool)
            mask = write(set_items, mask, index, True)
    if not moving(x) or moving(low) or _number(relays, low) > NEVER:
        return None
    return None if moving(mask) else (x, mask, _number(relays, low))


def _added(relays: Relays, score: Any) -> tuple[Any, Any, float] | None:
    """Scores, and the mask that is added to them."""
    if not is_call(score, 'add', 'sub') or len(score.args) != 2 or score.kwargs:
        return None
    is_sum = is_call(score, 'add')
    for x, mask in (score.args, score.args[::-1])[: 1 + is_sum]:
        is_mask = isinstance(mask, fx.Node) and not relays.writer.is_moving(mask)
        if relays.writer.is_moving(x) and is_mask:
            mask = mask if is_sum else relays.writer.write(operator.neg, mask)
            return x, mask, 0.0
    return None


def _number(relays: Relays, value: Any) -> float:
    """What a score is replaced by, wherever it is."""
    if is_call(value, 'full', 'full_like', 'new_full') and len(value.args) > 1:
        value = value.args[-1]
    if is_call(value, 'tensor', 'as_tensor'):
        value = value.args[0]
    if isinstance(value, fx.Node) and value.op == 'get_attr':
        return float(run_node(relays.network, value, {}).max())
    return float(value) if isinstance(value, (int, float)) else 0.0
