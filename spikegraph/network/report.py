from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from spikegraph.tables import Column, Facts, Part, Prose, Shown, Table

_MANY = 8  # More layers than this are counted, not named, in the text.
_COLUMNS = (
    Column('population', is_text=True),
    Column('replaces', is_text=True),
    Column('T', 3),
    Column('base', 6),
    Column('scale', 15),
    Column('coding error', 12),
    Column('spikes/neuron', 13),
)


@dataclass(frozen=True)
class PopulationReport:
    """One population, and what its code costs.

    Args:
        name (str): The name of the population.
        replaced (str): The activation (or input) it stands for.
        encodes (bool): Whether it encodes an input.
        num_steps (int): Time steps :math:`T`.
        base (float, optional): Ratio of neighbouring levels; :obj:`None` for
            fitted levels, or given ones.
        scale (Tuple[float, float]): Smallest and largest scale.
        node_scale (bool): Whether scales are relative to each node's peak.
        signed (bool): Whether it has ON and OFF spikes.
        coding_error (float): Relative root-mean-square error of the coded
            values on the calibration data.
        spikes_per_neuron (float): Mean over the calibration data, at most 1.
    """

    name: str
    replaced: str
    encodes: bool
    num_steps: int
    base: float | None
    scale: tuple[float, float]
    node_scale: bool
    signed: bool
    coding_error: float
    spikes_per_neuron: float


@dataclass(frozen=True)
class ProductReport:
    """One product of two populations, whose spikes delay each other.

    Args:
        num_delays (int): Pairs of neurons that meet on the first calibration call: each
            needs a delay line.
        longest_delay (int): The most steps that a spike waits.
        num_steps (int): Time steps :math:`T_a + T_b - 1` of the products.
    """

    num_delays: int
    longest_delay: int
    num_steps: int


