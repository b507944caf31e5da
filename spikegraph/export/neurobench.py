"""Converted networks in the harness of NeuroBench, which then prints right figures.

NeuroBench 2.3 counts accumulates where the input of a linear layer or a convolution is
-1, 0 or 1, reads membranes of snnTorch's neurons, and counts nothing along edges. Here
the model runs in time steps and counts while it does; metrics of the same names read
that. The package itself is imported by :func:`metrics` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch_geometric.data import Data

from spikegraph.calls.outputs import main_output
from spikegraph.coding import Spikes
from spikegraph.export.neurobench_metrics import STATIC, WORKLOAD
from spikegraph.export.stepped_counts import SteppedCounts, count_steps
from spikegraph.running.model import SpikingModel, check_spiking
from spikegraph.running.steps import simulate

_REMEDY = (
    "register spikegraph's metrics of the same names, 'Benchmark(model, loader, [], "
    "[...], spikegraph.export.neurobench.metrics())'"
)


class SpikeGraphModel:
    """A converted network as a ``NeuroBenchModel``: each call runs all time steps.

    Args:
        snn (SpikingModel): The converted network.
        *context (Any): What the network is called with after the batch, such as
            :obj:`edge_index`, if batches are tensors.

    Attributes:
        activation_hooks (list): The spikes of each population, as rasters.
        connection_hooks (list): What the last calls cost; see :class:`SteppedCounts`.

    Raises:
        ValueError: If :obj:`snn` is no converted network.

    Example:
        >>> import torch
        >>> from spikegraph import convert
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> model = SpikeGraphModel(convert(net, x))
        >>> model.register_hooks()  # As NeuroBench does.
        >>> model(x).shape
        torch.Size([5, 3])
        >>> model.connection_hooks[0].counts[0].dense
        280
    """

    def __init__(self, snn: SpikingModel, *context: Any) -> None:
        check_spiking(snn)
        self.snn = snn
        self.context = context
        self.activation_hooks: list[PopulationHook] = []
        self.connection_hooks: list[CountHook] = []

    def __call__(self, batch: Any) -> Tensor:
        """The main output of a run in time steps; of a :class:`GraphInput` the rows
        that there are targets for.
        """
        is_graph = isinstance(batch, GraphInput)
        args = (batch.data,) if is_graph else (batch, *self._context_on(batch.device))
        simulation = simulate(self.snn, *args)
        if self.connection_hooks:
            counts = count_steps(self.snn, self.snn.bind(*args), simulation)
            for hook in self.connection_hooks:
                hook.counts.append(counts)
            for population in self.activation_hooks:
                population.spikes.append(simulation.spikes[population.name])
        leaves = pytree.tree_leaves(simulation.output)
        place = main_output(leaves)
        if place is None:
            raise ValueError(
                "Expected 'snn' to return a tensor (got "
                f'{type(simulation.output).__name__}); NeuroBench compares tensors'
            )
        found: Tensor = leaves[place]
        return found[batch.rows] if is_graph else found

    def _context_on(self, device: Any) -> list[Any]:
        """The context where the batch is, as the harness moves only that."""
        return [c.to(device) if isinstance(c, Tensor) else c for c in self.context]

    def __net__(self) -> SpikingModel:
        return self.snn

    def register_hooks(self) -> None:
        """Lets the calls from now on be counted."""
        self.cleanup_hooks()
        self.connection_hooks.append(CountHook())
        for name, neuron in self.snn.neurons.items():
            self.activation_hooks.append(PopulationHook(name, neuron))

    def reset_hooks(self) -> None:
        """Forgets what was counted."""
        for population in self.activation_hooks:
            population.reset()
        for hook in self.connection_hooks:
            hook.reset()

    def close_hooks(self) -> None:
        """Ends counting; what was counted stays."""

    def cleanup_hooks(self) -> None:
        """Ends counting."""
        self.activation_hooks.clear()
        self.connection_hooks.clear()


class PopulationHook:
    """The spikes of a population, which NeuroBench's metrics of activation sparsity
    read: one raster for each step, made when it is read.

    Args:
        name (str): The name of the population.
        layer (torch.nn.Module): The population.
    """

    spiking = True

    def __init__(self, name: str, layer: nn.Module) -> None:
        self.name, self.layer = name, layer
        self.spikes: list[Spikes] = []

    @property
    def activation_outputs(self) -> _Rasters:
        return _Rasters(self.spikes)

    @property
    def pre_fire_mem_potential(self) -> NoReturn:
        raise NotImplementedError(f'Cannot read membranes one by one; {_REMEDY}')

    post_fire_mem_potential = pre_fire_mem_potential
    activation_inputs = pre_fire_mem_potential

    def reset(self) -> None:
        self.spikes.clear()

    def close(self) -> None:
        pass


class CountHook:
    """What the calls of a model cost, since it was last reset."""

    def __init__(self) -> None:
        self.counts: list[SteppedCounts] = []

    @property
    def inputs(self) -> NoReturn:
        raise NotImplementedError(f'Cannot count accumulates from inputs; {_REMEDY}')

    def reset(self) -> None:
        self.counts.clear()

    def close(self) -> None:
        pass


class _Rasters:
    """Who fires in each step of each call, as -1, 0 and 1, one step after the other."""

    def __init__(self, spikes: list[Spikes]) -> None:
        self.spikes = spikes

    def __len__(self) -> int:
        return sum(each.code.num_steps for each in self.spikes)

    def __iter__(self) -> Iterator[Tensor]:
        for each in self.spikes:
            phase, polarity = each.phase(), each.polarity()
            for step in range(each.code.num_steps):
                yield polarity * (phase == step)


class GraphInput:
    """A graph, or a batch of graphs, as NeuroBench handles inputs.

    Args:
        data (torch_geometric.data.Data): The graph.
        rows (Any): Which rows of the output there are targets for, as an index.
        num_samples (int): How many nodes or graphs are computed, by which counts are
            divided.
    """

    def __init__(self, data: Data, rows: Any, num_samples: int) -> None:
        self.data, self.rows, self.num_samples = data, rows, num_samples

    def size(self, dim: int = 0) -> int:
        return self.num_samples

    def to(self, device: Any) -> GraphInput:
        return GraphInput(self.data.to(device), self.rows, self.num_samples)


class GraphLoader:
    """Graphs as NeuroBench's ``Benchmark`` reads data: pairs of input and target.

    Args:
        data (Data, DataLoader or iterable): A graph, or what yields graphs or batches
            of graphs, as PyG's loaders do, :class:`NeighborLoader` included (the seed
            nodes are the samples then).
        mask (str, optional): The attribute that says which rows there are targets for,
            such as :obj:`"test_mask"`. All rows are computed, and counts are divided
            by all of them. (default: :obj:`None`, all)
        target (str, optional): The attribute with a target for each node or graph.
            (default: :obj:`"y"`)

    Raises:
        ValueError: If a graph lacks the target or the mask.

    Example:
        >>> import torch
        >>> data = Data(x=torch.rand(3, 4), y=torch.tensor([0, 1, 1]))
        >>> data.test_mask = torch.tensor([True, False, True])
        >>> [(x, y)] = GraphLoader(data, mask='test_mask')
        >>> x.size(0), y
        (3, tensor([0, 1]))
    """

    def __init__(self, data: Any, mask: str | None = None, target: str = 'y') -> None:
        self.batches: Iterable[Any] = [data] if isinstance(data, Data) else data
        if not hasattr(self.batches, '__len__'):
            self.batches = list(self.batches)
        self.mask, self.target = mask, target

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    @property
    def dataset(self) -> range:
        """As long as there are samples, which is all that the harness asks for."""
        return range(sum(x.size(0) for x, _ in self))

    def __iter__(self) -> Iterator[tuple[GraphInput, Tensor]]:
        for data in self.batches:
            yield self._pair(data)

    def _pair(self, data: Any) -> tuple[GraphInput, Tensor]:
        for name in filter(None, (self.target, self.mask)):
            if not isinstance(data, Data) or name not in data:
                raise ValueError(
                    f"Expected 'data' to be PyG data with '{name}' (got {data}); name "
                    "its attributes with 'target' and 'mask'"
                )
        target = data[self.target]
        num = len(target)
        if 'input_id' in data:  # Of a sampled neighbourhood only the seeds count.
            num = int(data.batch_size)
        rows: Any = slice(num)
        if self.mask is not None:
            rows = data[self.mask][:num].nonzero().view(-1)
        return GraphInput(data, rows, num), target[:num][rows]


def metrics() -> list[list[type]]:
    """The metrics to pass to ``neurobench.benchmarks.Benchmark``, under the names of
    NeuroBench's own: static ones, and those of the workload.

    Returns:
        List[List[type]]: Two lists of classes, of which any may be left out.

    Raises:
        ImportError: If NeuroBench is not installed.
    """
    try:
        from neurobench.metrics import abstract
        from neurobench.models import NeuroBenchModel
    except ImportError as error:
        raise ImportError(
            "Expected 'neurobench' to be installed (got none); install it with "
            "'pip install spikegraph[neurobench]'"
        ) from error
    NeuroBenchModel.register(SpikeGraphModel)
    for static in STATIC:
        abstract.StaticMetric.register(static)
    for workload in WORKLOAD:
        abstract.AccumulatedMetric.register(workload)
    return [list(STATIC), list(WORKLOAD)]
