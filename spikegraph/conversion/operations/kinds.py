"""What there is to do with an operation: a rule decides, for each call, whether that
goes by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from spikegraph.conversion.operations import refusals
from spikegraph.network.ops import Meaning

if TYPE_CHECKING:
    from spikegraph.conversion.operations.allowing import Call

Convert = Callable[[Any], nn.Module]


@dataclass(frozen=True)
class Rule:
    """What to do with an operation on the way from ANN to SNN.

    Args:
        convert (Callable, optional): Makes the spiking twin of a module.
        reason (str, optional): Why it needs analog parts or is refused.

    Attributes:
        kind (str): What :func:`register_rule` calls it.
        stands_in (bool): Whether a population takes its place.
        makes_current (bool): Whether it makes currents of indices.
        reads_shape (bool): Whether it reads only shapes.
        may_end (bool): Whether it may follow the last layer.
        on_values (bool): Whether it needs real values, and not spikes.
        is_removed (bool): Whether nothing is left of it.
        is_open (bool): Whether it may turn out to be something else.
    """

    convert: Convert | None = None
    reason: str = ''

    kind: ClassVar[str] = ''
    stands_in: ClassVar[bool] = False
    makes_current: ClassVar[bool] = False
    reads_shape: ClassVar[bool] = False
    may_end: ClassVar[bool] = False
    on_values: ClassVar[bool] = False
    is_removed: ClassVar[bool] = False
    is_open: ClassVar[bool] = False

    def allow(self, call: Call) -> Rule:
        """The rule that a call goes by: this, another one, or :class:`Refused`."""
        why = self.why_not(call)
        return self if why is None else Refused(reason=why)

    def why_not(self, call: Call) -> str | None:
        """Why a call does not go by it, None if it does."""
        return refusals.ROUNDS if call.rounds else None


class Affine(Rule):
    """Stays between populations."""

    kind = 'affine'


class Product(Affine):
    """Affine in either factor, while the other is fixed."""

    def why_not(self, call: Call) -> str | None:
        factors = call.factors
        if len(factors) > 1:
            return f'{refusals.MULTIPLIES}{call.way_to_declare(factors)}'
        return super().why_not(call)


class Quotient(Product):
    """Affine while what it divides by is fixed."""

    def why_not(self, call: Call) -> str | None:
        divisor = call.moving((call.args[1:], call.kwargs.get('other')))
        if divisor:
            return f'{refusals.DIVIDES}{call.way_to_declare(divisor)}'
        return super().why_not(call)


class GivenNorm(Product):
    """A batch norm with statistics that are arguments."""

    def why_not(self, call: Call) -> str | None:
        given = call.bound_arguments()
        if given['running_mean'] is None or given.get('training', False):
            return refusals.BATCH
        return super().why_not(call)


class Pick(Affine):
    """Takes a part, which no signal chooses."""

    def why_not(self, call: Call) -> str | None:
        why = super().why_not(call)
        return refusals.INDEX if why is None and call.moving(call.args[1:]) else why


class Groups(Affine):
    """Sums over groups of rows, of which those that are known are filters by now."""

    def why_not(self, call: Call) -> str | None:
        return refusals.SCATTERS if call.moving((call.args, call.kwargs)) else None


class Maximum(Affine):
    """The earliest spike, of values that are all sent."""

    is_open = True

    def allow(self, call: Call) -> Rule:
        return Affine() if call.compares_signals else Refused()


class Norm(Rule):
    """Affine, and folded into the layer before it where possible."""

    kind = 'norm'

    def why_not(self, call: Call) -> str | None:
        return None if tracks_statistics(call.module) else refusals.TRACKED


class ActivationRule(Rule):
    """Becomes a population."""

    kind = 'activation'
    stands_in = True


class Identity(Rule):
    """Is removed, or else would be drawn at random."""

    kind = 'identity'
    is_removed = may_end = True

    def why_not(self, call: Call) -> str | None:
        why = super().why_not(call)
        if why is None and call.kwargs.get('training', False):
            raise ValueError(call.never_off())
        return why


class ReadOut(Rule):
    """May follow the last segment; some are activations in front of it."""

    kind = 'readout'
    may_end = on_values = True

    def allow(self, call: Call) -> Rule:
        rule = super().allow(call)
        if rule is not self or call.ends:
            return rule
        return ActivationRule() if call.is_activation else Refused()


class Metadata(Rule):
    """Reads only shapes, and may round them."""

    kind = 'metadata'
    reads_shape = may_end = True

    def why_not(self, call: Call) -> str | None:
        return None


class Fill(Metadata):
    """Reads a shape, and may be given a signal as the value."""

    def why_not(self, call: Call) -> str | None:
        given = call.args[1:], call.kwargs
        return refusals.FILLS if call.moving(given) else None


class Attribute(Metadata):
    """Takes something of a signal, no one knows what."""

    def allow(self, call: Call) -> Rule:
        return Refused()


class Source(Rule):
    """Makes currents of indices, as embeddings do."""

    kind = 'source'
    makes_current = True


class Refused(Rule):
    """Has no spiking counterpart."""

    kind = 'refused'
    on_values = True

    def allow(self, call: Call) -> Rule:
        return Refused(reason=self.reason)


class Attention(Refused):
    """Needs analog coefficients."""

    kind = 'attention'


def tracks_statistics(module: Any) -> bool:
    """Whether a norm goes by the statistics of training."""
    return getattr(module, 'running_mean', None) is not None


def rounds(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an argument rounds: a rounding mode, or a data type of integers."""
    for value in (*args[1:], *kwargs.values()):
        if isinstance(value, torch.dtype) and not value.is_floating_point:
            return True
    return kwargs.get('rounding_mode') is not None


#: What :func:`register_rule` is told.
KINDS: dict[str, type[Rule]] = {
    rule.kind: rule
    for rule in (
        *(Affine, Norm, ActivationRule, Identity, ReadOut, Metadata, Source),
        *(Attention, Refused),
    )
}
#: What the table says.
RULES_OF: dict[Meaning, type[Rule]] = {
    Meaning.AFFINE: Affine,
    Meaning.PICK: Pick,
    Meaning.PRODUCT: Product,
    Meaning.CONTRACTION: Product,
    Meaning.QUOTIENT: Quotient,
    Meaning.GROUPS: Groups,
    Meaning.BATCH_NORM: GivenNorm,
    Meaning.NORM: Norm,
    Meaning.MAXIMUM: Maximum,
    Meaning.ACTIVATION: ActivationRule,
    Meaning.IDENTITY: Identity,
    Meaning.READOUT: ReadOut,
    Meaning.SIZE: Metadata,
    Meaning.LIKE: Metadata,
    Meaning.FILL: Fill,
    Meaning.ATTRIBUTE: Attribute,
    Meaning.SOURCE: Source,
    Meaning.REFUSED: Refused,
}
