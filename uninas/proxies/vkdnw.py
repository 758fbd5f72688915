"""VKDNW: the diversity of the Fisher information spectrum at initialisation (Tybl & Neumann, CVPR 2025).

For N samples, K classes and P chosen weights, with J_n (K x P) the Jacobian of the logits of sample n by the weights
and p_n the softmax of those logits, the Fisher information is

    F = 1/N  sum_n  J_n^T (diag(p_n) - p_n p_n^T) J_n        (P x P).

Let l_1..l_9 be the 0.1..0.9 quantiles of F's eigenvalues, divided by their sum. The score is their entropy
-sum l log l, at most ln 9: high where no direction of the weights is much better determined than the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from uninas.proxies.base import proxy
from uninas.proxies.engine.jacobian import Jacobian, Weight, logit_jacobian
from uninas.proxies.observe.gradients import logits_of
from uninas.proxies.types import Inputs, Measured, ProxyError

Variant = Literal["exact", "published"]
Selection = Literal["first", "spread", "random"]

SMOOTHING = 0.05
DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def chosen_weights(
    module: nn.Module,
    max_tensors: int = 128,
    scalars: int = 1,
    min_ndim: int = 0,
    select: Selection = "first",
    generator: torch.Generator | None = None,
) -> list[Weight]:
    """The first `scalars` elements of each of at most `max_tensors` trainable parameter tensors.

    Tensors come in the order of `named_parameters()`: the first ones, or some at even distances from the first to the
    last (`spread`), or some drawn from the generator (`random`). As in the published settings they are of all kinds,
    weights and biases of normalisation layers too; `min_ndim=2` leaves only matrices and filters.
    """
    if max_tensors < 1 or scalars < 1:
        raise ProxyError(f"expected max_tensors and scalars of at least 1, but got {max_tensors} and {scalars}")
    if select not in get_args(Selection):
        raise ProxyError(f"expected select to be one of {', '.join(get_args(Selection))}, but got '{select}'")
    tensors = [(name, p) for name, p in module.named_parameters() if p.requires_grad and p.ndim >= min_ndim]
    if len(tensors) > max_tensors:
        tensors = [tensors[place] for place in _places(len(tensors), max_tensors, select, generator)]
    return [Weight(name, i) for name, p in tensors for i in range(min(scalars, p.numel()))]


def _places(count: int, wanted: int, select: Selection, generator: torch.Generator | None) -> list[int]:
    """Which of `count` things are looked at, ascending, if `wanted` of them are, which is fewer."""
    if select == "first":
        return list(range(wanted))
    if select == "spread":
        return [place * (count - 1) // max(1, wanted - 1) for place in range(wanted)]
    device = "cpu" if generator is None else generator.device
    drawn: list[int] = torch.randperm(count, generator=generator, device=device)[:wanted].tolist()
    return sorted(drawn)


def fisher(logits: Tensor, jacobian: Tensor, smoothing: float = 0.0, variant: Variant = "exact") -> Tensor:
    """The Fisher information (P x P, float64) of logits (N x K) and their Jacobian (N x K x P).

    `smoothing` s mixes the softmax with the uniform distribution, p <- (1 - s) p + s / K. diag(p) - p p^T is A^T A for
    A = diag(sqrt p) (1 - 1 p^T), so each sample adds the Gram matrix of its p-centred, sqrt(p)-weighted rows: positive
    semi-definite without any factorisation. The 'published' variant adds that of the rows L J, where L is the lower
    Cholesky factor of diag(p) - p p^T; the information itself would need L^T J.
    """
    total = jacobian.new_zeros(jacobian.shape[2], jacobian.shape[2], dtype=torch.float64)
    probabilities = logits.double().softmax(1) * (1 - smoothing) + smoothing / logits.shape[1]
    together = max(1, _NUMBERS // max(1, jacobian[0].numel()))
    for p, rows in zip(torch.split(probabilities, together), torch.split(jacobian, together), strict=True):
        rows = rows.double()
        if variant == "published":
            rows = torch.stack([multinomial_cholesky(one) @ its_rows for one, its_rows in zip(p, rows, strict=True)])
        else:
            rows = p.sqrt()[..., None] * (rows - p[:, None] @ rows)
        rows = rows.flatten(0, 1)
        total += rows.T @ rows
    return total / len(logits)


_NUMBERS = 2**20  # of a Jacobian, that are held in float64 at once


def sampled_scores(
    module: nn.Module,
    inputs: Inputs,
    weights: Sequence[Weight],
    generator: torch.Generator,
    *,
    draws: int = 1,
    smoothing: float = 0.0,
    **settings: Any,
) -> Tensor:
    """Derivatives of log p(y) for drawn classes y, times a weight: (N, draws, P).

    Their outer products are on average the Fisher information, the sum over classes of p(y) times that of log p(y)'s
    derivative. A network that is sure of a class would draw hardly anything else, and it is the other classes that tell
    most: so y is drawn with q(y), in proportion to p(y) |e_y - p|, the size of what it adds, and weighs sqrt(p / q).
    `smoothing` is that of `fisher`. Every draw is a row to pull back through the network, where the exact information
    needs one for each class. `settings` are those of `logit_jacobian`, whose errors are raised.
    """
    with torch.no_grad():
        logits = logits_of(module, inputs)
    p = logits.double().softmax(1) * (1 - smoothing) + smoothing / logits.shape[1]
    share = p * (1 - 2 * p + p.square().sum(1, keepdim=True)).clamp(min=1e-12).sqrt()
    share = share / share.sum(1, keepdim=True)
    drawn = torch.multinomial(share.to(generator.device), draws, replacement=True, generator=generator).to(p.device)
    weight = (p.gather(1, drawn) / share.gather(1, drawn)).sqrt()
    by_logits = weight[..., None] * (nn.functional.one_hot(drawn, logits.shape[1]) - p[:, None])
    of_draws = [Weight(f"network.{weight.name}", weight.index) for weight in weights]
    found: Jacobian = logit_jacobian(_Draws(module), (*inputs, by_logits.to(logits.dtype)), of_draws, **settings)
    return found.values


class _Draws(nn.Module):
    """A network whose outputs (N, draws) are its logits times what is given last: (N, draws, classes)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(*inputs[:-1])
        return (inputs[-1] @ logits[..., None])[..., 0]


