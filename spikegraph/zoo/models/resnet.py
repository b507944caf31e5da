"""The residual network for CIFAR-10."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph.zoo.models.checks import check_sizes

_NUM_BLOCKS = 3  # Per stage: 1 + 3 * 3 * 2 + 1 = 20 layers.


class ResidualBlock(nn.Module):
    r"""Two convolutions with batch normalization, and a shortcut around them
    that has no parameters: option A of the `"Deep Residual Learning for Image
    Recognition" <https://arxiv.org/abs/1512.03385>`_ paper.

    Args:
        in_channels (int): The number of channels of the input.
        out_channels (int): The number of channels of the output. The shortcut
            pads with as many zero channels on either side.
        stride (int, optional): The stride of the first convolution. The
            shortcut takes every so manieth pixel. (default: :obj:`1`)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding = stride, (out_channels - in_channels) // 2
        self.conv1 = nn.Conv2d(
            in_channels, out_channels, 3, stride=stride, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.padding > 0:
            x = F.pad(x, (0, 0, 0, 0, self.padding, self.padding))
        return (out + x).relu()


class ResNet20(nn.Module):
    r"""ResNet-20 for the images of CIFAR-10, from the `"Deep Residual Learning
    for Image Recognition" <https://arxiv.org/abs/1512.03385>`_ paper: a
    convolution, three stages of three residual blocks with 16, 32 and 64
    channels, the average over all pixels, and a linear layer.

    Parameters have the names of the usual public state dicts
    (:obj:`layer1.0.conv1.weight`, ...).

    Args:
        in_channels (int, optional): The number of channels of an image.
            (default: :obj:`3`)
        out_channels (int, optional): The number of classes.
            (default: :obj:`10`)

    Raises:
        ValueError: If a size is not positive.

    Shapes:
        - **input:** images :math:`(N, C, H, W)`
        - **output:** class scores :math:`(N, F_{out})`
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 10) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, out_channels=out_channels)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, stride=1)
        self.layer2 = _stage(16, 32, stride=2)
        self.layer3 = _stage(32, 64, stride=2)
        self.linear = nn.Linear(64, out_channels)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the class scores of every image."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(in_channels, out_channels, stride),
        *(ResidualBlock(out_channels, out_channels) for _ in range(_NUM_BLOCKS - 1)),
    )
