"""What is tested of each model definition, and the data that it is called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.data.data import BaseData

NUM_FEATURES, WIDTH, NUM_CLASSES = 12, 16, 4
SIZE, OTHER_SIZES = 40, (57, 23)


@dataclass(frozen=True)
class Refusal:
    """What a message has to say, and what follows from doing as it says.

    Args:
        path (str): The module path that it names, '' for the model itself.
        line (str): The text of the line of the definition that it points to.
        says (str): A pattern for the reason or the remedy.
        follow (Callable): Given the model and its call, the model, the call and
            the options after the remedy; :obj:`None` for ``allow_analog=True``.
        activations (int, optional): The activations of what then converts.
    """

    path: str
    line: str
    says: str
    follow: Callable[[nn.Module, Any], tuple[nn.Module, Any, dict[str, Any]]] | None = (
        None
    )
    activations: int | None = None


@dataclass(frozen=True)
class Foreign:
    """A model definition in the manner of public code.

    Args:
        name (str): The name of the class or function that builds it.
        describes (str): The idiom, in a line.
        build (Callable): Makes the model.
        call (Callable): Makes the call that it is calibrated on.
        other_calls (Tuple[Callable, ...]): Make calls of other sizes.
        expects (str): ``'converts'`` with no analog part, ``'analog'`` with
            ``allow_analog=True`` only, or ``'refused'``.
        activations (int, optional): The activations in the definition, as often
            as each is called, the exponentials of a softmax and the roots of a norm
            among them; :obj:`None` where a gate does as well.
        inputs (int, optional): The inputs that become populations; :obj:`None`
            where nothing says how many.
        bound (float): The relative error of the output, at most.
        guarded (bool): Whether a call of another size may be refused.
        macs (bool): Whether brute force is certain of the ANN's operations.
        synops (Callable, optional): Given the model and where each population
            spikes, the weights that they reach.
        refusal (Refusal, optional): What the refusal says.
    """

    name: str
    describes: str
    build: Callable[[], nn.Module]
    call: Callable[[], Any]
    other_calls: tuple[Callable[[], Any], ...] = ()
    expects: Literal['converts', 'analog', 'refused'] = 'converts'
    activations: int | None = 1
    inputs: int | None = 1
    bound: float = 0.15
    guarded: bool = False
    macs: bool = True
    synops: Callable[[nn.Module, list[Tensor]], int] | None = None
    refusal: Refusal | None = None


MODELS: dict[str, Foreign] = {}


def define(
    describes: str,
    call: Callable[[int], Any],
    *,
    sizes: tuple[int, ...] = (SIZE, *OTHER_SIZES),
    **options: Any,
) -> Callable[[Any], Any]:
    """Registers a class, or a function that makes a model."""

    def register(build: Any) -> Any:
        assert build.__name__ not in MODELS, build
        first, *others = (partial(call, size) for size in sizes)
        MODELS[build.__name__] = Foreign(
            build.__name__, describes, build, first, tuple(others), **options
        )
        return build

    return register


def invoke(model: Callable[..., Any], call: Any) -> Any:
    """Calls a model as its users do."""
    if isinstance(call, tuple):
        return model(*call)
    if isinstance(call, dict):
        return model(**call)
    assert isinstance(call, (Tensor, list, BaseData))
    return model(call)


def fan_outs(*widths: int) -> Callable[[nn.Module, list[Tensor]], int]:
    """The operations of populations that are read by linear layers."""
    return lambda model, spikes: sum(
        int(s.sum()) * width for s, width in zip(spikes, widths, strict=True)
    )


def graph(num_nodes: int) -> Data:
    """A symmetric random graph without loops, whose last node is alone."""
    generator = torch.Generator().manual_seed(num_nodes)
    dtype = torch.get_default_dtype()
    x = torch.rand(num_nodes, NUM_FEATURES, generator=generator, dtype=torch.float64)
    x[x < 0.4] = 0.0
    pairs = torch.combinations(torch.arange(num_nodes - 1))
    chosen = torch.randperm(len(pairs), generator=generator)[: 2 * num_nodes]
    row, col = pairs[chosen].t()
    edge_index = torch.cat([torch.stack([row, col]), torch.stack([col, row])], dim=1)
    weight = torch.rand(2 * num_nodes, generator=generator, dtype=torch.float64) + 0.1
    data = Data(x=x.to(dtype), edge_index=edge_index)
    data.edge_weight = torch.cat([weight, weight]).to(dtype)
    data.edge_type = torch.arange(4 * num_nodes) % 3
    data.atoms = torch.randint(5, (num_nodes, 2), generator=generator)
    data.bonds = torch.randint(3, (4 * num_nodes,), generator=generator)
    data.batch = torch.arange(num_nodes) // 10
    return data


def dense(num_nodes: int) -> Tensor:
    """The adjacency with self-loops, normalised as in a GCN."""
    data = graph(num_nodes)
    adj = torch.eye(num_nodes)
    adj[data.edge_index[0], data.edge_index[1]] = 1.0
    scale = adj.sum(dim=1).rsqrt()
    return scale[:, None] * adj * scale


def with_edges(num_nodes: int) -> tuple[Tensor, Tensor]:
    data = graph(num_nodes)
    return data.x, data.edge_index


def with_weights(num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    data = graph(num_nodes)
    return data.x, data.edge_index, data.edge_weight


def with_types(num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    data = graph(num_nodes)
    return data.x, data.edge_index, data.edge_type


def with_batch(num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    data = graph(num_nodes)
    return data.x, data.edge_index, data.batch


def with_dense(num_nodes: int) -> tuple[Tensor, Tensor]:
    return graph(num_nodes).x, dense(num_nodes)


def with_coo(num_nodes: int) -> tuple[Tensor, Tensor]:
    return graph(num_nodes).x, dense(num_nodes).to_sparse().coalesce()


def with_csr(num_nodes: int) -> tuple[Tensor, Tensor]:
    return graph(num_nodes).x, dense(num_nodes).to_sparse_csr()


def with_csc(num_nodes: int) -> tuple[Tensor, Tensor]:
    return graph(num_nodes).x, dense(num_nodes).to_sparse_csc()


def features(num_rows: int) -> Tensor:
    return graph(num_rows).x


def images(number: int, size: int = 12, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    shape = (number, channels, size, size)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    return x.to(torch.get_default_dtype())


def sequences(number: int, steps: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    shape = (number, steps, NUM_FEATURES)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    return x.to(torch.get_default_dtype())
