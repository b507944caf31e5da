from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from spikegraph.nn.conv.twin import SpikingTwin

_BATCH_NORMS = (
    (nn.InstanceNorm1d, nn.BatchNorm1d, 3),
    (nn.InstanceNorm2d, nn.BatchNorm2d, 4),
    (nn.InstanceNorm3d, nn.BatchNorm3d, 5),
)


class SpikingInstanceNorm(SpikingTwin):
    r"""An instance norm that tracked statistics, PyTorch's or PyG's: in evaluation it
    is affine, and the batch norm

    .. math::
        \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta

    with its running mean and variance.
    """

    def build(self, norm: Any) -> None:
        """Takes parameters and statistics.

        Raises:
            NotImplementedError: If there are none.
        """
        if norm.running_mean is None:
            raise NotImplementedError(
                'it normalises by the statistics of each input; those that training '
                "tracks, with 'track_running_stats=True', are affine"
            )
        kind: Any = nn.BatchNorm1d
        rank = 2  # Nodes times channels, in PyG.
        for base, batch_norm, with_batch in _BATCH_NORMS:
            if isinstance(norm, base):
                kind, rank = batch_norm, with_batch
        affine = norm.weight is not None
        self.norm = kind(norm.running_mean.numel(), norm.eps, affine=affine)
        self.norm.to(norm.running_mean)
        self.norm.load_state_dict(norm.state_dict(), strict=False)
        self.rank = rank

    def forward(self, x: Tensor, *graph: Any) -> Tensor:
        """Normalises features, of one input also without a dimension for more."""
        if x.dim() == self.rank:
            return self.norm(x)
        return self.norm(x.unsqueeze(0)).squeeze(0)
