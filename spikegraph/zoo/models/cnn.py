"""A small convolutional network."""

from typing import Any

from torch import Tensor, nn

from spikegraph.zoo.models.checks import check_sizes


class CNN(nn.Module):
    r"""A small convolutional network. It computes

    .. math::
        \mathbf{X}' = \mathrm{ReLU} ( \mathrm{BatchNorm} (
        \mathbf{W} * \mathbf{X} ) )

    three times, with 3 by 3 filters and twice as many channels each time, with
    maxima over 2 by 2 pixels in between; a linear layer reads all pixels.

    Args:
        image_size (tuple[int, int, int]): Channels, height and width of an
            image.
        out_channels (int): The number of classes.
        hidden_channels (int, optional): The number of channels of the first
            layer. (default: :obj:`16`)

    Raises:
        ValueError: If a size is not positive, or an image has less than 4 by 4
            pixels.

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
        in_channels, height, width = image_size
        check_sizes(
            in_channels=in_channels,
            out_channels=out_channels,
            hidden_channels=hidden_channels,
        )
        if min(height, width) < 4:
            raise ValueError(
                f"Expected 'image_size' to be at least 4 by 4 pixels (got {height} by "
                f'{width})'
            )
        widths = [in_channels, *(hidden_channels * 2**i for i in range(3))]
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, bias=False)
            for i in range(3)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(widths[-1] * (height // 4) * (width // 4), out_channels)

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in [*self.convs, *self.norms, self.linear]:
            module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the class scores of every image."""
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = self.pool(x) if i > 0 else x
            x = norm(conv(x)).relu()
        return self.linear(x.flatten(1))
