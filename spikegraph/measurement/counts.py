from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field


@dataclass
class Counts:
    """Operation counts of one or more inferences; all of them integers.

    What an operation *is* follows from its role, never from the values it
    meets: a weight read because a spike arrived is an accumulate, an analog
    value times a weight a multiply-accumulate (MAC). Those of the ANN are counted
    by running it as its author wrote it, in its own order.

    The last seven are of the event-driven machine, see
    :obj:`~spikegraph.measurement.MACHINES`.

    Args:
        ann_macs (int): Weights times activations, every activation.
        ann_macs_nonzero (int): The same, activations that are zero skipped.
        ann_aggregation_macs (int): Edges times width; of a matrix, its entries that
            are not zero.
        ann_activations (int): Activations computed.
        ann_multiplications (int): Elementwise multiplications, those of norms
            included, of edge weights left out: they are part of the MACs above.
        synops (int): Weights accumulated because a spike arrived.
        accumulates (int): Edges times width, as plain additions.
        snn_macs (int): MACs the spiking network keeps: analog inputs, weighted
            edges, analog leftovers.
        scalings (int): Multiplications by per-node factors or constants.
        membrane_updates (int): Membrane state read, scaled and written.
        comparisons (int): Membranes compared with a threshold, fixed or moving, and
            spikes compared by gates.
        spikes (int): Spikes sent, by neurons, and passed on by gates.
        neurons (int): Neurons that could have sent one; gates are none.
        adds (int): Elementwise additions, in both networks.
        analog_values (int): Real values passed between analog operations.
        delays (int): Pairs of spikes of which one delays the other, which is their
            product.
        moved (int): Of :obj:`accumulates`, those of sums that hold a spike.
        touches (int): Membranes and partial sums that something is added to because a
            spike arrived, or a sum that holds one.
        receivers (int): Neurons, and values that are read out, that a spike arrived at.
        openings (int): Membranes of these, one for each population that sends to them,
            read when the window opens.
        searches (int): Comparisons that find firing times in tables of thresholds,
            those of encoders and gates included.
        decays (int): Multiplications by the level ratio to the power of the steps since
            a membrane was touched last, and of thresholds that a second potential moves.
        encoded (int): Of :obj:`spikes`, those that encoders write.
    """

    ann_macs: int = 0
    ann_macs_nonzero: int = 0
    ann_aggregation_macs: int = 0
    ann_activations: int = 0
    ann_multiplications: int = 0
    synops: int = 0
    accumulates: int = 0
    snn_macs: int = 0
    scalings: int = 0
    membrane_updates: int = 0
    comparisons: int = 0
    spikes: int = 0
    neurons: int = 0
    adds: int = 0
    analog_values: int = 0
    delays: int = 0
    moved: int = 0
    touches: int = 0
    receivers: int = 0
    openings: int = 0
    searches: int = 0
    decays: int = 0
    encoded: int = 0

    def __add__(self, other: Counts) -> Counts:
        names = [f.name for f in dataclasses.fields(Counts)]
        return Counts(**{k: getattr(self, k) + getattr(other, k) for k in names})


@dataclass
class LayerCounts:
    """The counts of one row of the account.

    Args:
        name (str): The layer or population.
        role (str): ``'input encoding'``, ``'layer'``, ``'neurons'``,
            ``'gate'`` (a maximum or a product, which passes spikes on), ``'product'``
            (of matrices, which sums them up), ``'read-out'``, ``'elementwise'`` or
            ``'analog'``.
        counts (Counts): Its counts.
    """

    name: str
    role: str
    counts: Counts = field(default_factory=Counts)
