"""The passes over the whole graph of a network, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from spikegraph.conversion.passes.canonical import canonicalise
from spikegraph.conversion.passes.decoders import insert_decoders
from spikegraph.conversion.passes.degrees import fold_degree
from spikegraph.conversion.passes.distribution import distribute_linear
from spikegraph.conversion.passes.factors import fold_constants
from spikegraph.conversion.passes.fusion import fuse_linear
from spikegraph.conversion.passes.gates import insert_gates
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.identities import remove_identities
from spikegraph.conversion.passes.messages import collect_messages
from spikegraph.conversion.passes.norms import fold_norms
from spikegraph.network.config import ConversionConfig


@dataclass(frozen=True)
class Pass:
    """A pass over a graph whose activations are populations already.

    Args:
        run (Callable): Changes the network. It is given the signals, too, the values on
            their way to a membrane, and adds those of new nodes.
        why (str): Why it stands where it does.
        option (str, optional): The option of the configuration that asks for it.
    """

    run: Callable[[Structure, set[fx.Node]], None]
    why: str
    option: str | None = None


PASSES = (
    Pass(remove_identities, 'All others look at what stands next to each other.'),
    Pass(canonicalise, 'Only what is a layer can be collected, fused or folded.'),
    Pass(collect_messages, 'Sums over neighbours must be filters to take weights.'),
    Pass(fuse_linear, 'Weights leave the edges, and free the sums behind them.'),
    Pass(collect_messages, 'Weights along edges have moved behind these sums.'),
    Pass(fold_constants, 'Factors in front of a layer hide what it reads.'),
    Pass(distribute_linear, 'Sums and parts side by side are as plain as they get.'),
    Pass(fuse_linear, 'The parts of a layer may be taken by filters, too.'),
    Pass(fold_norms, 'Layers have their last weights, which it scales.'),
    Pass(insert_gates, 'What maxima compare is final, and relays are populations.'),
    Pass(insert_decoders, 'All populations are there, and all that reads them.'),
    Pass(fuse_linear, 'Norms and decoders no longer stand between layers.'),
    Pass(fold_degree, 'Who reads a population, or a sum, is final.', 'fold_degree'),
)


def run_passes(
    structure: Structure, signals: set[fx.Node], config: ConversionConfig
) -> None:
    """Runs all passes that a configuration asks for."""
    for each in PASSES:
        if each.option is None or getattr(config, each.option):
            each.run(structure, signals)
