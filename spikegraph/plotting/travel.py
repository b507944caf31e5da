"""Spikes of the nodes of a small graph, step by step: what pictures of them show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path
from torch import Tensor
from torch_geometric.data import Data

if TYPE_CHECKING:
    from spikegraph.running.steps import Simulation

#: Of Okabe and Ito: told apart also by those who see fewer colours.
CLASS_COLORS = (
    *('#e69f00', '#56b4e9', '#009e73', '#d55e00'),
    *('#cc79a7', '#0072b2', '#b8a600', '#8c6bb1'),
)
_MOST_NODES, _MOST_EDGES = 100, 1200  # More are a hairball.
_ITERATIONS = 200


@dataclass(frozen=True)
class Travel:
    """What a simulation does on the nodes of a graph.

    Args:
        position (numpy.ndarray): Places of the nodes between 0 and 1 :math:`(N, 2)`.
        edges (numpy.ndarray): Source and target of each edge, self-loops left out
            :math:`(2, E)`.
        windows (List[Tuple[str, int, int]]): Each population with neurons on nodes, the
            first step of its window, and the step after the last one.
        counts (numpy.ndarray): Spikes of each node at each step :math:`(S, N)`.
        levels (numpy.ndarray): What a spike of each step stands for, relative to those
            of the first step of its window :math:`(S)`.
        predicted (numpy.ndarray, optional): The largest output of each node
            :math:`(N)`; :obj:`None` where outputs are no classes of nodes.
    """

    position: np.ndarray
    edges: np.ndarray
    windows: list[tuple[str, int, int]]
    counts: np.ndarray
    levels: np.ndarray
    predicted: np.ndarray | None

    @property
    def num_steps(self) -> int:
        """Steps up to the last one in which a population may fire."""
        return len(self.counts)

    def colors(self) -> list[str]:
        """A colour for each node, of its class."""
        if self.predicted is None:
            return [CLASS_COLORS[5]] * len(self.position)
        return [CLASS_COLORS[k % len(CLASS_COLORS)] for k in self.predicted]

    def sizes(self) -> np.ndarray:
        """Spikes relative to the most that a node has at a step :math:`(S, N)`."""
        return self.counts / max(1, self.counts.max())

    def window_at(self, step: int) -> str:
        """The populations that may fire at a step."""
        names = [name for name, start, end in self.windows if start <= step < end]
        return ', '.join(names)


def travel_of(
    simulation: Simulation,
    data: Any,
    channel: int | None = None,
    position: Any = None,
) -> Travel:
    """What a simulation does on the nodes of the graph that it ran on.

    Args:
        simulation (Simulation): From :func:`spikegraph.simulate`.
        data (torch_geometric.data.Data): The graph.
        channel (int, optional): Only this neuron of each node.
            (default: :obj:`None`, all)
        position (Any, optional): Places of the nodes :math:`(N, 2)`.
            (default: ``data.pos`` if it has two columns, else distances along edges are
            drawn as lengths)

    Raises:
        ValueError: If there is no graph, or one too large to be seen, or the simulation
            has no neurons on its nodes.
    """
    edge_index, num_nodes = _graph(data)
    on_nodes = {
        name: spikes
        for name, spikes in simulation.spikes.items()
        if spikes.spike_time.dim() >= 2 and spikes.shape[0] == num_nodes
    }
    if not on_nodes:
        shapes = [tuple(spikes.shape) for spikes in simulation.spikes.values()]
        raise ValueError(
            f"Expected 'simulation' to have populations on the {num_nodes} nodes of "
            f"'data' (got shapes {shapes}); give the graph that it ran on, or use "
            "'plot_raster'"
        )
    windows = []
    for name, spikes in on_nodes.items():
        start = simulation.start_step[name]
        windows.append((name, start, start + spikes.code.num_steps))
    num_steps = max(end for _, _, end in windows)
    counts = np.zeros((num_steps, num_nodes), dtype=np.int64)
    levels = np.zeros(num_steps)
    for (_, start, end), spikes in zip(windows, on_nodes.values(), strict=True):
        raster = spikes.raster().reshape(end - start, num_nodes, -1)
        counts[start:end] += _chosen(raster, channel).sum(dim=2).cpu().numpy()
        own = spikes.code.levels.double().cpu().numpy()
        levels[start:end] = np.maximum(levels[start:end], own / own[0])
    places = _positions(data, edge_index, num_nodes, position)
    predicted = _predicted(simulation.output, num_nodes)
    return Travel(places, edge_index, windows, counts, levels, predicted)


def _graph(data: Any) -> tuple[np.ndarray, int]:
    edge_index = getattr(data, 'edge_index', None)
    if not isinstance(data, Data) or not isinstance(edge_index, Tensor):
        raise ValueError(
            "Expected 'data' to be PyG data with an 'edge_index' (got "
            f"{type(data).__name__}); of networks that are not on graphs, 'plot_raster' "
            'shows the spikes'
        )
    num_nodes, num_edges = int(data.num_nodes or 0), edge_index.size(1)
    if not 1 <= num_nodes <= _MOST_NODES or num_edges > _MOST_EDGES:
        raise ValueError(
            f"Expected 'data' to have 1 to {_MOST_NODES} nodes and at most "
            f'{_MOST_EDGES} edges (got {num_nodes:,} and {num_edges:,}); simulate on a '
            "piece of the graph, such as 'data.subgraph(nodes)'"
        )
    edges = edge_index.cpu().numpy()
    return edges[:, edges[0] != edges[1]], num_nodes


def _chosen(raster: Tensor, channel: int | None) -> Tensor:
    """The neurons that are shown :math:`(T, N, F)`."""
    width = raster.size(2)
    if channel is None:
        return raster
    if not isinstance(channel, int) or not 0 <= channel < width:
        raise ValueError(
            f"Expected 'channel' to be an integer of at least 0 and less than {width}, the "
            f'neurons that each node has in every population (got {channel!r})'
        )
    return raster[:, :, channel : channel + 1]


def _predicted(output: Any, num_nodes: int) -> np.ndarray | None:
    if not isinstance(output, Tensor) or output.dim() != 2:
        return None
    if output.size(0) != num_nodes or output.size(1) < 2:
        return None
    return output.argmax(dim=1).cpu().numpy()


def _positions(data: Any, edges: np.ndarray, num_nodes: int, given: Any) -> np.ndarray:
    pos = getattr(data, 'pos', None)
    if (
        given is None
        and isinstance(pos, Tensor)
        and pos.dim() == 2
        and pos.size(1) == 2
    ):
        given = pos
    if given is None:
        found = stress_layout(edges, num_nodes)
    else:
        found = torch.as_tensor(given).double().cpu().numpy()
        if found.shape != (num_nodes, 2) or not np.isfinite(found).all():
            raise ValueError(
                f"Expected 'position' to be finite, of shape [{num_nodes}, 2] (got shape "
                f'{list(found.shape)})'
            )
    low, high = found.min(axis=0), found.max(axis=0)
    size = np.where(high > low, high - low, 1.0)
    return np.where(high > low, (found - low) / size, 0.5)


def stress_layout(edges: np.ndarray, num_nodes: int) -> np.ndarray:
    """Places nodes so that distances on the page are those along edges, as well as two
    dimensions allow: the `stress <https://doi.org/10.1007/978-3-540-31843-9_25>`_ of the
    layout is majorized.

    Args:
        edges (numpy.ndarray): Source and target of each edge :math:`(2, E)`.
        num_nodes (int): Number of nodes :math:`N`.

    Returns:
        numpy.ndarray: The places :math:`(N, 2)`, the longer axis first.
    """
    graph = csr_matrix((np.ones(edges.shape[1]), edges), shape=(num_nodes, num_nodes))
    distance = shortest_path(graph, directed=False, unweighted=True)
    finite = np.isfinite(distance)
    distance[~finite] = distance[finite].max() + 1  # Between components.
    weight = np.zeros_like(distance)
    np.divide(1.0, distance**2, out=weight, where=distance > 0)
    laplacian = np.diag(weight.sum(axis=1)) - weight
    inverse = np.linalg.pinv(laplacian)
    place = _scaled(distance)
    for _ in range(_ITERATIONS):
        apart = np.linalg.norm(place[:, None] - place[None], axis=2)
        pull = np.zeros_like(distance)
        np.divide(weight * distance, apart, out=pull, where=apart > 1e-9)
        place = inverse @ ((np.diag(pull.sum(axis=1)) - pull) @ place)
    _, _, axes = np.linalg.svd(place - place.mean(axis=0))
    return (place - place.mean(axis=0)) @ axes.T


def _scaled(distance: np.ndarray) -> np.ndarray:
    """Classical scaling, a place to start from; nodes that fall together are nudged."""
    num = len(distance)
    center = np.eye(num) - 1 / num
    values, vectors = np.linalg.eigh(-center @ (distance**2) @ center / 2)
    place = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    padded = np.zeros((num, 2))
    padded[:, : place.shape[1]] = place
    return padded + 0.05 * np.random.default_rng(0).standard_normal((num, 2))
