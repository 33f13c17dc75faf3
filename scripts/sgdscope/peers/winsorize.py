"""Winsorized means of n values in PyTorch, four ways, and the slow reference in double precision.

With low and high the ranks of the c-th and (100 - c)-th percentile ('nearest': c/100 (n - 1) rounded) among a weight's
n values: values below the one of rank low are raised to it, values above the one of rank high lowered to it; then
the mean. For n = 100 and c = 2 the ranks are 2 and 97, counted from 0. All ways: [weights, n] -> [weights].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def ranks(n: int, percentile: float) -> tuple[int, int]:
    """(low, high), counted from 0; a rank between two goes to the even one, as in sgdscope and NumPy."""
    return round(percentile / 100 * (n - 1)), round((100 - percentile) / 100 * (n - 1))


def by_topk(values: Tensor, percentile: float) -> Tensor:
    """The low + 1 smallest and the n - high largest."""
    n = values.shape[1]
    low, high = ranks(n, percentile)
    lower = values.topk(low + 1, dim=1, largest=False, sorted=False).values.amax(1, keepdim=True)
    upper = values.topk(n - high, dim=1, largest=True, sorted=False).values.amin(1, keepdim=True)
    return values.clamp(lower, upper).mean(1)


def by_sort(values: Tensor, percentile: float) -> Tensor:
    """Sums what lies between the two ranks, which saves the clipping."""
    n = values.shape[1]
    low, high = ranks(n, percentile)
    ordered = values.sort(dim=1).values
    inner = ordered[:, low : high + 1].sum(1)
    return (inner + low * ordered[:, low] + (n - 1 - high) * ordered[:, high]) / n


def by_kthvalue(values: Tensor, percentile: float) -> Tensor:
    low, high = ranks(values.shape[1], percentile)
    lower = values.kthvalue(low + 1, dim=1, keepdim=True).values
    upper = values.kthvalue(high + 1, dim=1, keepdim=True).values
    return values.clamp(lower, upper).mean(1)


def by_quantile(values: Tensor, percentile: float) -> Tensor:
    levels = torch.tensor([percentile / 100, 1 - percentile / 100], dtype=values.dtype, device=values.device)
    lower, upper = values.quantile(levels, dim=1, keepdim=True, interpolation="nearest")
    return values.clamp(lower, upper).mean(1)


Reduction = Callable[[Tensor, float], Tensor]
REDUCTIONS: dict[str, Reduction] = {"topk": by_topk, "sort": by_sort, "kthvalue": by_kthvalue, "quantile": by_quantile}


def reference_gradients(model: nn.Sequential, inputs: Tensor, labels: Tensor) -> np.ndarray:
    """[n, p] in double: the gradient of one example's loss after another."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    weights = [(layer.weight.detach().double(), layer.bias.detach().double()) for layer in layers]
    leaves = [leaf.requires_grad_() for pair in weights for leaf in pair]
    rows = []
    for x, label in zip(inputs.double(), labels):
        for i, (weight, bias) in enumerate(weights):
            x = functional.linear(x if i == 0 else x.relu(), weight, bias)
        gradient = torch.autograd.grad(functional.cross_entropy(x, label), leaves)
        rows.append(torch.cat([part.flatten() for part in gradient]).cpu().numpy())
    return np.stack(rows)


def reference_winsorized(gradients: np.ndarray, percentile: float) -> np.ndarray:
    """[n, p] -> [p], as NumPy's percentile and clip tell it."""
    lower, upper = np.percentile(gradients, [percentile, 100 - percentile], axis=0, method="nearest")
    return np.clip(gradients, lower, upper).mean(0)


def reference_norms(gradients: np.ndarray) -> np.ndarray:
    """The lengths [n] of gradients [n, weights]."""
    return np.sqrt((gradients**2).sum(1))


def reference_trace(gradients: np.ndarray) -> np.ndarray:
    """Trace of the gradients' unbiased covariance, a scalar."""
    return gradients.var(0, ddof=1).sum()


def relative_difference(found: Tensor, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest expected value."""
    return float(np.abs(found.detach().double().cpu().numpy() - expected).max() / np.abs(expected).max())


def rounding_bound(widths: Sequence[int], n: int) -> float:
    """How far single precision may be off: half a unit for each term of the sums that follow one another.

    A layer of width w adds up w terms on the way there, and again on the way back; the mean adds up n. Clipping adds
    nothing: an order statistic of values each off by d is off by d at most."""
    return (2 * sum(widths) + n) * float(np.finfo(np.float32).eps) / 2
