"""Every proxy ranks a small fixed set of networks as it did when tests/golden/scores.txt was written.

A proxy that comes to mean something else ranks them differently; rounding, on another machine or with another release
of torch, does not. Whoever changes a proxy on purpose writes the file anew and reads the difference.
"""

import random
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

import uninas
from uninas.language.elaborate import space
from uninas.language.library import load_file
from uninas.proxies import proxies, score

pytestmark = pytest.mark.slow
NETWORKS, IMAGES, SIZE = 10, 16, 16
LEAST = 0.95
NAMES = [name for name in proxies() if not name.startswith("head_")]  # these cells have no attention
NEARBY = 1e-4


@pytest.fixture(scope="module")
def found(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Scores of cells of NAS-Bench-201 that have a 3 x 3 convolution, one cell per stage, drawn with a fixed seed."""
    text = (root / "spaces" / "nasbench201.uni").read_text().replace(" x 5", "").replace("3 x 32 x 32", "3 x 16 x 16")
    path = tmp_path_factory.mktemp("space") / "small.uni"
    path.write_text(text)
    small = space(load_file(path), "nasbench201")
    cells = [cell for cell in small.assignments() if 3 in cell]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, 3, SIZE, SIZE, generator=generator)
    alike = images[:1] + NEARBY * images  # so that not every image has a linear region of its own
    scores: dict[str, list[float]] = {name: [] for name in NAMES}
    for cell in random.Random(4).sample(cells, NETWORKS):
        model = uninas.compile(small.completed(dict(zip("abcdef", cell, strict=True))).graph)
        for name in scores:
            generator.manual_seed(1)
            batch = alike if name == "linear_regions" else images
            scores[name].append(score(name, model, batch, generator, init="kaiming_normal_fan_in").value)
    return scores


@pytest.fixture(scope="module")
def recorded(found: dict[str, list[float]], root: Path, request: pytest.FixtureRequest) -> dict[str, list[float]]:
    path = root / "tests" / "golden" / "scores.txt"
    if request.config.getoption("--update-golden"):
        lines = (f"{name:17}" + "".join(f"{value:11.4g}" for value in values) for name, values in found.items())
        path.write_text("".join(f"{line}\n" for line in lines))
    lines = (line.split() for line in path.read_text().splitlines())
    return {name: list(map(float, values)) for name, *values in lines}


def test_every_proxy_is_recorded(found, recorded):
    assert recorded.keys() == found.keys(), "run pytest --update-golden"


@pytest.mark.parametrize("name", NAMES)
def test_a_proxy_ranks_networks_as_recorded(name: str, found, recorded):
    assert len(set(recorded[name])) > 1, "equal scores, nothing to rank by"
    assert spearmanr(found[name], recorded[name]).statistic > LEAST
