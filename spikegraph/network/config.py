from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from spikegraph.coding.phase_code import (
    MAX_NUM_STEPS,
    PhaseCode,
    check_base,
    check_bools,
    check_num_steps,
)

MAX_WEIGHT_BITS = 16  # Sixteen, and a scale of eight, are exact in float32.
LONGEST_FACTOR = (MAX_NUM_STEPS + 1) // 2  # Of products that fit a byte.
Scale = Literal['max', 'mse'] | tuple[Literal['percentile'], float]


@dataclass(frozen=True)
class ConversionConfig:
    r"""How :func:`spikegraph.convert` codes and calibrates.

    Args:
        num_steps (int, optional): The time steps :math:`T` of every
            population, 1 to 126. (default: :obj:`16`)
        base (float or str, optional): The ratio of neighbouring levels;
            :obj:`"auto"` searches the best one for every population.
            (default: :obj:`"auto"`)
        scale (str or tuple, optional): The rule for the value of the first
            level: :obj:`"mse"` minimises the squared coding error on the
            calibration data, :obj:`"max"` takes the largest value,
            :obj:`("percentile", p)` the :math:`p`-th percentile of the
            positive values. (default: :obj:`"mse"`)
        threshold_shift (float, optional): The paper's threshold shift, see
            :class:`~spikegraph.coding.PhaseCode`; :obj:`1` is the unshifted
            code. (default: :obj:`None`, midway between levels, silence being
            level zero, see :meth:`PhaseCode.nearest`)
        per_channel (bool, optional): Whether every channel has a scale of its
            own. (default: :obj:`None`, in networks with convolutions over images)
        levels (str or PhaseCode, optional): :obj:`"geometric"`, or :obj:`"fitted"`
            for the table of least squared error for each population (Lloyd-Max, by
            dynamic programming), which then replaces base and threshold shift. Or a
            table of your own for all populations, of :obj:`num_steps` levels, see
            :meth:`PhaseCode.from_levels`, to which calibration finds the scales; where
            spike times are added or compared with thresholds that fall, as in
            attention, levels stay geometric.
            (default: :obj:`None`, fitted in networks with convolutions over images
            unless :obj:`base`, :obj:`scale` or :obj:`threshold_shift` is given, else
            geometric)
        input_scale (str, optional): :obj:`"layer"` gives the input population
            one scale (or one per channel), :obj:`"node"` makes it relative to
            the largest feature of each node (or image), :obj:`"auto"` takes
            what codes the calibration data better, for images
            :obj:`"layer"`. (default: :obj:`"auto"`)
        encode_input (bool, optional): If set to :obj:`False`, the first
            segment reads analog features, billed as MACs.
            (default: :obj:`True`)
        fold_degree (bool, optional): Whether GCN's degree normalisation moves
            into per-node thresholds where the graph of layers allows it.
            (default: :obj:`False`)
        order (str, optional): What graph layers do first,
            :obj:`"transform"` or :obj:`"aggregate"`; :obj:`"auto"` takes what
            moves fewer bytes on each graph, see
            :func:`~spikegraph.nn.order.choose`. Results differ by rounding only.
            (default: :obj:`"auto"`)
        compensate (str, optional): How later weights make up for the coding
            error, in closed form and without labels: :obj:`None`,
            :obj:`"bias"` (mean error) or :obj:`"ridge"` (ridge regression of
            the true pre-activation). A correction is kept only if it lowers
            the error on held-out rows. (default: :obj:`"ridge"`)
        static_inputs (Tuple[str, ...], optional): Inputs that are no features, such
            as a dense adjacency matrix or edge weights of any name: no spike carries
            them. (default: :obj:`()`)
        allow_analog (bool, optional): If set to :obj:`True`, an operation
            without a rule stays analog, is listed in the report and billed as
            MACs, instead of raising. (default: :obj:`False`)
        relay_steps (int, optional): The time steps of relays, the populations that
            only pass potentials on to where they meet others, and of those whose
            spikes theirs delay. No weights behind make up for their error.
            (default: :obj:`None`, :math:`2T - 1`, at most 63, the longest that products
            can be made of, and :math:`T` if :obj:`base` is given; what attention weighs
            keeps :math:`T`)
        products (str, optional): How signals that meet, as in attention, gates and
            norms, are multiplied: :obj:`"spiking"` by delays of spikes,
            :obj:`"analog"` as real values, which :obj:`allow_analog` must allow.
            (default: :obj:`"spiking"`)
        weight_bits (int, optional): The bits of weights, 2 to 16: those of each output
            channel are integers times one scale, without retraining. Weights are
            rounded one after the other on what the spiking network sees, those that
            follow making up for the error of those before (GPTQ); biases stay real.
            (default: :obj:`None`, floating point)

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> config = ConversionConfig(num_steps=8, base=1.5)
        >>> ConversionConfig.from_dict(config.to_dict()) == config
        True
        >>> linear = PhaseCode.from_levels([1, 0.75, 0.5, 0.25])
        >>> ConversionConfig(num_steps=4, levels=linear).levels
        PhaseCode(num_steps=4, base=None, threshold_shift=None, signed=False)
    """

    num_steps: int = 16
    base: float | Literal['auto'] = 'auto'
    scale: Scale = 'mse'
    threshold_shift: float | None = None
    per_channel: bool | None = None
    levels: Literal['geometric', 'fitted'] | PhaseCode | None = None
    input_scale: Literal['auto', 'layer', 'node'] = 'auto'
    encode_input: bool = True
    fold_degree: bool = False
    order: Literal['auto', 'transform', 'aggregate'] = 'auto'
    compensate: Literal['bias', 'ridge'] | None = 'ridge'
    static_inputs: tuple[str, ...] = ()
    allow_analog: bool = False
    relay_steps: int | None = None
    products: Literal['spiking', 'analog'] = 'spiking'
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        check_num_steps(self.num_steps)
        if self.relay_steps is not None:
            check_num_steps(self.relay_steps, 'relay_steps')
            longest = max(self.num_steps, LONGEST_FACTOR)
            if self.relay_steps > longest:
                raise ValueError(
                    f"Expected 'relay_steps' to be at most {longest}, so that products "
                    f'of relays come within {MAX_NUM_STEPS} steps (got '
                    f'{self.relay_steps})'
                )
        bits = self.weight_bits
        is_number = isinstance(bits, int) and not isinstance(bits, bool)
        if bits is not None and not (is_number and 2 <= bits <= MAX_WEIGHT_BITS):
            raise ValueError(
                f"Expected 'weight_bits' to be None or an integer from 2 to "
                f'{MAX_WEIGHT_BITS} (got {bits!r})'
            )
        if self.base != 'auto':
            check_base(self.base)
            PhaseCode(self.num_steps, self.base, self.threshold_shift)
        shift = self.threshold_shift
        is_number = isinstance(shift, (int, float)) and not isinstance(shift, bool)
        if shift is not None and not (is_number and 0 < shift <= 1):
            raise ValueError(
                f"Expected 'threshold_shift' to be None or in (0, 1] (got {shift!r})"
            )
        _check_scale(self.scale)
        table = self.levels
        if isinstance(table, PhaseCode):
            tables, signed = (table.levels, table.thresholds), table.signed
            table = PhaseCode.from_levels(*tables, signed)  # Files may hold any.
            self._check_table(table)
            object.__setattr__(self, 'levels', table)
        else:
            hint = ', or a table: PhaseCode.from_levels(...)'
            _check_choice('levels', table, (None, 'geometric', 'fitted'), hint)
        _check_choice('input_scale', self.input_scale, ('auto', 'layer', 'node'))
        _check_choice('products', self.products, ('spiking', 'analog'))
        _check_choice('order', self.order, ('auto', 'transform', 'aggregate'))
        _check_choice('compensate', self.compensate, (None, 'bias', 'ridge'))
        names = self.static_inputs
        if not _is_list(names) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                "Expected 'static_inputs' to be a tuple of names of inputs (got "
                f'{names!r})'
            )
        object.__setattr__(self, 'static_inputs', tuple(names))
        if self.per_channel is not None:
            check_bools(per_channel=self.per_channel)
        for name in ('encode_input', 'fold_degree', 'allow_analog'):
            check_bools(**{name: getattr(self, name)})
        if self.levels == 'fitted' and self._gives_code:
            raise ValueError(
                "Expected 'base', 'threshold_shift' and 'scale' to keep their "
                "defaults with 'levels' = 'fitted', which fits all three (got "
                f'{self.base!r}, {shift!r}, {self.scale!r})'
            )

    def _check_table(self, table: PhaseCode) -> None:
        if table.num_steps != self.num_steps:
            raise ValueError(
                "Expected 'num_steps' to be the number of levels of the table 'levels', "
                f'{table.num_steps} (got {self.num_steps})'
            )
        if table.signed:
            raise ValueError(
                "Expected 'levels' to be unsigned (got a signed table); populations are "
                'signed where the calibration data has negative values'
            )
        if self.base != 'auto' or self.threshold_shift is not None:
            raise ValueError(
                "Expected 'base' and 'threshold_shift' to keep their defaults with a "
                f'table of levels (got {self.base!r}, {self.threshold_shift!r}); '
                "'PhaseCode.from_levels' takes thresholds"
            )
        if self.relay_steps not in (None, self.num_steps):
            raise ValueError(
                "Expected 'relay_steps' to be None with a table of levels, which relays "
                f'have, too (got {self.relay_steps})'
            )

    @property
    def _gives_code(self) -> bool:
        """Whether there is anything that fitted levels would replace."""
        found = self.base, self.scale, self.threshold_shift
        return found != ('auto', 'mse', None)

    def resolve(self, has_images: bool) -> ConversionConfig:
        """What :obj:`None` stands for in :obj:`per_channel`, :obj:`levels` and
        :obj:`relay_steps`.

        Args:
            has_images (bool): Whether the network has convolutions over images.

        Returns:
            ConversionConfig: The same, with nothing left open.
        """
        levels, per_channel = self.levels, self.per_channel
        if levels is None:
            is_fitted = has_images and not self._gives_code
            levels = 'fitted' if is_fitted else 'geometric'
        per_channel = has_images if per_channel is None else per_channel
        steps = self.num_relay_steps
        return replace(self, levels=levels, per_channel=per_channel, relay_steps=steps)

    @property
    def num_relay_steps(self) -> int:
        """What :obj:`relay_steps` is, or stands for."""
        if self.relay_steps is not None:
            return self.relay_steps
        if self.base != 'auto' or isinstance(self.levels, PhaseCode):
            return self.num_steps  # More steps of the same ratio are no finer.
        return max(self.num_steps, min(2 * self.num_steps - 1, LONGEST_FACTOR))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON types."""
        values = asdict(self)
        if isinstance(self.levels, PhaseCode):
            tables = self.levels.levels, self.levels.thresholds
            values['levels'] = [table.tolist() for table in tables]
        values['static_inputs'] = list(self.static_inputs)
        if isinstance(self.scale, tuple):
            values['scale'] = list(self.scale)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConversionConfig:
        """The inverse of :meth:`to_dict`."""
        scale, levels = values.get('scale', 'mse'), values.get('levels')
        if isinstance(levels, (list, tuple)):
            levels = PhaseCode.from_levels(*levels)
        scale = tuple(scale) if _is_list(scale) else scale
        return cls(**{**values, 'scale': scale, 'levels': levels})


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _check_choice(
    name: str, value: Any, choices: tuple[Any, ...], others: str = ''
) -> None:
    if value not in choices:
        raise ValueError(
            f"Expected '{name}' to be one of {', '.join(map(repr, choices))}{others} "
            f'(got {value!r})'
        )


def _check_scale(scale: Any) -> None:
    if _is_list(scale) and len(scale) == 2 and scale[0] == 'percentile':
        percent = scale[1]
        if not (isinstance(percent, (int, float)) and 0 < percent <= 100):
            raise ValueError(
                f"Expected the percentile in 'scale' to be in (0, 100] (got {percent})"
            )
        if not math.isfinite(percent):
            raise ValueError(f"Expected 'scale' to be finite (got {percent})")
    elif scale not in ('max', 'mse'):
        raise ValueError(
            "Expected 'scale' to be 'mse', 'max' or ('percentile', p); scales are "
            f'found by calibration, not given (got {scale!r})'
        )
