from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks

from spikegraph.coding import Spikes
from spikegraph.kernels import decode_spikes

if TYPE_CHECKING:
    from spikegraph.nn.encoding import Encoding


@dataclass(frozen=True)
class Operation:
    """What a layer does once per inference, as plain counts.

    Args:
        kind (str): ``'transform'`` (weights times values: each input value
            meets ``fan_out`` weights), ``'aggregation'`` (``num`` values move
            along weightless edges and are accumulated), ``'weighted
            aggregation'`` (the same, each multiplied by its edge weight) or
            ``'scaling'`` (``num`` multiplications by a node's own factor).
        num (int): How many multiply-accumulates, accumulates or
            multiplications this is when no value is skipped.
        fan_out (int or torch.Tensor, optional): The weights each input value
            meets, one number or as many as broadcast to the input (transforms
            only).
        num_weights (int, optional): The weights stored (transforms only).
    """

    kind: str
    num: int
    fan_out: int | Tensor = 0
    num_weights: int = 0


def values_of(x: Spikes | Tensor) -> Tensor:
    """The real values of a layer's input, decoded if they are spikes."""
    if not isinstance(x, Spikes):
        return x
    return decode_spikes(x.spike_time, x.code, x.scale)


def is_changed(module: nn.Module) -> bool:
    """Whether a call does more than what the class says: hooks, or a forward of its
    own.
    """
    own = module._forward_hooks or module._forward_pre_hooks
    all_modules = hooks._global_forward_hooks or hooks._global_forward_pre_hooks
    return bool(own or all_modules or 'forward' in vars(module))


class SpikingLayer(nn.Module):
    r"""Base of all spiking layers: an affine operator
    :math:`\Phi(x) \, W^{\top} + b` on spikes, between two populations.

    It accepts :class:`~spikegraph.coding.Spikes`, or a tensor: real values, or
    the current of a single time step.

    Args:
        weight (torch.Tensor, optional): The weights :math:`W` of shape
            :math:`(F_{out}, F_{in})`; :obj:`None` in a layer that only moves
            and adds values, :math:`\Phi(x)`.
        bias (torch.Tensor, optional): The bias :math:`b` :math:`(F_{out})`.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    @abstractmethod
    def forward(self, x: Spikes | Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The potential that the input leaves on the next membranes."""

    @abstractmethod
    def features(self, x: Spikes | Tensor, *args: Any, **kwargs: Any) -> Tensor:
        r"""What the weights see: :math:`\Phi(x)`, of shape
        :math:`(*, F_{in})`.
        """

    @abstractmethod
    def operations(
        self, x: Spikes | Tensor, *args: Any, **kwargs: Any
    ) -> list[Operation]:
        """What the layer does on this input, for the energy account."""

    def feature_rows(self, index: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Some rows of :meth:`features` :math:`(n, F_{in})`, counted over all
        but the last dimension.
        """
        features = self.features(*args, **kwargs)
        return features.reshape(-1, features.size(-1))[index]

    def matrix(self) -> Tensor:
        """The weights that :meth:`features` meet :math:`(F_{out}, F_{in})`."""
        assert self.weight is not None
        return self.weight

    @property
    def num_channels(self) -> int:
        """The number of output channels."""
        return len(self.matrix())

    @property
    def has_rows(self) -> bool:
        """Whether :meth:`features` tells what the weights see."""
        return True

    @property
    def num_groups(self) -> int:
        """In how many groups outputs see features of their own."""
        return 1

    def fold(self, gain: Tensor, offset: Tensor | None) -> None:
        """Absorbs a following ``gain * y + offset`` (batch norm), per channel."""
        assert self.weight is not None
        weight = gain.view(-1, *[1] * (self.weight.dim() - 1)) * self.weight
        self.set_parameters(weight, self._folded_bias(gain, offset))

    def _folded_bias(self, gain: Tensor, offset: Tensor | None) -> Tensor | None:
        if self.bias is None:
            return offset
        return gain * self.bias if offset is None else gain * self.bias + offset

    def set_parameters(self, weight: Tensor | None, bias: Tensor | None) -> None:
        """Takes copies of a trained weight and bias."""
        self.weight = _parameter(weight)
        self.bias = _parameter(bias)


def _parameter(value: Tensor | None) -> nn.Parameter | None:
    return None if value is None else nn.Parameter(value.detach().clone())


def check_width(
    x: Spikes | Encoding | Tensor, in_channels: int, layer: SpikingLayer
) -> None:
    """Raises ``ValueError`` if the last dimension is not ``in_channels``, or the
    data type not that of the weights.
    """
    check_dtype(x, layer)
    width = x.shape[-1] if len(x.shape) else None
    if width != in_channels:
        raise ValueError(
            f"Expected 'x' to have {in_channels} features per row for "
            f'{type(layer).__name__} (got {width}, shape {list(x.shape)})'
        )


def check_dtype(x: Spikes | Encoding | Tensor, layer: SpikingLayer) -> None:
    """Raises ``ValueError`` if the data type is not that of the weights."""
    assert layer.weight is not None
    if x.dtype != layer.weight.dtype:
        raise ValueError(
            f"Expected 'x' to have the data type of the weights of "
            f'{type(layer).__name__}, {layer.weight.dtype} (got {x.dtype}); convert either '
            "with '.to(dtype)'"
        )
