"""A small vision transformer."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph.zoo.models.checks import check_heads, check_sizes


class ViTBlock(nn.Module):
    r"""A layer of :class:`ViT`: attention between the patches of an image, and a
    network of two layers for each of them, with normalization before both.

    Args:
        channels (int): The number of features of a patch.
        heads (int): The number of attention heads.
        mlp_ratio (int): How many times as wide the hidden layer of the network
            is.
    """

    def __init__(self, channels: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, mlp_ratio * channels),
            nn.GELU(),
            nn.Linear(mlp_ratio * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = (part.transpose(1, 2) for part in heads.unbind(2))
        out = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(out.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    r"""A small vision transformer, as in the `"An Image is Worth 16x16 Words"
    <https://arxiv.org/abs/2010.11929>`_ paper, which reads the mean over the
    patches instead of a class token.

    .. math::
        \mathbf{X}^{(0)} &= \mathbf{W} \, \mathrm{patches} + \mathbf{P}

        \mathbf{Z} &= \mathbf{X}^{(l)} + \mathrm{Attention} ( \mathrm{LayerNorm}
        ( \mathbf{X}^{(l)} ) )

        \mathbf{X}^{(l+1)} &= \mathbf{Z} + \mathrm{MLP} ( \mathrm{LayerNorm} (
        \mathbf{Z} ) )

    with learned positions :math:`\mathbf{P}` and the GELU in the MLP. Scores
    are a linear function of the normalized mean.

    Args:
        image_size (tuple[int, int, int]): Channels, height and width of an
            image.
        out_channels (int): The number of classes.
        hidden_channels (int, optional): The number of features of a patch.
            (default: :obj:`128`)
        num_layers (int, optional): The number of layers. (default: :obj:`6`)
        heads (int, optional): The number of attention heads.
            (default: :obj:`4`)
        patch_size (int, optional): The height and width of a patch.
            (default: :obj:`7`)
        mlp_ratio (int, optional): How many times as wide the hidden layer of
            an MLP is. (default: :obj:`2`)

    Raises:
        ValueError: If a size is not positive, :obj:`hidden_channels` is no
            multiple of :obj:`heads`, or the image none of the patches.

    Shapes:
        - **input:** images :math:`(N, C, H, W)`
        - **output:** class scores :math:`(N, F_{out})`
    """

    def __init__(
        self,
        image_size: tuple[int, int, int],
        out_channels: int,
        hidden_channels: int = 128,
        num_layers: int = 6,
        heads: int = 4,
        patch_size: int = 7,
        mlp_ratio: int = 2,
    ) -> None:
        super().__init__()
        in_channels, height, width = image_size
        check_sizes(
            in_channels=in_channels,
            out_channels=out_channels,
            hidden_channels=hidden_channels,
            num_layers=num_layers,
            patch_size=patch_size,
            mlp_ratio=mlp_ratio,
        )
        check_heads(hidden_channels, heads=heads)
        if height % patch_size != 0 or width % patch_size != 0:
            raise ValueError(
                f"Expected 'image_size' to be a multiple of 'patch_size' (got {height} "
                f'by {width} pixels and patches of {patch_size})'
            )
        num_patches = (height // patch_size) * (width // patch_size)
        self.patches = nn.Conv2d(
            in_channels, hidden_channels, patch_size, stride=patch_size
        )
        self.positions = nn.Parameter(torch.zeros(1, num_patches, hidden_channels))
        self.blocks = nn.Sequential(
            *(ViTBlock(hidden_channels, heads, mlp_ratio) for _ in range(num_layers))
        )
        self.norm = nn.LayerNorm(hidden_channels)
        self.linear = nn.Linear(hidden_channels, out_channels)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        module: Any
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.LayerNorm)):
                module.reset_parameters()
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the class scores of every image."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.linear(self.norm(self.blocks(x).mean(dim=1)))
