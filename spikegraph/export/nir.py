"""Converted networks in the Neuromorphic Intermediate Representation (NIR)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from spikegraph.export.nir_layers import (
    array,
    is_feedforward,
    is_join,
    layer_node,
    passes_on,
)
from spikegraph.export.nir_nodes import import_nir, node_types, register_nodes
from spikegraph.export.nir_rates import rate_error
from spikegraph.export.segments import OUTPUT, Population, Segments, check_expressible
from spikegraph.network.graph import Node
from spikegraph.network.roles import Role
from spikegraph.running.model import SpikingModel

_REMEDY = (
    "take a smaller graph, pass another 'max_weights', or save the network itself with "
    "'spikegraph.save'"
)


def to_nir(
    snn: SpikingModel,
    *args: Any,
    neuron: Literal['phase', 'IF'] = 'phase',
    rate_steps: int = 256,
    max_weights: int = 4_000_000,
    **kwargs: Any,
) -> Any:
    r"""A network, for given inputs, as a ``nir.NIRGraph``, which ``nir.write`` writes.

    Layers that NIR has (linear, convolution, average pooling, flatten, sums of two) are
    written one by one, and the graph is about one sample. Where there is anything else,
    such as a graph that values move along, what lies between two populations is one
    matrix over all nodes and channels, of the given graph.

    With :obj:`neuron="phase"` the graph is exact. Populations are nodes that NIR does
    not have, :class:`PhaseNeuron`, :class:`PhaseReadout` and, for max pooling,
    :class:`EarliestSpike`; see :func:`node_types` for what they do. Call
    :func:`register_nodes` before ``nir.read``.

    With :obj:`neuron="IF"` it has NIR's own nodes only, and is an approximation: values
    are rates. The input is a constant current. An integrate-and-fire neuron, whose
    channel has values up to :math:`s` on the given inputs, has the threshold
    :math:`K s`, so that it fires every :math:`K` seconds for such a value, and is set
    back to zero, which loses what is above the threshold. A leaky integrator behind it
    smooths its spikes to a current of its value again, another one the output. For
    :math:`N` :obj:`rate_steps` of one second, :math:`K = \sqrt{N}`, and their time
    constants are :math:`2 K` and :math:`N / 8`. The graph is run on the given inputs, in
    Euler steps of NIR's equations, and its ``metadata`` says how far off it is, what the
    spiking network rounds included: ``relative_error``
    (Euclidean, of the output before any read-out) and ``agreement`` (of the largest
    value of each row), both against the spiking network.

    Args:
        snn (SpikingModel): The converted network.
        *args (Any): The arguments of its :meth:`forward`, or PyG data.
        neuron (str, optional): :obj:`"phase"` or :obj:`"IF"`.
            (default: :obj:`"phase"`)
        rate_steps (int, optional): The seconds that rates take, 8 or more; of
            :obj:`"IF"` only. (default: :obj:`256`)
        max_weights (int, optional): The largest matrix that is written.
            (default: :obj:`4_000_000` entries)
        **kwargs (Any): Keyword arguments of its :meth:`forward`.

    Returns:
        nir.NIRGraph: The graph. Inputs are called ``input_`` and the name of their
        population.

    Raises:
        NotImplementedError: If populations are joined by more than weights, a matrix is
            too large, or integrate-and-fire neurons cannot stand for a population.
        ValueError: If an option is out of range.
        ImportError: If nir is missing.

    Example:
        >>> import nir  # doctest: +SKIP
        >>> graph = to_nir(snn, x)  # doctest: +SKIP
        >>> nir.write('network.nir', graph)  # doctest: +SKIP
        >>> register_nodes()  # doctest: +SKIP
        >>> graph = nir.read('network.nir')  # doctest: +SKIP
    """
    import_nir()
    if neuron not in ('phase', 'IF'):
        raise ValueError(f"Expected 'neuron' to be 'phase' or 'IF' (got {neuron!r})")
    if rate_steps < 8:
        raise ValueError(f"Expected 'rate_steps' to be at least 8 (got {rate_steps})")
    segments = Segments(snn, *args, gates=neuron == 'phase', **kwargs)
    _check_inputs(segments)
    dtype = next((p.dtype for p in snn.parameters()), torch.float32)
    if neuron == 'IF':
        _check_rates(segments.populations.values())
        builder: _Builder = _RateBuilder(segments, dtype, rate_steps)
    else:
        register_nodes()
        builder = _PhaseBuilder(segments, dtype)
    is_layered = is_feedforward(segments, inputs=neuron == 'phase')
    if is_layered:
        builder.add_layers()
    else:
        builder.add_matrices(max_weights)
    graph = builder.graph()
    if neuron == 'IF':
        error = rate_error(graph, segments, rate_steps, is_layered)
        graph.metadata.update(error)
    return graph


class _Builder:
    """Nodes and edges of a graph, as they are added."""

    with_bias = False

    def __init__(self, segments: Segments, dtype: torch.dtype) -> None:
        self.segments, self.dtype = segments, dtype
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.is_layered = False
        self.metadata: dict[str, Any] = {
            'made_by': 'spikegraph',
            'read_outs': ', '.join(segments.read_outs) or 'none',
        }

    def graph(self) -> Any:
        self.metadata['layout'] = 'one sample' if self.is_layered else 'all nodes'
        return import_nir().NIRGraph(self.nodes, self.edges, metadata=self.metadata)

    def add(self, name: str, node: Any, sources: Iterable[str]) -> list[str]:
        """Adds a node behind others, and returns its name."""
        name = name.replace('/', '_')
        while name in self.nodes:
            name += '_'
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return [name]

    def add_layers(self) -> None:
        """Adds each layer by itself, for one sample."""
        self.is_layered = True
        segments = self.segments
        heads: dict[Node, list[str]] = {}
        for node in segments.network.nodes:
            before = [heads[n] for n in node.all_input_nodes if n in heads]
            if node.role is Role.POPULATION:
                population = segments.populations[node.record.label]
                heads[node] = self.population(population, before[0] if before else [])
            elif passes_on(node):
                heads[node] = before[0]
            elif is_join(node):
                heads[node] = self.joined(before)
            elif before and node.role in (Role.LAYER, Role.AFFINE, Role.GATE):
                made = layer_node(segments, node, self.with_bias)
                self.cast(made)
                heads[node] = self.add(node.name, made, before[0])
        self.read_out(heads[segments.read])

    def joined(self, before: list[list[str]]) -> list[str]:
        """What is connected twice takes a way of its own, as NIR has one edge."""
        heads = list(before[0])
        for head in before[1]:
            if head in heads:
                shape = self.nodes[head].output_type['output']
                ones = import_nir().Scale(scale=np.ones(tuple(shape)))
                heads += self.add(f'{head}_again', ones, [head])
            else:
                heads.append(head)
        return heads

    def cast(self, node: Any) -> None:
        for name in ('weight', 'bias'):
            if hasattr(node, name):
                value = torch.as_tensor(getattr(node, name)).to(self.dtype)
                setattr(node, name, value.numpy())

    def add_matrices(self, max_weights: int) -> None:
        """Adds a matrix for each pair of populations."""
        segments = self.segments
        check_expressible(segments.network, gates=False)
        _check_size(segments, max_weights)
        matrices = list(segments.matrices())
        heads: dict[str, list[str]] = {}
        for target in segments.shapes:
            arriving: list[str] = []
            for source, end, matrix in matrices:
                if end == target:
                    is_first = not arriving
                    node = self.matrix(matrix.to_dense(), target, is_first)
                    name = f'{source}-{target}'
                    arriving += self.add(name, node, heads[source])
            if target == OUTPUT:
                self.read_out(arriving)
            else:
                population = segments.populations[target]
                heads[target] = self.population(population, arriving)

    def shape_of(self, value: Tensor) -> Tensor:
        """A value of all neurons as the graph holds it: of one sample, or flattened."""
        return value[0] if self.is_layered else value.flatten()

    def array(self, value: Tensor) -> np.ndarray:
        return array(value.to(self.dtype))

    def matrix(self, weight: Tensor, target: str, is_first: bool) -> Any:
        return import_nir().Linear(weight=self.array(weight))

    def population(self, population: Population, arriving: list[str]) -> list[str]:
        raise NotImplementedError

    def read_out(self, arriving: list[str]) -> None:
        raise NotImplementedError

    def input(self, population: Population) -> list[str]:
        shape = np.array(self.shape_of(population.bias).shape)
        node = import_nir().Input(input_type={'input': shape})
        return self.add(f'input_{population.name}', node, [])

    def finish(self, sources: list[str]) -> None:
        shape = np.array(self.shape_of(self.segments.output_bias).shape)
        output = import_nir().Output(output_type={'output': shape})
        self.add('output', output, sources)


class _PhaseBuilder(_Builder):
    """Populations as they are."""

    def population(self, population: Population, arriving: list[str]) -> list[str]:
        bias = self.shape_of(population.bias)
        if population.encodes:
            arriving, bias = self.input(population), torch.zeros_like(bias)
        scale = population.scales.flatten()
        if self.is_layered:
            scale = self.alike(population, population.scale)
        node = node_types().PhaseNeuron(
            levels=self.array(population.levels),
            scale=self.array(scale),
            threshold=self.table(population, population.on),
            off_high=self.table(population, population.off_high),
            off_low=self.table(population, population.off_low),
            bias=self.array(bias),
            start=population.start,
            num_steps=population.num_steps,
            relative=int(self.is_layered and population.peak is not None),
        )
        return self.add(population.name, node, arriving)

    def alike(self, population: Population, value: Tensor) -> Tensor:
        """A scale, or thresholds of one step, as all samples have it."""
        if population.peak is None:
            return value
        return (value / population.peak)[0]

    def table(self, population: Population, table: Tensor) -> np.ndarray:
        """Thresholds :math:`(T, *)` with as many dimensions as the graph's neurons."""
        if not self.is_layered:
            return self.array(population.of_each(table).flatten(1))
        rows = torch.stack([self.alike(population, step) for step in table])
        around = [1] * (len(population.shape) - rows.dim())
        return self.array(rows.reshape(len(rows), *around, *rows.shape[1:]))

    def read_out(self, arriving: list[str]) -> None:
        num_steps = self.segments.start
        self.metadata.update(neuron='phase', num_steps=num_steps)
        bias = self.array(self.shape_of(self.segments.output_bias))
        node = node_types().PhaseReadout(bias=bias, num_steps=num_steps)
        self.finish(self.add('readout', node, arriving))


