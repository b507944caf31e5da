"""Tests of a network against its spiking twin, on the same inputs and seeds.

Losses are in points, positive where the spiking network loses. A test that finds no
difference does not say that there is none: `equivalence` is the one that does.
"""

import base64
import itertools
import math
import statistics
import zlib

import numpy as np
from scipy import stats

LEVEL = 0.95
MARGIN = 0.5  # Points: a loss within them counts as none.


def mcnemar(ann_right, snn_right):
    """McNemar's exact test on inputs that one of two networks gets right."""
    ann_right, snn_right = (np.asarray(x, dtype=bool) for x in (ann_right, snn_right))
    if ann_right.shape != snn_right.shape:
        raise ValueError(
            f"Expected 'snn_right' to have shape {ann_right.shape} as 'ann_right' has "
            f'(got {snn_right.shape})'
        )
    lost = int((ann_right & ~snn_right).sum())
    won = int((snn_right & ~ann_right).sum())
    p = 1.0 if lost + won == 0 else stats.binomtest(lost, lost + won).pvalue
    return {'lost': lost, 'won': won, 'inputs': ann_right.size, 'p': float(p)}


def of_pairs(lost, won, inputs, margin=MARGIN):
    """The loss of one network, its interval over inputs, and its equivalence."""
    loss = (lost - won) / inputs
    error = 100 * math.sqrt((lost + won) / inputs - loss**2) / math.sqrt(inputs)
    return _judge(100 * loss, error, stats.norm(), margin)


def of_agreement(loss_points, agreement, inputs, margin=MARGIN):
    """The same of a network of which only the loss and the agreement (in percent) are
    known: at most as many inputs as predictions differ on are lost or won, so that the
    interval is at least as wide as it would be."""
    differ = round((1 - agreement / 100) * inputs)
    net = round(loss_points / 100 * inputs)
    lost = (differ + net) / 2
    return of_pairs(lost, differ - lost, inputs, margin)


def of_losses(losses, margin=MARGIN):
    """The mean loss over seeds, its interval, and whether it is zero (paired t and
    Wilcoxon's signed ranks) or within the margin."""
    losses = [float(loss) for loss in losses]
    if len(losses) < 2:
        raise ValueError(
            f"Expected 'losses' to be those of at least two seeds (got {len(losses)})"
        )
    mean, std = statistics.fmean(losses), statistics.stdev(losses)
    error = std / math.sqrt(len(losses))
    found = _judge(mean, error, stats.t(len(losses) - 1), margin)
    return {**found, 'std': std, 'wilcoxon_p': wilcoxon(losses), 'seeds': len(losses)}


def _judge(mean, error, distribution, margin):
    """Two-sided and equivalence (two one-sided) tests of a mean with a standard
    error, which may be zero: then nothing is left to chance."""
    half = error * float(distribution.ppf((1 + LEVEL) / 2))
    if error == 0:
        p, equivalence = float(mean == 0), float(abs(mean) >= margin)
    else:
        p = 2 * float(distribution.sf(abs(mean) / error))
        equivalence = float(distribution.sf((margin - abs(mean)) / error))
    return {
        'loss_points': mean,
        'interval': [mean - half, mean + half],
        'p': p,
        'equivalence_p': equivalence,
        'margin_points': margin,
    }


def wilcoxon(losses):
    """The exact two-sided p of Wilcoxon's signed ranks, with ties; zeros are left out."""
    losses = np.array([loss for loss in losses if loss != 0])
    if len(losses) == 0:
        return 1.0
    if len(losses) > 20:
        raise ValueError(
            f"Expected 'losses' to have at most 20 values other than zero, whose "
            f'signs are all tried (got {len(losses)})'
        )
    ranks = stats.rankdata(np.abs(losses).round(9))
    signs = np.array(list(itertools.product((-1, 1), repeat=len(ranks))))
    sums, found = np.abs(signs @ ranks), abs(np.sign(losses) @ ranks)
    return float((sums >= found - 1e-9).mean())


def holm(ps):
    """Holm's correction of the p of several tests, by name."""
    order, adjusted, largest = sorted(ps, key=ps.get), {}, 0.0
    for i, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - i) * ps[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in ps}


def pack(bits):
    """Bits as text; few that are set take few characters."""
    packed = np.packbits(np.asarray(bits, dtype=bool)).tobytes()
    return base64.b85encode(zlib.compress(packed, 9)).decode()


def unpack(text, size):
    packed = zlib.decompress(base64.b85decode(text))
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=size).astype(bool)
