"""What the nodes of a converted network are."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """What a node is, decided once by conversion and stored with it.

    Each has a method of the same name in :class:`~spikegraph.network.Interpreter`.
    """

    INPUT = 'input'  #: A value that the network is given.
    CONSTANT = 'constant'  #: A tensor, or anything else, that the network holds.
    POPULATION = 'population'  #: Neurons that fire on a potential.
    GATE = 'gate'  #: Passes the earliest spike of each group on.
    PRODUCT = 'product'  #: Sums up pairs of spikes, one delayed by the other.
    LAYER = 'layer'  #: An affine operator on spikes, with weights or along edges.
    MOVE = 'move'  #: Takes rows of spikes, which stay spikes.
    DECODE = 'decode'  #: Reads spikes as real values.
    AFFINE = 'affine'  #: Adds, scales, joins or rearranges values.
    CURRENT = 'current'  #: Makes values of indices, such as an embedding.
    ANALOG = 'analog'  #: Is left as it was, and billed so.
    SIZE = 'size'  #: Reads a shape or a type, and no value.
    READ_OUT = 'read_out'  #: Follows the last layer: it reads potentials at the end.
    STRUCTURE = 'structure'  #: Is made of graphs, sizes and numbers; no spike behind.
    CHECK = 'check'  #: Asks again what the model asked while it was traced.
    OUTPUT = 'output'  #: What is returned.

    @property
    def fires(self) -> bool:
        """Whether the value of such a node is spikes of its own."""
        return self in (Role.POPULATION, Role.GATE)