class _RateBuilder(_Builder):
    """Integrate-and-fire neurons, whose rates are values."""

    with_bias = True

    def __init__(self, segments: Segments, dtype: torch.dtype, num_steps: int) -> None:
        super().__init__(segments, dtype)
        self.num_steps = num_steps
        self.interval = round(math.sqrt(num_steps))

    def population(self, population: Population, arriving: list[str]) -> list[str]:
        if population.encodes:
            return self.input(population)
        nir = import_nir()
        largest = self.shape_of(_largest(population))
        ones = torch.ones_like(largest)
        one, zero = self.array(ones), self.array(0 * ones)
        charge = self.array(self.interval * largest)
        node = nir.IF(r=one, v_threshold=charge, v_reset=zero)
        fired = self.add(population.name, node, arriving)
        tau = self.array(2 * self.interval * ones)
        node = nir.LI(tau=tau, r=charge, v_leak=zero)
        return self.add(f'{population.name}_current', node, fired)

    def matrix(self, weight: Tensor, target: str, is_first: bool) -> Any:
        if not is_first:
            return super().matrix(weight, target, is_first)
        segments = self.segments
        is_last = target == OUTPUT
        bias = segments.output_bias if is_last else segments.populations[target].bias
        bias = self.array(bias.flatten())
        return import_nir().Affine(weight=self.array(weight), bias=bias)

    def read_out(self, arriving: list[str]) -> None:
        self.metadata.update(
            neuron='IF, rates',
            input='constant current',
            rate_steps=self.num_steps,
        )
        ones = torch.ones_like(self.shape_of(self.segments.output_bias))
        tau = self.array(self.num_steps / 8 * ones)
        node = import_nir().LI(tau, self.array(ones), self.array(0 * ones))
        self.finish(self.add('readout', node, arriving))