@dataclass(frozen=True)
class ConversionReport(Shown):
    """What a conversion did, and what it cost on the calibration data.

    Args:
        model (str): The class of the converted model.
        levels (str): :obj:`"geometric"` or :obj:`"fitted"`, what was chosen if nothing
            was given, or :obj:`"given"` of a table.
        per_channel (bool): Whether every channel has a scale of its own.
        populations (List[PopulationReport]): All populations, inputs first.
        relays (List[str]): Those that stand for no activation: they pass potentials on
            to gates and products as spikes.
        products (Dict[str, ProductReport]): Products of two populations, and the delay
            lines that they need.
        layers (Dict[str, str]): Spiking layers: module path to type.
        folded_norms (int): Normalisation layers folded into weights.
        compensated (List[str]): Layers whose weights were corrected.
        degree_folded (List[str]): Layers with a degree factor in thresholds.
        analog (Dict[str, str]): Operations that stayed analog: the name of the
            node and what it is.
        currents (List[str]): Inputs that enter as analog currents.
        preprocessed (List[str]): What is computed of inputs before the first weight,
            and in front of their populations, as spikes could not.
        affine (List[str]): Layers without a rule, found to be affine by a
            numerical check.
        orders (Dict[str, Dict[str, Any]]): What each graph layer does first on the
            first calibration call, and the bytes that either order moves.
        fingerprint (str): What tells the model from others, see
            :func:`~spikegraph.calls.call.fingerprint`.
        logit_relative_error (float): Norm of the output error over the norm
            of the ANN's output; of several outputs that of the worst.
        agreement (float): Rows of the main output whose largest entry is the ANN's,
            percent.
    """

    model: str
    levels: Literal['geometric', 'fitted', 'given'] = 'geometric'
    per_channel: bool = False
    populations: list[PopulationReport] = field(default_factory=list)
    relays: list[str] = field(default_factory=list)
    products: dict[str, ProductReport] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    folded_norms: int = 0
    compensated: list[str] = field(default_factory=list)
    degree_folded: list[str] = field(default_factory=list)
    analog: dict[str, str] = field(default_factory=dict)
    currents: list[str] = field(default_factory=list)
    preprocessed: list[str] = field(default_factory=list)
    affine: list[str] = field(default_factory=list)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    fingerprint: str = ''
    logit_relative_error: float = float('nan')
    agreement: float = float('nan')

    @property
    def num_activations(self) -> int:
        """How many activations became populations, inputs not counted."""
        return sum(not p.encodes for p in self.populations)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {**asdict(self), 'num_activations': self.num_activations}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConversionReport:
        """The inverse of :meth:`to_dict`."""
        values = {k: v for k, v in values.items() if k != 'num_activations'}
        populations = [
            PopulationReport(**{**p, 'scale': tuple(p['scale'])})
            for p in values.pop('populations')
        ]
        products = {k: ProductReport(**p) for k, p in values.pop('products').items()}
        return cls(**values, populations=populations, products=products)

    def _title(self) -> str:
        return f'Conversion of {self.model}'

    def _parts(self) -> list[Part]:
        rows = []
        table = 'given' if self.levels == 'given' else 'fitted'
        for p in self.populations:
            low, high = p.scale
            scale = f'{low:.3g}' if low == high else f'{low:.3g}..{high:.3g}'
            scale += ' x node' if p.node_scale else ''
            base = table if p.base is None else f'{p.base:.3f}'
            cells = (str(p.num_steps), base, scale, f'{100 * p.coding_error:.2f} %')
            rows.append([p.name, p.replaced, *cells, f'{p.spikes_per_neuron:.3f}'])
        layers = [f'{name} ({kind})' for name, kind in self.layers.items()]
        compensated = self.compensated
        if len(layers) > _MANY:
            kinds = Counter(self.layers.values())
            layers = [f'{number} {kind}' for kind, number in kinds.items()]
            compensated = [f'{len(compensated)} layers'] if compensated else []
        scale = 'a scale for each channel' if self.per_channel else 'one scale each'
        listed = {
            'layers': layers,
            'compensated': compensated,
            'first': self._first(),
            'degree folded': self.degree_folded,
            'analog': self.analog.values(),
            'currents': self.currents,
            'in front': self.preprocessed,
            'checked': self.affine,
        }
        codes = f'{self.levels} levels'
        if self.levels == 'given' and any(p.base is not None for p in self.populations):
            codes += ', geometric ones where spike times are added'
        facts = [('codes', f'{codes}, {scale}'), *self._meetings()]
        facts += [(name, ', '.join(found) or 'none') for name, found in listed.items()]
        cost = (
            f'on calibration data: logit error {100 * self.logit_relative_error:.2f} %, '
            f'agreement with the ANN {self.agreement:.2f} %'
        )
        return [Table(_COLUMNS, rows), Facts(facts), Prose([cost])]

    def _meetings(self) -> list[tuple[str, str]]:
        """Relays and products, if there are any."""
        facts = []
        if self.relays:
            many = f'{len(self.relays)} populations'
            names = ', '.join(self.relays)
            facts.append(('relays', many if len(self.relays) > _MANY else names))
        if self.products:
            found = [
                f'{name} ({p.num_delays:,} delay lines of up to {p.longest_delay} steps)'
                for name, p in self.products.items()
            ]
            if len(found) > _MANY:
                num = sum(p.num_delays for p in self.products.values())
                longest = max(p.longest_delay for p in self.products.values())
                found = [
                    f'{len(found)} gates ({num:,} delay lines of up to {longest} steps)'
                ]
            facts.append(('products', ', '.join(found)))
        return facts

    def _first(self) -> list[str]:
        """What comes first in each graph layer, and the megabytes moved."""
        if len(self.orders) > _MANY:
            counts = Counter(choice['order'] for choice in self.orders.values())
            return [f'{order} in {number} layers' for order, number in counts.items()]
        found = []
        for name, choice in self.orders.items():
            own, other = choice['transform_bytes'], choice['aggregate_bytes']
            if choice['order'] == 'aggregate':
                own, other = other, own
            found.append(
                f'{choice["order"]} in {name} ({own / 1e6:.3g} MB moved, '
                f'{other / 1e6:.3g} otherwise)'
            )
        return found
