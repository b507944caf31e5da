"""Closed-form correction of a layer for the coding error of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.conversion.fitting.sampling import as_rows, pick
from spikegraph.conversion.passes.graph import is_sum
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import run_node
from spikegraph.network.network import Network
from spikegraph.network.ops import is_call
from spikegraph.network.roles import Role
from spikegraph.nn.products import quotient

RIDGE = 1e-3  # Relative to the diagonal of the Gram matrix.
NEGLIGIBLE = 1e-10  # Squared error, relative: float32 rounding, no coding error.
SMALLEST = 0.1  # Rows count alike down to this share of the mean square.
MAX_ROWS = 2**16  # Rows that a layer is corrected on, more if its features are many.
ROWS_PER_FEATURE = 16
CHUNK = 2**12  # Rows in float64 at once.
HELD_OUT = 5  # Every fifth row judges, the others fit.


def compensate_layers(
    node: Node,
    layers: list[Node],
    network: Network,
    analog: list[dict[Node, Any]],
    spiking: list[dict[Node, Any]],
    config: ConversionConfig,
    numerators: Mapping[Node, Node | None],
) -> bool:
    """Corrects the layers whose sum a node is, as one layer of all their
    features. A layer whose output is broadcast has other rows or columns. What is
    divided later on is corrected as the quotient that it will be, if its divisor is
    known, and by weights only: where nothing is weighed, nothing may be added.
    """
    modules: list[Any] = [network.get_submodule(str(n.target)) for n in layers]
    if any(a[layer].shape != a[node].shape for a in analog for layer in layers):
        return False
    channel_dims = {getattr(module, 'channel_dim', -1) for module in modules}
    grouped = any(module.num_groups != 1 for module in modules)
    if len(channel_dims) > 1 or (grouped and len(modules) > 1):
        return False
    channel_dim = channel_dims.pop()
    # Of a transposed convolution, only the bias.
    has_rows = config.compensate == 'ridge' and all(m.has_rows for m in modules)
    num_features = sum(module.matrix().size(1) for module in modules)
    limit = max(MAX_ROWS, ROWS_PER_FEATURE * num_features) // len(analog) + 1
    features, residual, goal = [], [], []
    is_divided, den = node in numerators, numerators.get(node)
    if is_divided and not has_rows:
        return False
    for a, s in zip(analog, spiking, strict=True):
        target = as_rows(a[node], channel_dim)
        index = pick(len(target), limit, target.device)
        ratios = [_divisors(den, network, env, index, len(target)) for env in (a, s)]
        if any(ratio is None for ratio in ratios):
            ratios = [None, None]
        if has_rows:
            parts = []
            for layer, module in zip(layers, modules, strict=True):
                args, kwargs = arguments(layer, s)
                parts.append(module.feature_rows(index, *args, **kwargs))
            features.append(_divided(torch.cat(parts, dim=-1), ratios[1]))
        goal.append(_divided(target[index], ratios[0]))
        coded = as_rows(s[node], channel_dim)[index]
        residual.append(goal[-1] - _divided(coded, ratios[1]))
    change = compensate(
        torch.cat(features) if has_rows else None,
        torch.cat(residual),
        torch.cat(goal),
        may_shift=not is_divided,
    )
    if change is None:
        return False
    delta, shift = change
    for i, module in enumerate(modules):
        weight, bias = module.weight, module.bias
        if delta is not None:
            matrix = module.matrix()
            own, delta = delta.tensor_split([matrix.size(1)], dim=1)
            weight = matrix + own
        if i == 0 and not is_divided:
            bias = shift if bias is None else bias + shift
        module.set_parameters(weight, bias)
    return True


def numerators_of(network: Network) -> dict[Node, Node | None]:
    """What is divided later on, before anything fires on it, and the divisor of what is
    only added to other such values until then.
    """
    found: dict[Node, Node | None] = {}
    for node in network.nodes:
        den = node.kwargs.get('divisor')
        if network.operation(node) is quotient:
            den = node.args[1]
        if isinstance(den, Node):
            num: Any = node.args[0]
            found[num] = den
    for known in (True, False):  # What is added up first, then all else behind it.
        queue = list(found)
        while queue:
            node = queue.pop()
            keeps = is_sum(node) or is_call(node, 'reshape', 'view')
            for source in node.all_input_nodes if keeps or not known else ():
                if source not in found and source.role in (Role.AFFINE, Role.LAYER):
                    found[source] = found[node] if keeps and known else None
                    queue.append(source)
    return found


def _divisors(
    den: Node | None, network: Network, env: dict[Node, Any], index: Tensor, num: int
) -> Tensor | None:
    """The divisors of some of a number of rows :math:`(n, 1)`, if each has one."""
    if den is None:
        return None
    rows = as_rows(_value_of(den, network, env))
    is_one = len(rows) == num and bool((rows == rows[:, :1]).all())
    return rows[index, :1] if is_one else None


def _value_of(node: Node, network: Network, env: dict[Node, Any]) -> Any:
    """The value of a node that may come later, of values that are there."""
    if node in env:
        return env[node]
    own = {n: _value_of(n, network, env) for n in node.all_input_nodes}
    return run_node(network, node, own)


def _divided(rows: Tensor, den: Tensor | None) -> Tensor:
    if den is None:
        return rows
    return rows / den.view(-1, *[1] * (rows.dim() - 1))


def compensate(
    features: Tensor | None,
    residual: Tensor,
    goal: Tensor,
    may_shift: bool = True,
) -> tuple[Tensor | None, Tensor] | None:
    r"""Corrects weights so that coded inputs give the true pre-activation.
    Errors count relative to the size of their row, so that nodes with many
    neighbours do not drown the others.

    .. math::
        \min_{\Delta, \delta} \sum_i \frac{\| \Delta \phi_i + \delta - r_i \|^2}
        {\| y_i \|^2 + \eta \, \overline{\| y \|^2}}
        + \lambda \| \Delta \|^2_{\mathrm{diag}(\Phi^{\top} \Phi)}

    Args:
        features (torch.Tensor, optional): The coded inputs :math:`\Phi` that
            the weights see :math:`(n, F_{in})`, or :math:`(n, G, F_{in})` where
            each group of outputs sees inputs of its own. Without them, only
            the bias is corrected.
        residual (torch.Tensor): What is missing :math:`R`: the ANN's
            pre-activation minus that of the spiking network
            :math:`(n, F_{out})`.
        goal (torch.Tensor): The ANN's pre-activation :math:`Y`
            :math:`(n, F_{out})`.
        may_shift (bool, optional): Whether the bias is corrected, too.
            (default: :obj:`True`)

    Returns:
        Tuple[torch.Tensor, torch.Tensor], optional: What is to be added to the
        weight :math:`\Delta` :math:`(F_{out}, F_{in})` and to the bias
        :math:`\delta` :math:`(F_{out})`, or :obj:`None` if that would not
        lower the error on held-out rows.
    """
    like = residual
    residual, goal = residual.double(), goal.double()
    ones = _row_weights(goal).sqrt().view(-1, 1)
    residual = ones * residual
    phi = like.new_empty(len(like), 0) if features is None else features
    exact = bool(residual.square().sum() <= NEGLIGIBLE * goal.square().sum())
    held_out = torch.arange(len(ones), device=ones.device) % HELD_OUT == 0
    if exact or int((~held_out).sum()) < 1 + phi.size(-1):
        return None
    kept, judge = (
        _Normal.of(phi[rows], ones[rows], residual[rows], may_shift)
        for rows in (~held_out, held_out)
    )
    if not judge.gain(kept.solve()) > 0:
        return None
    both = _Normal(kept.gram + judge.gram, kept.cross + judge.cross)
    change = both.solve().to(like)  # [G, F_out / G, F + 1]
    shift = change[..., -1].flatten()
    return None if features is None else change[..., :-1].flatten(0, 1), shift


def _row_weights(goal: Tensor) -> Tensor:
    """The reciprocal of each row's mean square :math:`(n)`, on average 1."""
    size = goal.square().mean(dim=1)
    weight = (size + SMALLEST * size.mean().clamp(min=1e-300)).reciprocal()
    return weight / weight.mean()