def _largest(population: Population) -> Tensor:
    """The largest value of each channel on the given inputs, for each neuron
    :math:`(*)`; of one that is silent there, the scale.
    """
    scale = population.scales * population.levels[0]
    spikes = population.spikes.decode().double()
    others = [dim for dim in range(spikes.dim()) if dim != 1]
    found = spikes.amax(others, keepdim=True).expand(population.shape)
    return torch.where(found > 0, found, scale)


def _check_size(segments: Segments, max_weights: int) -> None:
    """Refuses a matrix before all its columns are looked for."""
    sizes = {name: int(np.prod(shape)) for name, shape in segments.shapes.items()}
    for source, target in segments.pairs():
        if sizes[source] * sizes[target] > max_weights:
            raise NotImplementedError(
                f'Cannot write a matrix of {sizes[target]:,} by {sizes[source]:,} weights '
                f"over nodes and channels, from '{source}' to '{target}': at most "
                f'{max_weights:,} entries are; {_REMEDY}'
            )


def _check_inputs(segments: Segments) -> None:
    for node in segments.network.nodes:
        if node.role is Role.CURRENT:
            raise NotImplementedError(
                f"Cannot write '{node.record.label}', which makes values of indices: NIR "
                "has no such node; export its events instead, 'simulate(...).events()', or "
                "its connections, 'save_connections(...)'"
            )
    if not any(each.encodes for each in segments.populations.values()):
        raise NotImplementedError(
            'Cannot write a network whose inputs are not encoded as spikes; convert it '
            "with 'encode_input=True'"
        )


def _check_rates(populations: Iterable[Population]) -> None:
    for each in populations:
        if not each.encodes and each.activation != 'ReLU':
            raise NotImplementedError(
                f"Cannot write '{each.name}' as integrate-and-fire neurons, whose rates "
                f'are values: it stands for {each.activation}, not ReLU; pass '
                "neuron='phase'"
            )