def difference_jacobian(module: nn.Module, inputs: Inputs, weights: Sequence[Weight], **settings: Any) -> Jacobian:
    """The Jacobian of the logits less the last one: a softmax and its information are the same, for a row less.

    The rows are pulled back through the whole network, so of ten classes a tenth is spared. `settings` and errors are
    those of `logit_jacobian`, and so is what comes of a single logit.
    """
    differing = [Weight(f"network.{weight.name}", weight.index) for weight in weights]
    network = _Differences(module)
    found = logit_jacobian(network, inputs, differing, **settings)
    if network.classes == {1}:
        return found
    return Jacobian(nn.functional.pad(found.logits, (0, 1)), nn.functional.pad(found.values, (0, 0, 0, 1)))


class _Differences(nn.Module):
    """A network whose outputs (N, K - 1) are its logits less the last one; one logit, and what is none, stay."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.training = network.training
        self.classes: set[int] = set()
        """How many logits were met."""

    def forward(self, *inputs: Tensor) -> Any:
        logits: Any = self.network(*inputs)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            return logits
        self.classes.add(logits.shape[1])
        if logits.shape[1] < 2:
            return logits
        return logits[:, :-1] - logits[:, -1:]


def multinomial_cholesky(p: Tensor) -> Tensor:
    """The lower triangular L with L L^T = diag(p) - p p^T for probabilities p (K,) (Tanabe & Sagae 1992).

    With r_j = 1 - p_1 - ... - p_j the rest after class j, L_jj = sqrt(p_j r_j / r_{j-1}) and
    L_ij = -p_i sqrt(p_j / (r_j r_{j-1})) below it.
    """
    rest = (p.sum() - p.cumsum(0)).clamp(min=0)
    rest[-1] = 0
    before = torch.cat([p.sum()[None], rest[:-1]])
    ratio = torch.where(before > 0, p / before.clamp(min=torch.finfo(p.dtype).tiny), 0)
    below = torch.where(rest > 0, (ratio / rest.clamp(min=torch.finfo(p.dtype).tiny)).sqrt(), 0)
    return (-p[:, None] * below).tril(-1) + torch.diag((ratio * rest).sqrt())


def fisher_spectrum(logits: Tensor, jacobian: Tensor, smoothing: float = 0.0, variant: Variant = "exact") -> Tensor:
    """The eigenvalues (P,) of the Fisher information, ascending, in float64; rounding never makes them negative."""
    eigenvalues: Tensor = torch.linalg.eigvalsh(fisher(logits, jacobian, smoothing, variant))
    return eigenvalues.clamp(min=0)


def spectrum_entropy(eigenvalues: Tensor, quantiles: Sequence[float] = DECILES) -> tuple[float, Tensor]:
    """The entropy of the normalised quantiles of `eigenvalues` (P,), and these quantiles.

    Quantiles interpolate linearly; 0 log 0 = 0. Where all of them are 0, so that too few directions carry any
    information, the entropy is 0, the value of a spectrum held by one quantile.
    """
    points = torch.tensor(quantiles, dtype=eigenvalues.dtype, device=eigenvalues.device)
    shares = torch.quantile(eigenvalues, points)
    total = shares.sum()
    if total > 0:
        shares = shares / total
    return max(0.0, float(torch.special.entr(shares).sum())), shares


def trainable_tensors(module: nn.Module) -> int:
    """The number of trainable parameter tensors: "layers" in the sense of the VKDNW paper."""
    return sum(parameter.requires_grad for parameter in module.parameters())


@proxy("vkdnw")
def vkdnw(
    module: nn.Module,
    inputs: Inputs,
    generator: torch.Generator,
    *,
    max_tensors: int = 128,
    scalars: int = 1,
    min_ndim: int = 0,
    select: str = "first",
    draws: int = 0,
    quantiles: Sequence[float] = DECILES,
    smoothing: float = SMOOTHING,
    compat: Variant = "exact",
    memory: int = 0,
    tf32: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Measured:
    """Entropy of the Fisher information spectrum (Tybl & Neumann, CVPR 2025); at most the log of the quantiles' number.

    The module is scored in evaluation mode with the weights it has: initialise it as you mean to. The defaults
    are the published settings: the first scalar of each of the first 128 parameter tensors, and a softmax mixed with
    a little of the uniform distribution (`smoothing`): freshly initialised networks without normalisation are often
    so sure of a class that their own softmax has no information left, and `smoothing=0` is then an error. `compat`
    'published' computes what the published code does, which multiplies by the Cholesky factor from the other side
    (see `fisher`). Of a network with more tensors than that, `select` takes the `first`, or some at even distances
    (`spread`), or some at `random`. With `draws` of K > 0 the information is estimated from K drawn classes for each
    image: unbiased, and the cheaper the more classes there are (`vkdnw_sampled`). `memory` (bytes)
    bounds the tangents and activations held at once, with 0 to 1 GiB, on a GPU to a quarter of what it has; `dtype` is
    the precision of the Jacobian. `tf32` lets a GPU round the factors of products to 10 bits, which is faster and
    changes the score by a thousandth of itself or so.

    Components: `rank` of F, to the precision of `dtype`, and its normalised eigenvalue quantiles `lambda_1`, ...
    A weight that the logits do not depend on adds an eigenvalue 0; if less than a tenth of all eigenvalues are
    positive, the score is 0. Raises ProxyError without trainable parameters, where no chosen weight moves the
    softmax (F = 0), with fewer than two classes, and for logits or derivatives that are not finite.
    """
    if not 0 <= smoothing <= 1:
        raise ProxyError(f"expected a smoothing between 0 and 1, but got {smoothing}")
    if compat not in get_args(Variant):
        raise ProxyError(f"expected compat to be one of {', '.join(get_args(Variant))}, but got '{compat}'")
    if not quantiles or not all(0 <= q <= 1 for q in quantiles):
        raise ProxyError(f"expected quantiles between 0 and 1, but got {tuple(quantiles)}")
    weights = chosen_weights(module, max_tensors, scalars, min_ndim, select, generator)  # type: ignore[arg-type]
    if not weights:
        raise ProxyError("the module has no trainable parameters to take derivatives by")
    module.eval()
    how: dict[str, Any] = {"memory": memory, "dtype": dtype, "tf32": tf32}
    if draws:
        eigenvalues = _sampled_spectrum(module, inputs, weights, generator, draws, smoothing, compat, how)
    else:
        eigenvalues = _exact_spectrum(module, inputs, weights, smoothing, compat, how)
    largest = float(eigenvalues[-1])
    value, shares = spectrum_entropy(eigenvalues, quantiles)
    # Rounding perturbs the singular values of J by about eps, and the eigenvalues of F by its square.
    noise = largest * len(weights) * max(torch.finfo(dtype).eps ** 2, torch.finfo(torch.float64).eps)
    rank = float((eigenvalues > noise).sum())
    return value, {"rank": rank, **{f"lambda_{i}": share for i, share in enumerate(shares.tolist(), 1)}}


def _exact_spectrum(
    module: nn.Module, inputs: Inputs, weights: Sequence[Weight], smoothing: float, compat: Variant, how: dict[str, Any]
) -> Tensor:
    """The eigenvalues of the Fisher information. ProxyError where they are all zero or there is none."""
    if compat == "exact":
        jacobian = difference_jacobian(module, inputs, weights, **how)
    else:  # multiplies from the side where the last row counts, too
        jacobian = logit_jacobian(module, inputs, weights, **how)
    if jacobian.logits.shape[1] < 2:
        raise ProxyError("expected logits of at least two classes, but got 1", "a softmax over one class is constant")
    _check_finite(jacobian.values)
    eigenvalues = fisher_spectrum(jacobian.logits, jacobian.values, smoothing, compat)
    if not eigenvalues[-1] > 0:
        raise ProxyError(_NOTHING, _why(module, jacobian))
    return eigenvalues


def _sampled_spectrum(
    module: nn.Module,
    inputs: Inputs,
    weights: Sequence[Weight],
    generator: torch.Generator,
    draws: int,
    smoothing: float,
    compat: Variant,
    how: dict[str, Any],
) -> Tensor:
    """The eigenvalues of the estimate from `draws` classes for each image. ProxyError as above."""
    if not 0 < draws <= _MOST_DRAWS or compat != "exact":
        raise ProxyError(
            f"expected at most {_MOST_DRAWS:,} draws, and compat 'exact' with them, but got {draws} and '{compat}'"
        )
    rows = sampled_scores(module, inputs, weights, generator, draws=draws, smoothing=smoothing, **how)
    _check_finite(rows)
    rows = rows.flatten(0, 1).double()
    eigenvalues: Tensor = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).clamp(min=0)
    if not eigenvalues[-1] > 0:
        raise ProxyError(_NOTHING)
    return eigenvalues


_MOST_DRAWS = 100_000
_NOTHING = "the Fisher information is zero: no chosen weight moves the module's softmax"


def _check_finite(derivatives: Tensor) -> None:
    if not derivatives.isfinite().all():
        raise ProxyError("the logits have derivatives that are not finite", "check the module's initialisation")


def _why(module: nn.Module, jacobian: Jacobian) -> str:
    """The likely reason for zero information, and a way out."""
    if not jacobian.values.any():
        zero = [name for name, p in module.named_parameters() if p.ndim > 1 and not p.any()]
        if zero:
            return f"{zero[-1]} begins at zero: let an initialisation scheme (init) draw the weights"
        total, seen = trainable_tensors(module), jacobian.values.shape[2]
        if total > seen:
            way_out = f"select=spread looks at others of its {total} tensors"
            return f"between the weights looked at and the output nothing passes, as behind a dead cell: {way_out}"
        return "nothing passes to the output, as behind a dead cell"
    if ((jacobian.logits.double().softmax(1) > 0).sum(1) < 2).all():
        return "the softmax is sure of one class for all samples: try some smoothing, or smaller weights"
    return ""


@proxy("vkdnw_single")
@wraps(vkdnw, assigned=())  # its options
def vkdnw_single(module: nn.Module, inputs: Inputs, generator: torch.Generator, **options: Any) -> Measured:
    """VKDNW plus the number of trainable layers, so that VKDNW ranks networks of equal depth.

    Layers are trainable parameter tensors, all of them, not only the first `max_tensors`. Options, errors and
    components are those of `vkdnw`, with `vkdnw` and `layers` beside them.
    """
    value, components = vkdnw(module, inputs, generator, **options)
    layers = trainable_tensors(module)
    return value + layers, {"vkdnw": value, "layers": layers, **components}


@proxy("vkdnw_sampled")
@wraps(vkdnw, assigned=())  # its options
def vkdnw_sampled(module: nn.Module, inputs: Inputs, generator: torch.Generator, **options: Any) -> Measured:
    """VKDNW from the Fisher information of sampled classes, without bias: a cheap rung below `vkdnw`.

    For every image some classes (`draws`: 4, unless others are asked for) are drawn by the network's own softmax and by
    how much they would tell, and weighed accordingly. One row is pulled back for each, instead of one for every class;
    the estimate of F has at most images x `draws` eigenvalues that are not 0. Options, errors and components are those
    of `vkdnw`.
    """
    return vkdnw(module, inputs, generator, **{**options, "draws": options.get("draws") or 4})
