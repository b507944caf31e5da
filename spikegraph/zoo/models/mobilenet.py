"""A small MobileNetV3."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph.zoo.models.checks import check_sizes

# Kernel, width inside, width, squeeze and excitation, activation, stride; the widths
# as multiples of half that of the first layer.
_BLOCKS = (
    (3, 2, 2, True, nn.ReLU, 1),
    (3, 8, 3, False, nn.ReLU, 2),
    (3, 9, 3, False, nn.ReLU, 1),
    (5, 12, 5, True, nn.Hardswish, 2),
    (5, 15, 5, True, nn.Hardswish, 1),
)
_LAST, _HEAD = 20, 16  # Widths of the last convolution, and of the layer behind it.
_LEAST = 8  # Features that squeeze a block, at least.


class SqueezeExcitation(nn.Module):
    r"""Multiplies every channel by a gate, which sees the means of all of them:
    :math:`\mathbf{X}' = \mathbf{X} \odot \mathrm{hardsigmoid} ( \mathbf{W}_2
    \mathrm{ReLU} ( \mathbf{W}_1 \mathrm{mean} ( \mathbf{X} ) ) )`.

    Args:
        channels (int): The number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 4, _LEAST)
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.squeeze(F.adaptive_avg_pool2d(x, 1)).relu()
        return x * F.hardsigmoid(self.excite(gate))


class InvertedResidual(nn.Module):
    r"""A depthwise convolution between two of single pixels, the first of which
    makes its input wider. Where the size stays, the input is added.

    Args:
        in_channels (int): The number of channels of the input.
        inner_channels (int): That of the depthwise convolution.
        out_channels (int): That of the output.
        kernel_size (int): The size of the depthwise convolution.
        stride (int): Its stride.
        excitation (bool): Whether :class:`SqueezeExcitation` follows it.
        activation (type): The activation behind the first two convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        inner_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        excitation: bool,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        self.layers = nn.Sequential(
            *_conv(in_channels, inner_channels, 1),
            activation(),
            *_conv(inner_channels, inner_channels, kernel_size, stride, inner_channels),
            activation(),
            *([SqueezeExcitation(inner_channels)] if excitation else []),
            *_conv(inner_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNet(nn.Module):
    r"""A small network of the kind of the `"Searching for MobileNetV3"
    <https://arxiv.org/abs/1905.02244>`_ paper: a convolution of stride
    :obj:`2`, five inverted residuals, of which three have gates for their
    channels, a convolution of single pixels, the average over all of them, and
    two linear layers. There is batch normalization behind every convolution, and
    the later activations are :obj:`hardswish`.

    Args:
        image_size (tuple[int, int, int]): Channels, height and width of an
            image.
        out_channels (int): The number of classes.
        hidden_channels (int, optional): The number of channels of the first
            layer, an even one. (default: :obj:`16`)

    Raises:
        ValueError: If a size is not positive, or :obj:`hidden_channels` is odd
            or less than :obj:`4`.

    Shapes:
        - **input:** images :math:`(N, C, H, W)`
        - **output:** class scores :math:`(N, F_{out})`
    """

    def __init__(
        self,
        image_size: tuple[int, int, int],
        out_channels: int,
        hidden_channels: int = 16,
    ) -> None:
        super().__init__()
        in_channels = image_size[0]
        check_sizes(in_channels=in_channels, out_channels=out_channels)
        if hidden_channels < 4 or hidden_channels % 2 != 0:
            raise ValueError(
                "Expected 'hidden_channels' to be an even number of at least 4 (got "
                f'{hidden_channels})'
            )
        unit, width = hidden_channels // 2, hidden_channels
        self.stem = nn.Sequential(*_conv(in_channels, width, 3, 2), nn.Hardswish())
        blocks = []
        for kernel, inner, out, excitation, activation, stride in _BLOCKS:
            inner, out = inner * unit, out * unit
            blocks.append(
                InvertedResidual(
                    width, inner, out, kernel, stride, excitation, activation
                )
            )
            width = out
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*_conv(width, _LAST * unit, 1), nn.Hardswish())
        self.head = nn.Sequential(
            nn.Linear(_LAST * unit, _HEAD * unit),
            nn.Hardswish(),
            nn.Linear(_HEAD * unit, out_channels),
        )

        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
                module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the class scores of every image."""
        x = self.last(self.blocks(self.stem(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def _conv(
    in_channels: int, out_channels: int, size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(
            in_channels,
            out_channels,
            size,
            stride,
            padding=size // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
    ]
