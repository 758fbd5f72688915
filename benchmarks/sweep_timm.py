"""One network of every family of timm: can it be scored, and are its derivatives and FLOPs right?

python benchmarks/sweep_timm.py [MOST MACS, in G] [FAMILY ...]

Of each family the smallest network that timm makes without weights of its own to fetch, by parameters of the module on
the meta device. The Jacobian of the logits by the first scalars of twelve tensors is compared with reverse mode, along
one direction of the logits, in float64; FLOPs with torch's own counter. A network that cannot be scored says why.
"""

import sys
import time
import warnings
from contextlib import suppress

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from uninas.proxies import ProxyError, logit_jacobian, score
from uninas.proxies.program import differentiable_kernels
from uninas.proxies.vkdnw import chosen_weights

TENSORS = 12
SAMPLES = 2


def smallest(family: str) -> str | None:
    """The network of a family with the fewest parameters."""
    found: list[tuple[int, str]] = []
    for name in timm.list_models(module=family):
        with suppress(Exception), torch.device("meta"):  # some compute with their weights while they are made
            found.append((sum(p.numel() for p in timm.create_model(name).parameters()), name))
    return min(found)[1] if found else None


def derivative_error(model: nn.Module, x: torch.Tensor) -> float:
    """How far the Jacobian is from reverse mode, along one direction of the logits, as a part of its norm."""
    weights = chosen_weights(model, TENSORS)
    values = logit_jacobian(model, (x,), weights, dtype=torch.float64).values
    direction = torch.randn(values.shape[:2], generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    parameters = dict(model.named_parameters())
    with differentiable_kernels():
        loss = (model(x) * direction).sum()
    slopes = torch.autograd.grad(loss, [parameters[weight.name] for weight in weights], allow_unused=True)
    expected = torch.stack([x.new_zeros(()) if slope is None else slope.flatten()[0] for slope in slopes])
    found = torch.einsum("nkp,nk->p", values, direction)
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))


def counted(model: nn.Module, x: torch.Tensor) -> int:
    """FLOPs by torch, of one sample."""
    model.requires_grad_(False)  # the counter falls over weights that are passed from module to module
    with differentiable_kernels(), FlopCounterMode(display=False) as counter:
        model(x[:1])
    model.requires_grad_(True)
    return int(counter.get_total_flops())


def report(name: str, most: float) -> str:
    """One line about one network."""
    model = timm.create_model(name).eval()
    size = model.default_cfg["input_size"]
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # heads begin at zero in some families, and scales almost
        if parameter.ndim < 2 or not parameter.any():
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    x = torch.randn(SAMPLES, *size, generator=generator)
    flops = counted(model, x)
    if flops > 2e9 * most:
        return f"skipped, {flops / 2e9:.1f} G MACs"
    ours = score("flops", model, x).value
    start = time.process_time()
    try:
        value = f"VKDNW {score('vkdnw', model, x, max_tensors=TENSORS).value:.3f}"
    except ProxyError as problem:
        value = f"no VKDNW: {problem.diagnostics[0].message}"
    seconds = time.process_time() - start
    error = derivative_error(model.double(), x.double())
    verdict = "ok" if error < 1e-3 and ours == flops else "WRONG"
    return f"{verdict}, derivatives off by {error:.0e}, FLOPs by {ours / flops - 1:.0e}, {value}, {seconds:.1f} s"


def main() -> None:
    """Go through the families, and print a line for each."""
    most = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    for family in sys.argv[2:] or timm.list_modules():
        name = smallest(family)
        try:
            said = report(name, most) if name else "makes none without data"
        except Exception as problem:
            said = f"FAILED: {type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        print(f"{family:<22} {name or '':<36} {said}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main()
