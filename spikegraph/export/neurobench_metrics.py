"""Metrics of NeuroBench's names that read what a run in time steps cost."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegraph.export.stepped_counts import SteppedCounts


class _Metric:
    """A metric that is added up over batches. It gets the interface of NeuroBench's
    accumulated metrics, and is registered as one of them.
    """

    requires_hooks = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.num_samples = 0

    def __call__(self, model: Any, preds: Tensor, data: Any) -> Any:
        for hook in model.connection_hooks:
            for counts in hook.counts:
                self.add(counts)
        self.num_samples += data[0].size(0)
        return self.compute()

    def add(self, counts: SteppedCounts) -> None:
        raise NotImplementedError

    def compute(self) -> Any:
        raise NotImplementedError

    def _per_sample(self, num: int) -> float:
        return num / max(1, self.num_samples)


class SynapticOperations(_Metric):
    """Operations at synapses for each sample.

    * ``Effective_ACs``: weights accumulated because a spike arrived, and sums
      accumulated along edges, as ``synops`` and ``accumulates`` of
      :class:`~spikegraph.measurement.Counts`;
    * ``Effective_MACs``: multiply-accumulates that the network keeps (``snn_macs``);
    * ``Dense``: all synapses in every time step, as NeuroBench counts;
    * ``Dense_once``: all synapses once, as in the ANN;
    * ``Delays``: pairs of spikes of which one delays the other.
    """

    def reset(self) -> None:
        super().reset()
        self.found = dict.fromkeys(
            ('Effective_MACs', 'Effective_ACs', 'Dense', 'Dense_once', 'Delays'), 0
        )

    def add(self, counts: SteppedCounts) -> None:
        total = counts.total
        self.found['Effective_MACs'] += total.snn_macs
        self.found['Effective_ACs'] += total.synops + total.accumulates
        self.found['Dense'] += counts.dense_steps
        self.found['Dense_once'] += counts.dense
        self.found['Delays'] += total.delays

    def compute(self) -> dict[str, float]:
        return {name: self._per_sample(num) for name, num in self.found.items()}


class MembraneUpdates(_Metric):
    """Membranes read, scaled and written, for each sample: in every step of the charge
    windows, and of the fire window until a neuron fires.
    """

    def reset(self) -> None:
        super().reset()
        self.found = 0

    def add(self, counts: SteppedCounts) -> None:
        self.found += counts.total.membrane_updates

    def compute(self) -> float:
        return self._per_sample(self.found)


class ActivationSparsity(_Metric):
    """The share of neurons and time steps in which none is sent, over all populations,
    input encoding included.
    """

    def reset(self) -> None:
        super().reset()
        self.spikes: dict[str, int] = {}
        self.places: dict[str, int] = {}

    def add(self, counts: SteppedCounts) -> None:
        for name, each in counts.spikes.items():
            num_places = each.shape.numel() * each.code.num_steps
            self.spikes[name] = self.spikes.get(name, 0) + each.num_spikes
            self.places[name] = self.places.get(name, 0) + num_places

    def compute(self) -> Any:
        return 1 - sum(self.spikes.values()) / max(1, sum(self.places.values()))


class ActivationSparsityByLayer(ActivationSparsity):
    """The same for each population."""

    def compute(self) -> dict[str, float]:
        return {
            name: 1 - self.spikes[name] / max(1, num)
            for name, num in self.places.items()
        }


class Footprint(_Metric):
    """Bytes of weights and of state: parameters and buffers as NeuroBench counts them,
    and for the largest batch a membrane for each neuron and source of its potential,
    and a byte for each spike time. As the state depends on the input, it is known once
    data has been seen.
    """

    def reset(self) -> None:
        super().reset()
        self.weights = self.state = 0

    def __call__(self, model: Any, preds: Tensor, data: Any) -> int:
        net = model.__net__()
        tensors = [*net.parameters(), *net.buffers()]
        self.weights = sum(t.numel() * t.element_size() for t in tensors)
        found: int = super().__call__(model, preds, data)
        return found

    def add(self, counts: SteppedCounts) -> None:
        self.state = max(self.state, counts.state_bytes)

    def compute(self) -> int:
        return self.weights + self.state


class ClassificationAccuracy(_Metric):
    """The share of predictions that equal their targets, over all targets."""

    requires_hooks = False

    def reset(self) -> None:
        super().reset()
        self.right = self.num_targets = 0

    def __call__(self, model: Any, preds: Tensor, data: Any) -> float:
        if preds.shape != data[1].shape:
            raise ValueError(
                f"Expected 'preds' of shape {list(data[1].shape)}, that of the targets "
                f'(got {list(preds.shape)}); pass a postprocessor, such as '
                "'lambda out: out.argmax(-1)'"
            )
        self.right += int((preds == data[1]).sum())
        self.num_targets += data[1].numel()
        return self.compute()

    def compute(self) -> float:
        return self.right / max(1, self.num_targets)


class ConnectionSparsity:
    """The share of weights that are zero, of all parameters with two dimensions or more;
    edges are inputs and no weights.
    """

    def __call__(self, model: Any) -> float:
        weights = [p for p in model.__net__().parameters() if p.dim() > 1]
        num_zeros = sum(int((weight == 0).sum()) for weight in weights)
        return num_zeros / max(1, sum(weight.numel() for weight in weights))


class ParameterCount:
    """The number of parameters; those of folded batch norms are gone."""

    def __call__(self, model: Any) -> int:
        return sum(p.numel() for p in model.__net__().parameters())


STATIC = (ParameterCount, ConnectionSparsity)
WORKLOAD = (
    *(ClassificationAccuracy, ActivationSparsity, ActivationSparsityByLayer),
    *(SynapticOperations, MembraneUpdates, Footprint),
)
