from __future__ import annotations

from spikegraph.coding.phase_code import PhaseCode


def max_relative_error(code: PhaseCode) -> float:
    r"""The largest relative error of a value inside the
    :func:`dynamic_range`, which no scale can change.

    .. math::
        \max_x \frac{|\hat{x} - x|}{x} = \frac{Q - 1}{Q + 1}
        \quad \text{(geometric code, default shift)}

    In general it is the largest of :math:`\ell_t / \theta_t - 1`, just at a
    threshold, and :math:`1 - \ell_t / \theta_{t-1}`, just below the previous
    one; the unshifted code has :math:`1 - 1/Q`.

    Args:
        code (PhaseCode): The phase code.

    Returns:
        float: The bound; 0.1 means 10 percent.

    Example:
        >>> round(max_relative_error(PhaseCode(num_steps=8, base=1.5)), 6)
        0.2
    """
    levels, thresholds = code.levels, code.thresholds
    above = (levels / thresholds - 1).abs().max()
    if code.num_steps == 1:
        return float(above)
    return float(max(above, (1 - levels[1:] / thresholds[:-1]).abs().max()))


def dynamic_range(code: PhaseCode) -> tuple[float, float]:
    r"""The smallest and the largest magnitude, in units of the scale, between
    which :func:`max_relative_error` holds: from the last threshold
    :math:`\theta_{T-1}`, below which a neuron stays silent, to
    :math:`\ell_0 / (1 - \epsilon)`, above which saturation exceeds the bound.

    Args:
        code (PhaseCode): The phase code.

    Returns:
        Tuple[float, float]: Smallest and largest magnitude.

    Example:
        >>> dynamic_range(PhaseCode(num_steps=3, base=2))
        (0.1875, 1.5)
    """
    error = max_relative_error(code)
    largest = float(code.levels[0]) / (1 - error) if error < 1 else float('inf')
    return float(code.thresholds[-1]), largest


def max_absolute_error(code: PhaseCode) -> float:
    r"""The largest error, in units of the scale, of any magnitude up to the
    first level :math:`\ell_0`, silent values included.

    Args:
        code (PhaseCode): The phase code.

    Returns:
        float: The bound.

    Example:
        >>> max_absolute_error(PhaseCode(num_steps=3, base=2))
        0.25
    """
    levels, thresholds = code.levels, code.thresholds
    upper = [float(levels[0]), *thresholds[:-1].tolist()]
    errors = [float(thresholds[-1])]  # Just below the last threshold: silent.
    for level, low, high in zip(
        levels.tolist(), thresholds.tolist(), upper, strict=True
    ):
        errors += [abs(level - low), abs(high - level)]
    return max(errors)
