"""The time-stepped run of a network in integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import run_node
from spikegraph.network.roles import Role
from spikegraph.nn.activation import PreActivationThresholds
from spikegraph.running.integers import replay
from spikegraph.running.integers.fixed import (
    Fixed,
    above,
    below,
    fixed,
    magnitude,
    on_grid,
)
from spikegraph.running.integers.formats import Format, IntegerSimulation
from spikegraph.running.integers.gates import gate_operation, move_operation
from spikegraph.running.integers.growing import charge_growing
from spikegraph.running.integers.path import Path, without_copies
from spikegraph.running.integers.synapses import Synapses
from spikegraph.running.model import SpikingModel
from spikegraph.running.steps import Run

THRESHOLD_BITS = 16  # Of thresholds that a second potential multiplies.
GAIN_BITS = 16  # Of the factors by which a membrane grows again and again.
WIDE, WIDE_BITS = 62, 32  # Of membranes that are not known yet, and their bound.
_NEVER_BITS = 29  # Of thresholds that nothing reaches: above all others.
_SENT_BITS = 36  # Of what spikes send, where scales lie far apart.


class IntegerRun(Run):
    """One simulation in integers.

    Args:
        model (SpikingModel): The network, in float64.
        how (Format): In what integers it runs.
        records (bool, optional): Whether gates are written down, too, so that
            :obj:`operations` are the whole network. (default: :obj:`False`)

    Attributes:
        operations (List[Dict[str, Any]]): What potentials, populations and gates do, as
            :mod:`replay` reads it.
        encoded (List[Node]): The populations that encode inputs.
    """

    def __init__(self, model: SpikingModel, how: Format, records: bool = False) -> None:
        super().__init__(model)
        self.how = how
        self.result: IntegerSimulation = IntegerSimulation(output=None)
        self.records = records
        self.operations: list[dict[str, Any]] = []
        self.encoded: list[Node] = []
        self.written: dict[str, np.ndarray] = {}  # Spike times by name.

    def _potential(self, node: Node) -> Any:
        """As ever, but spikes that are read as they are charge a membrane, too."""
        if node not in self.spiking:
            return super()._potential(node)
        if node not in self.potentials:
            self.potentials[node] = self._charge_windows(node)
        return self.potentials[node]

    def _charge_windows(self, node: Node) -> Tensor:
        is_source = node in self.spiking
        sources = (
            [node] if is_source else sorted(self.feeds[node], key=self.nodes.index)
        )
        segment = [] if is_source else self._segment(node)
        env: dict[Node, Any] = {**self.static, **self._silence(sources)}
        for part in segment:
            env[part] = run_node(self.network, part, env)
        bias = env[node]
        if not bias.is_floating_point():
            found: Tensor = bias
            return found
        how = self.how
        synapses = Synapses(
            self.network, segment, env, how.constant_bits, how.places, how.chooses
        )
        ways = [self._way(n, synapses) for n in sources]
        exponent = how.exponents.get(node.name)
        if exponent is None:
            loudest = [float(self.spiking[n].code.levels.max()) for n in sources]
            exponent = _wide_places(bias, [path for _, path in ways], loudest)
        full = 2 ** (how.width - 1) - 1
        whole = on_grid(bias.numpy(), exponent)
        start = np.clip(whole, -full, full)
        num_full = int((start != whole).sum())
        # What keeps divisors from zero does so in integers, too.
        start = np.where((start == 0) & (bias.numpy() > 0), 1, start)
        op = {
            'op': 'charge',
            'name': node.name,
            'shape': list(bias.shape),
            'width': how.width,
            'bias': without_copies(start),
            'sources': [
                self._source(n, *way, exponent)
                for n, way in zip(sources, ways, strict=True)
            ],
        }
        times = {self._label(n): self._times(n) for n in sources}
        peak = np.abs(start)

        def watch(membrane: np.ndarray) -> None:
            np.maximum(peak, np.abs(membrane), out=peak)

        charge = replay.charge if how.membrane == 'held' else charge_growing
        integers, saturated = charge(op, times, watch)
        self.operations.append(op)
        result, name = self.result, node.name
        result.integers[name], result.exponents[name] = integers, exponent
        result.saturated[name], result.peaks[name] = num_full + saturated, peak
        return torch.from_numpy(np.ldexp(integers.astype(np.float64), -exponent))

    def _label(self, node: Node) -> str:
        return node.record.label if node.role.fires else node.name

    def size(self, node: Node) -> None:
        """Sizes are those of what is charged by silence."""
        values = {n: self._silent(n) for n in node.all_input_nodes}
        self.static[node] = run_node(self.network, node, values)
        self.feeds[node] = set()

    def _silent(self, node: Node) -> Any:
        if node in self.static:
            return self.static[node]
        if node in self.spiking:
            return self._silence([node])[node]
        return self._run_segment(self._segment(node), self._silence(self.feeds[node]))

    def _times(self, node: Node) -> np.ndarray:
        spikes = self.spiking[node]
        assert isinstance(spikes, Spikes)
        times: np.ndarray = spikes.spike_time.numpy()
        return times

    def _way(self, node: Node, synapses: Synapses) -> tuple[Fixed, Path]:
        """What each spike of a source sends, and what becomes of it."""
        spikes, bits = self.spiking[node], self.how.constant_bits
        if not isinstance(spikes, Spikes):
            raise NotImplementedError(
                f"Cannot write '{node.name}' in integers: it multiplies two matrices of "
                'spikes'
            )
        scale = spikes.scale.numpy()
        sends = fixed(scale, bits, span=_SENT_BITS - bits)
        sent = replay.polarity(self._times(node), spikes.code.num_steps) * sends.value
        slack = max(0, bits - magnitude(scale) - sends.exponent)
        return sends, synapses.path(node, sends.exponent, sent, slack)

    def _source(
        self, node: Node, amplitude: Fixed, path: Path, exponent: np.ndarray
    ) -> dict[str, Any]:
        code, bits = self.spiking[node].code, self.how.constant_bits
        source: dict[str, Any] = {
            'spikes': self._label(node),
            'amplitude': amplitude.value,
            'path': path.steps,
        }
        if self.how.membrane == 'held':
            levels = [fixed(level, bits) for level in code.levels.numpy()]
            shifts = [path.exponent + level.exponent - exponent for level in levels]
            _check_bits(path.bound * 2.0**bits, np.minimum.reduce(shifts))
            values = [int(level.value) for level in levels]
            return {**source, 'levels': values, 'shifts': shifts}
        gains = fixed(code.gains.numpy(), GAIN_BITS)
        last = fixed(code.levels.numpy()[-1:], GAIN_BITS)
        # The membrane has to hold what it grows to.
        growth = int(np.ceil(-np.log2(float(code.levels[-1]))))
        shift = path.exponent - (exponent - growth)
        _check_bits(path.bound, shift)
        return {
            **source,
            'levels': [1] * code.num_steps,
            'shifts': [shift] * code.num_steps,
            'gains': gains.value.tolist(),
            'gain_shift': gains.exponent,
            'last': int(last.value[0]),
            'last_shift': last.exponent - growth,
        }

    def population(self, node: Node) -> None:
        """Encodes inputs as ever, and fires on integers."""
        neuron: Any = self.network.operation(node)
        if not self.feeds[node]:
            super().population(node)
            self.encoded.append(node)
            return
        read = {n: self._potential(n) for n in node.all_input_nodes}
        args, _ = arguments(node, read)
        source, divisor = node.args[0], node.kwargs.get('divisor')
        integers, name = self.result.integers, node.record.label
        if node.kwargs.get('start') is not None or not {source.name} <= set(integers):
            raise NotImplementedError(
                f"Cannot write '{name}' in integers: it fires relative to a second "
                'potential that is added to its thresholds'
            )
        potential = args[0]
        factor = args[1] if len(args) > 1 else None
        self.result.membrane[name] = potential
        scale = neuron.scale_for(potential, factor)
        tables = neuron.tables_for(potential, scale)
        op = {
            'op': 'fire',
            'name': name,
            'shape': list(potential.shape),
            'num_steps': neuron.code.num_steps,
            'membrane': source.name,
            'divisor': None if divisor is None else divisor.name,
            **self._thresholds(tables, source, divisor),
        }
        times = torch.from_numpy(replay.fire(op, integers))
        self.operations.append(op)
        self._fired(node, Spikes(times, neuron.code, scale))

    def gate(self, node: Node) -> None:
        """Runs as ever; what is written down must give the same spikes."""
        super().gate(node)
        if self.records:
            values = {n: self._value(n) for n in node.all_input_nodes}
            args, kwargs = arguments(node, values)
            op = None if kwargs else gate_operation(self.network.operation(node), args)
            spiking = [n for n in node.all_input_nodes if self.feeds[n]]
            names = [self._name_of(n) for n in spiking]
            self._write(node, op, names, self._times(node))

    def move(self, node: Node) -> None:
        """What is never silent is a source of its own."""
        super().move(node)
        if self.records and node in self.spiking:
            self._name_of(node)

    def _name_of(self, node: Node) -> str:
        """The name of the spikes of a node, which are written down if they were moved."""
        name = self._label(node)
        if not node.role.fires and name not in self.written:
            source = node.all_input_nodes[0]
            before = self._name_of(source)
            op = move_operation(self.network, node, self.static, self._value(source))
            times = self._value(node).spike_time
            self._write(node, op, [before], times.numpy())
        return name

    def _write(
        self,
        node: Node,
        op: dict[str, Any] | None,
        names: list[str],
        expected: np.ndarray,
    ) -> None:
        operation = self.network.operation(node)
        kind = getattr(operation, '__name__', type(operation).__name__)
        if op is None:
            raise NotImplementedError(
                f"Cannot write '{node.name}' ({kind}) in integers: what it does to spike "
                'times has no operation of its own'
            )
        op = {'name': self._label(node), **op, 'inputs': names}
        own = {n: self.written[n] for n in names}
        found = replay.GATES[op['op']](op, own)
        assert found.shape == expected.shape and (found == expected).all(), kind
        self.written[op['name']] = found
        self.operations.append(op)

    def _fired(self, node: Node, spikes: Spikes) -> None:
        super()._fired(node, spikes)
        if node.role is Role.POPULATION:
            self.written[node.record.label] = spikes.spike_time.numpy()

    def _thresholds(
        self, tables: PreActivationThresholds, source: Node, divisor: Any
    ) -> dict[str, Any]:
        exponents = self.result.exponents
        own = exponents[source.name]
        high = None if tables.off_high is None else _spread(tables.off_high, own)
        if divisor is None:
            return {
                'left': np.array(0),
                'right': np.array(0),
                'on': above(_spread(tables.on, own), own),
                'off': None if high is None else [_low(tables, own), below(high, own)],
            }
        found = {
            name: getattr(tables, name).numpy()
            for name in ('on', 'off_high', 'off_low')
            if getattr(tables, name) is not None
        }
        finite = [np.where(np.isfinite(v), v, 0.0) for v in found.values()]
        known = fixed(np.stack(finite), THRESHOLD_BITS)
        never = 2 ** max(_NEVER_BITS, _MOST_BITS - self.how.width)
        whole = {
            name: np.where(np.isfinite(v), k, np.where(v > 0, never, -never))
            for (name, v), k in zip(found.items(), known.value, strict=True)
        }
        shift = known.exponent + exponents[divisor.name] - own
        v, z = (
            float(np.abs(self.result.integers[n.name]).max(initial=1))
            for n in (source, divisor)
        )
        _check_bits(v, -shift)
        largest = max(int(np.abs(v).max(initial=1)) for v in whole.values())
        _check_bits(z * float(largest), shift)
        return {
            'left': np.maximum(shift, 0),
            'right': np.maximum(-shift, 0),
            'on': whole['on'],
            'off': None
            if high is None
            else [
                whole.get('off_low', np.full_like(whole['off_high'], -never)),
                whole['off_high'],
            ],
        }


_MOST_BITS = 61


def _wide_places(bias: Tensor, paths: list[Path], loudest: list[float]) -> np.ndarray:
    """The binary places of membranes whose range is not known yet, by a bound of what
    arrives there: on each path at most at the largest level of its source.
    """
    bound = float(bias.abs().max()) if bias.numel() else 0.0
    for path, level in zip(paths, loudest, strict=True):
        most = float(path.bound.max(initial=0))
        bound += math.ldexp(most * level, -path.exponent)
    return np.array(WIDE_BITS - magnitude(np.array(bound)))


def _check_bits(most: np.ndarray | float, shift: np.ndarray) -> None:
    """What is shifted to the right, or a negative number of bits, has to fit int64."""
    bits = magnitude(np.ldexp(most, np.maximum(0, -np.asarray(shift))))
    if bits > _MOST_BITS:
        raise ValueError(
            f'Expected what is added up or compared to have at most {_MOST_BITS} bits '
            f"(got {bits}); lower 'width', 'constant_bits' or 'weight_bits'"
        )


def _spread(table: Tensor, exponent: np.ndarray) -> np.ndarray:
    """Thresholds of each step, in as many dimensions as there are exponents."""
    missing = max(0, exponent.ndim + 1 - table.dim())
    found: np.ndarray = table.numpy()
    return found.reshape(len(table), *[1] * missing, *table.shape[1:])


def _low(tables: PreActivationThresholds, exponent: np.ndarray) -> np.ndarray:
    """The smallest potentials of OFF spikes, where there are any."""
    if tables.off_low is not None:
        return above(_spread(tables.off_low, exponent), exponent)
    assert tables.off_high is not None
    return np.full(_spread(tables.off_high, exponent).shape, -(2**_MOST_BITS))
