"""Max pooling: in each window, the earliest spike passes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.pooling import _AdaptiveMaxPoolNd, _MaxPoolNd

from spikegraph.coding import Spikes
from spikegraph.nn.gate import EarliestGate, from_rank, ranks_of

#: The dimensions of the windows of PyTorch's maximum pools.
MAX_POOLS: dict[type[nn.Module], int] = {
    **{nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3},
    **{nn.AdaptiveMaxPool1d: 1, nn.AdaptiveMaxPool2d: 2, nn.AdaptiveMaxPool3d: 3},
}
_FEW = 9  # Values of a window that are compared one by one.
_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class EarliestInWindow(EarliestGate):
    r"""Max pooling in one, two or three dimensions: of the spike times in a
    window, the minimum. Beyond the border nothing fires.

    Args:
        pool (torch.nn.Module): The pooling layer, such as
            :class:`torch.nn.MaxPool2d` or
            :class:`torch.nn.AdaptiveMaxPool1d`.

    Raises:
        NotImplementedError: If it returns indices.
        ValueError: If scales differ within a window.

    Shapes:
        - **input:** spikes :math:`(N, C, *)` or :math:`(C, *)`
        - **output:** spikes of the pooled size

    Example:
        >>> from spikegraph.coding import PhaseCode
        >>> gate = EarliestInWindow.from_ann(nn.MaxPool1d(2))
        >>> x, code = torch.tensor([[[1.0, 0.5, 0.0, 0.25]]]), PhaseCode(4, base=2)
        >>> gate(Spikes.from_values(x, code)).decode().tolist()
        [[[1.0, 0.25]]]
    """

    def __init__(self, pool: _MaxPoolNd | _AdaptiveMaxPoolNd) -> None:
        super().__init__()
        if pool.return_indices:
            raise NotImplementedError(
                'it returns indices, and spike times do not tell them'
            )
        self.pool = pool
        self.num_dims = next(MAX_POOLS[t] for t in type(pool).__mro__ if t in MAX_POOLS)

    @classmethod
    def from_ann(cls, pool: _MaxPoolNd | _AdaptiveMaxPoolNd) -> EarliestInWindow:
        """Takes the options of a pooling layer."""
        return cls(pool)

    def forward(self, x: Spikes, *groups: Any) -> Spikes:
        """Returns the largest value of each window; a second argument replaces
        the size of the window.
        """
        window = x.scale.shape[max(0, x.scale.dim() - self.num_dims) :]
        if window.numel() > 1:
            raise ValueError(
                "Expected 'x' to have one scale in each window, so that its spike times "
                f'compare (got shape {tuple(x.scale.shape)})'
            )
        # The pool knows no bytes in all dimensions; as numbers they are exact.
        ranks = ranks_of(x).to(torch.get_default_dtype())
        earliest = -self._pool(groups)(-ranks)
        return from_rank(earliest.to(torch.uint8), x)

    def largest(self, x: Tensor) -> Tensor:
        """What the pooling layer itself returns; of windows of images that lie side by
        side, without the places of the maxima, which it finds as well.
        """
        pool = self.pool
        if type(pool) is not nn.MaxPool2d or x.dim() != 4 or pool.ceil_mode:
            return self.analog(x)
        size, step, padding, dilation = (
            tuple(self._per_dim(value))
            for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        )
        shape = tuple(n // k for n, k in zip(x.shape[2:], size, strict=True))
        are_apart = size == step and padding == (0, 0) and dilation == (1, 1)
        if not are_apart or not 2 <= size[0] * size[1] <= _FEW or 0 in shape:
            return self.analog(x)
        height, width = (n * k for n, k in zip(shape, size, strict=True))
        first, *others = (
            x[:, :, i : height : size[0], j : width : size[1]]
            for i, j in product(*map(range, size))
        )
        out = torch.empty_like(first)
        for part in others:
            first = torch.maximum(first, part, out=out)
        return out

    def analog(self, x: Tensor, *groups: Any) -> Tensor:
        """The pooling layer itself."""
        pooled: Tensor = self._pool(groups)(x)
        return pooled

    def count(self, x: Tensor, *groups: Any) -> Tensor:
        """The sum over each window."""
        pool = self._pool(groups)
        size = pool(x).shape[-self.num_dims :]
        flat = x.reshape(-1, 1, *x.shape[-self.num_dims :])
        if isinstance(pool, _MaxPoolNd):
            total = self._sum_windows(pool, flat, size)
        else:
            total = _sum_regions(flat, size)
        return total.view(*x.shape[: -self.num_dims], *size)

    def _pool(self, groups: tuple[Any, ...]) -> _MaxPoolNd | _AdaptiveMaxPoolNd:
        return type(self.pool)(groups[0]) if groups else self.pool

    def _sum_windows(self, pool: _MaxPoolNd, x: Tensor, size: torch.Size) -> Tensor:
        """A convolution with ones, on the input and zeros around it."""
        kernel, stride, padding, dilation = (
            self._per_dim(getattr(pool, name))
            for name in ('kernel_size', 'stride', 'padding', 'dilation')
        )
        around: list[int] = []
        for i in reversed(range(self.num_dims)):
            reach = (size[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
            around += [padding[i], reach - padding[i] - x.size(2 + i)]
        ones = x.new_ones(1, 1, *kernel)
        padded = F.pad(x, around)
        return _CONV[self.num_dims](padded, ones, stride=stride, dilation=dilation)

    def _per_dim(self, value: Any) -> list[int]:
        return [value] * self.num_dims if isinstance(value, int) else list(value)


def _sum_regions(x: Tensor, size: torch.Size) -> Tensor:
    """The regions of an adaptive pool, which may overlap."""
    out = x.new_zeros(*x.shape[:2], *size)
    for place in product(*map(range, size)):
        region = x
        for i, (k, num) in enumerate(zip(place, size, strict=True)):
            length = x.size(2 + i)
            start, end = k * length // num, -(-(k + 1) * length // num)
            region = region.narrow(2 + i, start, end - start)
        where: Any = (slice(None), slice(None), *place)
        out[where] = region.flatten(2).sum(-1)
    return out
