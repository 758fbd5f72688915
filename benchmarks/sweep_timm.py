"""One network of every family of timm: can it be scored, and are its derivatives and FLOPs right?

python benchmarks/sweep_timm.py [MOST MACS, in G] [FAMILY ...]

Of each family the network with the fewest parameters, without pretrained weights. The checks are those of
tests/proxies/test_timm_networks.py: the Jacobian of the logits by the first scalars of twelve tensors against reverse
mode, along one direction of the logits, in float64; FLOPs against torch's own counter. What cannot be scored says why.
"""

import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import timm
import torch

from uninas.proxies import ProxyError, score

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "proxies"))
from test_timm_networks import TENSORS, counted, derivative_error, example


def smallest(family: str) -> str | None:
    """The network of a family with the fewest parameters."""
    found: list[tuple[int, str]] = []
    for name in timm.list_models(module=family):
        with suppress(Exception), torch.device("meta"):  # some compute with their weights while they are made
            found.append((sum(p.numel() for p in timm.create_model(name).parameters()), name))
    return min(found)[1] if found else None


def report(name: str, most: float) -> str:
    """One line about one network."""
    model, x = example(name)
    ours = score("flops", model, x).value  # nothing runs for it
    if ours > 2e9 * most:
        return f"skipped, {ours / 2e9:.1f} G MACs"
    flops = counted(model, x)
    start = time.process_time()
    try:
        value = f"VKDNW {score('vkdnw', model, x, max_tensors=TENSORS).value:.3f}"
    except ProxyError as problem:
        value = f"no VKDNW: {problem.diagnostics[0].message}"
    seconds = time.process_time() - start
    error = derivative_error(model, x)
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