@dataclass(frozen=True)
class _Normal:
    """The normal equations of each group; the last column is the bias."""

    gram: Tensor  # [G, F, F]
    cross: Tensor  # [G, F, F_out / G]

    @classmethod
    def of(
        cls, features: Tensor, ones: Tensor, residual: Tensor, may_shift: bool
    ) -> _Normal:
        """Of features :math:`(n, F)` or :math:`(n, G, F)`, the roots of the rows'
        weights :math:`(n, 1)` and weighted residuals :math:`(n, F_{out})`, by
        parts: in float64, all rows of a wide layer fill the memory.
        """
        gram, cross = None, None
        parts = zip(*(v.split(CHUNK) for v in (features, ones, residual)), strict=True)
        for phi, one, missing in parts:
            phi = (phi if phi.dim() == 3 else phi.unsqueeze(1)).double()
            one = one.unsqueeze(1)
            shift = one.expand(-1, phi.size(1), 1) if may_shift else 0 * phi[..., :1]
            columns = torch.cat([one * phi, shift], dim=-1)
            columns = columns.transpose(0, 1)
            wanted = missing.unflatten(1, (len(columns), -1)).transpose(0, 1)
            add = columns.mT @ columns, columns.mT @ wanted
            gram = add[0] if gram is None else gram + add[0]
            cross = add[1] if cross is None else cross + add[1]
        assert gram is not None and cross is not None
        return cls(gram, cross)

    def solve(self) -> Tensor:
        """The change of weights :math:`(G, F_{out} / G, F)`, by ridge regression."""
        diagonal = self.gram.diagonal(dim1=-2, dim2=-1).clamp(min=1e-12)
        ridge = torch.diag_embed(RIDGE * diagonal)
        if diagonal.size(-1) == 1:  # The mean error needs none.
            ridge.zero_()
        return torch.linalg.solve(self.gram + ridge, self.cross).mT

    def gain(self, change: Tensor) -> float:
        """By how much a change lowers the sum of squares."""
        removed = 2 * self.cross - self.gram @ change.mT
        return float((removed * change.mT).sum())
