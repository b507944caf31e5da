"""Which part of a graph owns each of its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Partition:
    r"""Divides the nodes of a graph into parts, some of which may be empty.

    Args:
        owners (Dict[str, torch.Tensor]): The part of each node
            :math:`(N)`, from :obj:`0` to :obj:`num_parts - 1`, for each type of
            nodes. A graph with one type has it under :obj:`""`. They are kept as
            int32.
        num_parts (int): The number of parts.
        method (str): What divided the graph, for reports.

    Raises:
        ValueError: If parts are no integers of one dimension, or out of range.

    Example:
        >>> partition = Partition({'': torch.tensor([0, 1, 1, 0])}, 3, 'by hand')
        >>> partition.rows(1)
        tensor([1, 2])
        >>> partition.sizes()
        tensor([2, 2, 0])
    """

    owners: dict[str, Tensor]
    num_parts: int
    method: str

    def __post_init__(self) -> None:
        check_num_parts(self.num_parts)
        if not isinstance(self.method, str) or not self.method:
            raise ValueError(f"Expected 'method' to be a name (got {self.method!r})")
        if not isinstance(self.owners, Mapping) or not self.owners:
            raise ValueError(
                "Expected 'owners' to be a dictionary of one tensor per node type (got "
                f"{type(self.owners).__name__}); with one type, {{'': owners}}"
            )
        owners = {}
        for node_type, owner in self.owners.items():
            owners[node_type] = _checked(node_type, owner, self.num_parts)
        object.__setattr__(self, 'owners', owners)

    @property
    def node_types(self) -> list[str]:
        """The types of nodes."""
        return list(self.owners)

    @property
    def num_nodes(self) -> dict[str, int]:
        """The number of nodes of each type."""
        return {node_type: owner.numel() for node_type, owner in self.owners.items()}

    def rows(self, part: int, node_type: str = '') -> Tensor:
        """The nodes of a part, in ascending order, int64.

        Args:
            part (int): The part.
            node_type (str, optional): The type of the nodes. (default: :obj:`""`)

        Raises:
            ValueError: If there is no such part or type.
        """
        self.check_part(part)
        return (self.owner(node_type) == part).nonzero().view(-1)

    def sizes(self, node_type: str = '') -> Tensor:
        """The number of nodes of each part :math:`(P)`, int64.

        Args:
            node_type (str, optional): The type of the nodes. (default: :obj:`""`)

        Raises:
            ValueError: If there is no such type.
        """
        return torch.bincount(self.owner(node_type), minlength=self.num_parts)

    def owner(self, node_type: str = '') -> Tensor:
        """The part of each node of a type :math:`(N)`.

        Args:
            node_type (str, optional): The type of the nodes. (default: :obj:`""`)

        Raises:
            ValueError: If there is no such type.
        """
        if node_type not in self.owners:
            raise ValueError(
                "Expected 'node_type' to be one of "
                f'{", ".join(map(repr, self.owners))} (got {node_type!r})'
            )
        return self.owners[node_type]

    def check_part(self, part: int) -> None:
        """Raises ``ValueError`` if there is no such part."""
        if type(part) is not int or not 0 <= part < self.num_parts:
            raise ValueError(
                f"Expected 'part' to be an integer from 0 to {self.num_parts - 1} "
                f'(got {part!r})'
            )

    def check_nodes(self, num_nodes: Mapping[str, int]) -> None:
        """Raises ``ValueError`` if these are not the numbers of nodes of its types."""
        if self.num_nodes != dict(num_nodes):
            raise ValueError(
                "Expected 'partition' to be of this graph, which has "
                f'{described(num_nodes)} (got one of {described(self.num_nodes)}); '
                "divide it with 'partition_graph'"
            )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({described(self.num_nodes)}, '
            f'num_parts={self.num_parts}, method={self.method!r})'
        )


def check_num_parts(num_parts: int) -> None:
    """Raises ``ValueError`` unless it is a positive integer that int32 holds."""
    if type(num_parts) is not int or not 1 <= num_parts < 2**31:
        raise ValueError(
            f"Expected 'num_parts' to be a positive integer (got {num_parts!r})"
        )


def described(num_nodes: Mapping[str, int]) -> str:
    """Numbers of nodes as text."""
    found = [f'{n:,} nodes' + f" '{t}'" * bool(t) for t, n in num_nodes.items()]
    return ' and '.join(found) or 'no nodes'


def _checked(node_type: str, owner: Tensor, num_parts: int) -> Tensor:
    name = f'owners[{node_type!r}]'
    if not isinstance(node_type, str):
        raise ValueError(
            f"Expected the keys of 'owners' to be node types (got {node_type!r})"
        )
    if not isinstance(owner, Tensor) or owner.dtype not in _INTEGERS:
        kind = owner.dtype if isinstance(owner, Tensor) else type(owner).__name__
        raise ValueError(f"Expected '{name}' to be a tensor of integers (got {kind})")
    if owner.dim() != 1:
        raise ValueError(
            f"Expected '{name}' to have one dimension (got shape {list(owner.shape)})"
        )
    if owner.numel() > 0:
        low, high = int(owner.min()), int(owner.max())
        if low < 0 or high >= num_parts:
            raise ValueError(
                f"Expected '{name}' to hold parts from 0 to {num_parts - 1}, as "
                f"'num_parts' is {num_parts} (got {low if low < 0 else high})"
            )
    return owner.to(torch.int32)
