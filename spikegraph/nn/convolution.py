from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from spikegraph.coding import Spikes
from spikegraph.kernels import Filters, convolve
from spikegraph.nn.layer import (
    Operation,
    SpikingLayer,
    check_dtype,
    is_changed,
    values_of,
)

_SIZES = {1: 'L', 2: 'HW', 3: 'DHW'}


class SpikingConv(SpikingLayer):
    r"""A convolution between two populations, in one, two or three dimensions,
    grouped, dilated or transposed.

    .. math::
        \mathbf{V} = \mathbf{W} \ast \hat{\mathbf{X}} + \mathbf{b}

    Args:
        conv (torch.nn.Module): The trained convolution, such as
            :class:`torch.nn.Conv2d` or :class:`torch.nn.ConvTranspose1d`. Its
            parameters are the layer's own.

    Raises:
        ValueError: If the input has another number of channels, of dimensions,
            or another data type.

    Shapes:
        - **input:** spikes or values :math:`(N, C_{in}, *)` or
          :math:`(C_{in}, *)`
        - **output:** potentials :math:`(N, C_{out}, *)` or
          :math:`(C_{out}, *)`

    Example:
        >>> from spikegraph.coding import PhaseCode
        >>> layer = SpikingConv.from_ann(nn.Conv2d(3, 4, kernel_size=3))
        >>> code = PhaseCode(num_steps=8, base=1.5)
        >>> layer(Spikes.from_values(torch.rand(2, 3, 8, 8), code)).shape
        torch.Size([2, 4, 6, 6])
    """

    def __init__(self, conv: _ConvNd) -> None:
        super().__init__()
        self.conv = conv

    @classmethod
    def from_ann(cls, conv: _ConvNd) -> SpikingConv:
        """Takes copies of the parameters of a trained convolution, computed ones
        (weight norm) as numbers.
        """
        own: Any = nn.Module.__new__(parametrize.type_before_parametrizations(conv))
        own.__dict__ = {**conv.__dict__, '_parameters': {}, '_modules': {}}
        own.weight = nn.Parameter(conv.weight.detach().clone())
        bias = conv.bias
        own.register_parameter(
            'bias', None if bias is None else nn.Parameter(bias.detach().clone())
        )
        return cls(own)

    @property
    def weight(self) -> nn.Parameter:  # type: ignore[override]
        """The kernels, shaped as PyTorch's."""
        return self.conv.weight  # type: ignore[return-value]

    @property
    def bias(self) -> nn.Parameter | None:  # type: ignore[override]
        """The bias :math:`(C_{out})`."""
        return self.conv.bias  # type: ignore[return-value]

    def __getattr__(self, name: str) -> Any:
        """Options are those of the convolution, such as ``out_channels``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith('_') or 'conv' not in self._modules:
                raise
            return getattr(self.conv, name)

    @property
    def num_channels(self) -> int:
        """The number of output channels."""
        return self.conv.out_channels

    @property
    def num_groups(self) -> int:
        """The number of groups."""
        return self.conv.groups

    @property
    def is_transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return isinstance(self.conv, _ConvTransposeNd)

    @property
    def has_rows(self) -> bool:
        """Whether patches tell what the weights see: unless transposed."""
        return not self.is_transposed

    @property
    def channel_dim(self) -> int:
        """Where channels are, counted from the end."""
        return -1 - len(self.conv.kernel_size)

    def set_parameters(self, weight: Tensor | None, bias: Tensor | None) -> None:
        """Takes copies of a trained weight, or its matrix, and bias."""
        assert weight is not None
        weight = weight.detach().reshape(self.weight.shape).clone()
        self.conv.weight = nn.Parameter(weight)
        self.conv.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x: Spikes | Tensor, *args: Any) -> Tensor:
        """Returns the potentials that the input leaves behind; further
        arguments as those of the convolution.
        """
        self.check(x)
        filters = None if args else self.filters()
        if filters is None:
            return self.conv(values_of(x), *args)
        return convolve(values_of(x), filters)

    def filters(self) -> Filters | None:
        """What kernels are told of it; None where the convolution itself is called: in
        another number of dimensions, in groups, transposed, padded with other values
        than zeros or on one side only, or with hooks.
        """
        conv: Any = self.conv
        if type(conv) is not nn.Conv2d or conv.groups > 1 or is_changed(conv):
            return None
        left, right, top, bottom = conv._reversed_padding_repeated_twice
        if conv.padding_mode != 'zeros' or left != right or top != bottom:
            return None
        how: Any = (conv.stride, (top, left), conv.dilation)
        return Filters(conv.weight, conv.bias, *how)

    def features(self, x: Spikes | Tensor, *args: Any) -> Tensor:
        r"""The patches that the weights see, :math:`(N, *, G, F)` for
        :math:`G` groups of :math:`F = C_{in} K / G` values; of one group
        :math:`(N, *, F)`.

        Raises:
            NotImplementedError: If the convolution is transposed.
        """
        windows = self._windows(x)
        num_dims = len(self.conv.kernel_size)
        spatial = list(range(2, 2 + num_dims))
        kernel = list(range(2 + num_dims, 2 + 2 * num_dims))
        patches = windows.permute(0, *spatial, 1, *kernel)
        return self._grouped(patches, 1 + num_dims)

    def feature_rows(self, index: Tensor, x: Spikes | Tensor, *args: Any) -> Tensor:
        """The rows of :meth:`features` at the given output positions."""
        windows = self._windows(x)
        num_dims = len(self.conv.kernel_size)
        size = (len(windows), *windows.shape[2 : 2 + num_dims])
        sample, *position = torch.unravel_index(index, size)
        place: Any = (sample, slice(None), *position)
        return self._grouped(windows[place], 1)

    def matrix(self) -> Tensor:
        """The weights as a matrix :math:`(C_{out}, F)`."""
        return self.weight.flatten(1)

    def _grouped(self, patches: Tensor, dim: int) -> Tensor:
        """Makes one dimension of channels and kernel, or two, with groups."""
        groups = self.conv.groups
        if groups == 1:
            return patches.flatten(dim)
        return patches.reshape(*patches.shape[:dim], groups, -1)

    def _windows(self, x: Spikes | Tensor) -> Tensor:
        """A view :math:`(N, C_{in}, *, K_1, K_2, \\ldots)` of what each output
        position sees.
        """
        if self.is_transposed:
            raise NotImplementedError('the patches of a transposed convolution')
        self.check(x)
        conv, values = self.conv, values_of(x)
        num_dims = len(conv.kernel_size)
        if values.dim() == num_dims + 1:
            values = values.unsqueeze(0)
        mode = 'constant' if conv.padding_mode == 'zeros' else conv.padding_mode
        pad = conv._reversed_padding_repeated_twice
        values = nn.functional.pad(values, pad, mode)
        for i in range(num_dims):
            size, step = conv.kernel_size[i], conv.stride[i]
            dilation = conv.dilation[i]
            values = values.unfold(2 + i, (size - 1) * dilation + 1, step)
            values = values[..., ::dilation]
        return values

    def fold(self, gain: Tensor, offset: Tensor | None) -> None:
        """Absorbs a following ``gain * y + offset`` (batch norm), per channel."""
        weight, groups = self.weight, self.conv.groups
        if self.is_transposed:  # [C_in, C_out / groups, *]
            per_group = gain.view(groups, 1, -1, *[1] * (weight.dim() - 2))
            scaled = (per_group * weight.unflatten(0, (groups, -1))).flatten(0, 1)
        else:
            scaled = gain.view(-1, *[1] * (weight.dim() - 1)) * weight
        self.set_parameters(scaled, self._folded_bias(gain, offset))

    def operations(self, x: Spikes | Tensor, *args: Any) -> list[Operation]:
        """One transform. Every output value takes a multiply-accumulate for
        each weight of its kernel, padding included; spikes at the border reach
        fewer weights.
        """
        self.check(x)
        shape = x.shape[-1 - len(self.conv.kernel_size) :]
        num_samples = x.shape.numel() // max(1, shape.numel())
        fan_out, out_size = self._fan_out(shape, args)
        per_value = self.weight[0].numel()  # Weights that each value meets.
        if self.is_transposed:
            num = num_samples * shape.numel() * per_value
        else:
            num = num_samples * out_size * per_value
        return [Operation('transform', num, fan_out, self.weight.numel())]

    def _fan_out(self, shape: torch.Size, args: tuple[Any, ...]) -> tuple[Tensor, int]:
        """How many weights each input value meets, and the output values."""
        with torch.inference_mode(False), torch.enable_grad():
            like = torch.empty((), dtype=torch.float64, device=self.weight.device)
            probe = like.new_zeros(1, *shape, requires_grad=True)
            parameters = {'weight': like.new_ones(self.weight.shape)}
            if self.bias is not None:
                parameters['bias'] = like.new_zeros(self.bias.shape)
            out = torch.func.functional_call(self.conv, parameters, (probe, *args))
            (fan_out,) = torch.autograd.grad(out.sum(), probe)
        return fan_out[0].round().long(), out.numel()

    def check(self, x: Spikes | Tensor) -> None:
        """Raises ``ValueError`` if an input is not what the convolution takes."""
        check_dtype(x, self)
        num_dims = len(self.conv.kernel_size)
        num_channels, shape = self.conv.in_channels, list(x.shape)
        is_known = len(shape) in (num_dims + 1, num_dims + 2)
        if not is_known or shape[self.channel_dim] != num_channels:
            sizes = ', '.join(['N', str(num_channels), *_SIZES[num_dims]])
            raise ValueError(
                f"Expected 'x' to have shape [{sizes}] for "
                f'{type(self.conv).__name__} (got {shape})'
            )
