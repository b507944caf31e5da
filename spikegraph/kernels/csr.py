from __future__ import annotations

from typing import Any, NamedTuple


class CSR(NamedTuple):
    r"""A graph as kernels read it: the in-edges of one node after those of another.

    .. math::
        y_i = b_i \sum_{j \in \mathcal{N}(i)} w_{ij} \, a_j \, x_j

    Backends fill it with tensors or arrays of their own.

    Args:
        rowptr (torch.Tensor): Where the in-edges of each node start :math:`(N + 1)`.
        col (torch.Tensor): The source of each edge :math:`(E)`.
        weight (torch.Tensor, optional): The weight :math:`w_{ij}` of each edge
            :math:`(E)`. (default: :obj:`None`)
        source_factor (torch.Tensor, optional): The factor :math:`a_j` of each source
            :math:`(M, 1)`. (default: :obj:`None`)
        target_factor (torch.Tensor, optional): The factor :math:`b_i` of each
            destination :math:`(N, 1)`. (default: :obj:`None`)
    """

    rowptr: Any
    col: Any
    weight: Any = None
    source_factor: Any = None
    target_factor: Any = None
