from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data.data import BaseData

from spikegraph.calls.call import CallSpec, arguments_of
from spikegraph.calls.checks import FiniteFeatures, check_finite
from spikegraph.coding import Spikes
from spikegraph.kernels.copying import deepcopy
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Node
from spikegraph.network.interpreter import SpikeReading
from spikegraph.network.network import Network
from spikegraph.network.report import ConversionReport
from spikegraph.network.roles import Role
from spikegraph.nn import PhaseNeuron
from spikegraph.running.closed import ClosedForm, Flow, is_changed
from spikegraph.running.overview import network_parts
from spikegraph.running.plan import MISS, Call, Plan
from spikegraph.running.windows import windows_of
from spikegraph.tables import Part, Shown


class SpikingModel(nn.Module, Shown):
    r"""A converted network: every neuron fires at most once per inference.

    :meth:`forward` takes the arguments of the ANN and evaluates the closed
    form, one pass per layer; :func:`spikegraph.simulate` runs the time steps.
    Made by :func:`spikegraph.convert`.

    Args:
        network (Network): The graph of populations and spiking layers.
        spec (CallSpec): How the ANN is called.
        config (ConversionConfig): How it was converted.
        report (ConversionReport): What the conversion did and cost.

    Example:
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> {name: tuple(s.shape) for name, s in snn.spikes(x).items()}
        {'input_input': (5, 4), '_1': (5, 8)}
        >>> snn.latency_steps
        48
    """

    def __init__(
        self,
        network: Network,
        spec: CallSpec,
        config: ConversionConfig,
        report: ConversionReport,
    ) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.config = config
        self.report = report
        self._flow: Flow | None = None  # Made when it runs.
        self._plan: Plan | None = None
        self._is_plain = network.form.kind == 'value'
        self._has_images = any(isinstance(m, nn.Conv2d) for m in network.modules())
        for population in report.populations:
            self.neurons[population.name].density = population.spikes_per_neuron
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the spiking network; arguments and result as the ANN's, but PyG data
        that the ANN changes and returns is a copy. Spike times need full precision,
        so that :obj:`torch.autocast` is ignored.

        Raises:
            ValueError: If features are not finite or inputs do not fit.
        """
        plan = self.plan
        try:
            call = Call(self.spec.names, args, kwargs, self.bound)
            found = plan.replay(call)
            if found is MISS:
                return self.returned(self._run(call, args, kwargs), args, kwargs)
            return found if self._is_plain else self.returned(found, args, kwargs)
        except BaseException as error:
            plan.reason = f'the last pass raised {type(error).__name__}'
            raise

    @torch.no_grad()
    def _run(self, call: Call, args: Any, kwargs: dict[str, Any]) -> Any:
        inputs = self.bound(*args, **kwargs) if call.inputs is None else call.inputs
        tensors = [v for v in inputs.values() if isinstance(v, Tensor)]
        device = tensors[0].device.type if tensors else 'cpu'
        checked = FiniteFeatures(self.spec.spelled_features(inputs))
        with torch.autocast(device, enabled=False), checked:
            return self.plan.run(call, inputs, self._pass)

    def values(self, *args: Any, **kwargs: Any) -> Any:
        """What :meth:`forward` returns, in plain dictionaries, lists and tuples."""
        call = Call(self.spec.names, args, kwargs, self.bound)
        return self._run(call, args, kwargs)

    def _pass(self, inputs: Any) -> Any:
        if is_changed(self.network):
            return self.network(**inputs)
        return ClosedForm(self._known_flow()).run(inputs)

    def returned(self, values: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Values in the structure that the ANN returns for the arguments."""
        form = self.network.form
        if not form.reads_arguments:
            return form.build(values)
        args, kwargs = self.taken(args, kwargs)
        return form.build(values, self.spec.given(*args, **kwargs))

    def __deepcopy__(self, memo: dict[int, Any]) -> SpikingModel:
        """A copy, also of adjacencies that layers keep."""
        memo[id(self)] = copied = type(self).__new__(type(self))
        copied.__dict__.update(deepcopy(self.__getstate__(), memo))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_flow': None, '_plan': None}

    @property
    def plan(self) -> Plan:
        """How the last pass was run, and why: as a recorded list of bound calls, or node
        by node.
        """
        if self._plan is None or self._plan.network is not self.network:
            self._plan = Plan(self.network, self.report.currents)
        return self._plan

    def _known_flow(self) -> Flow:
        if self._flow is None or self._flow.network is not self.network:
            self._flow = Flow(self.network)
        return self._flow

    def bind(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The inputs of the network by name, checked."""
        inputs = self.bound(*args, **kwargs)
        for name, value in self.spec.spelled_features(inputs).items():
            check_finite(name, value)
        return inputs

    def taken(self, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The arguments of the ANN, where PyG data may hold them."""
        is_data = len(args) == 1 and not kwargs and isinstance(args[0], BaseData)
        if is_data and not self.spec.takes_data:
            return (), arguments_of(args[0], self.spec.names, self.spec.inputs)
        return args, kwargs

    def bound(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The same; whether values are finite is not looked at."""
        args, kwargs = self.taken(args, kwargs)
        inputs = self.spec.bind(*args, **kwargs)
        if self._has_images:
            inputs = {name: _channels_last(value) for name, value in inputs.items()}
        return inputs

    def to_integer(self, *args: Any, **kwargs: Any) -> Any:
        """The network in integers, see :func:`spikegraph.to_integer`."""
        from spikegraph.running.integers import to_integer

        return to_integer(self, *args, **kwargs)

    @property
    def neurons(self) -> dict[str, PhaseNeuron]:
        """The populations by name, in the order they fire."""
        found = self.network.named_nodes(Role.POPULATION)
        return {name: self.network.operation(node) for name, node in found.items()}

    @property
    def latency_steps(self) -> int:
        """Time steps of one inference: a window of :math:`T` steps for each
        population that fires, longer ones for products, and one to charge the output.
        """
        ends = [window.end for window in windows_of(self.network).values()]
        return max(ends, default=0) + self.config.num_steps

    @property
    def pipelined_steps(self) -> int:
        """Time steps between the results of a stream: those of the longest window."""
        found = windows_of(self.network).values()
        return max((window.num_steps for window in found), default=1)

    @property
    def depth(self) -> int:
        """Populations on the longest path from input to output."""
        depth: dict[Node, int] = {}
        for node in self.network.nodes:
            before = max((depth[n] for n in node.all_input_nodes), default=0)
            depth[node] = before + (node.role is Role.POPULATION)
        return max(depth.values())

    @torch.no_grad()
    def spikes(self, *args: Any, **kwargs: Any) -> dict[str, Spikes]:
        """The spikes of every population, by name, for one inference."""
        reading = SpikeReading(self.network)
        reading.run(self.bind(*args, **kwargs))
        return reading.spikes

    def _title(self) -> str:
        return f'Spiking {self.report.model}'

    def _parts(self) -> list[Part]:
        return network_parts(self)

    def extra_repr(self) -> str:
        return f'num_steps={self.config.num_steps}, populations={len(self.neurons)}'


def check_spiking(snn: Any) -> None:
    """Raises ``ValueError`` if something is no spiking network."""
    if isinstance(snn, SpikingModel):
        return
    remedy = "convert the model first, 'snn = spikegraph.convert(model, data)'"
    if isinstance(getattr(snn, 'model', None), SpikingModel):  # Runs in another way.
        remedy = "use its own methods, or the network that it is made of, 'snn.model'"
    raise ValueError(
        f"Expected 'snn' to be a SpikingModel (got {type(snn).__name__}); {remedy}"
    )


def _channels_last(value: Any) -> Any:
    """Images in the layout in which convolutions are fastest on a CPU."""
    is_image = isinstance(value, Tensor) and value.dim() == 4
    if not is_image or value.dtype != torch.float32 or value.is_cuda:
        return value
    return value.to(memory_format=torch.channels_last)  # Of one channel, too.
