"""Gradient proxies on NAS-Bench-201 beside scores that others published: the same order of the same networks.

The published ones come from torch's initial weights and one batch of 64 training images with their labels. Here the
weights are drawn alike, but the batch is 16 images of noise with random labels, and yet the order is nearly the same.
What depends most on the images (fisher) or on the size of the batch (epe_nas) is further off; a sum whose terms cancel
(plain) has no order to compare.
"""

import csv
import random
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

import uninas
from uninas.proxies import score, source
from uninas.ranking.nasbench201 import answers_of, graph_of

pytestmark = pytest.mark.slow

LEAST = {"synflow": 0.98, "grad_norm": 0.9, "snip": 0.9, "grasp": 0.7, "fisher": 0.6, "epe_nas": 0.3}
NETWORKS = 24


@pytest.fixture(scope="module")
def published(shared: Path) -> list[dict[str, str]]:
    with (shared / "benchmarks" / "nb201_zc_c10.csv").open(newline="") as file:
        return random.Random(0).sample(list(csv.DictReader(file)), NETWORKS)


@pytest.fixture(scope="module")
def scores(published: list[dict[str, str]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in LEAST}
    for row in published:
        model = uninas.compile(graph_of(int(row["index"])))
        images = source("normal", [(3, 32, 32)], 16)
        for name in LEAST:
            generator = torch.Generator().manual_seed(int(row["index"]))
            found[name].append(score(name, model, images, generator, init="torch").value)
    return found


@pytest.mark.parametrize("name", LEAST)
def test_scores_order_networks_as_published_ones_do(name: str, published, scores):
    assert spearmanr(scores[name], [float(row[name]) for row in published]).statistic > LEAST[name]


def test_the_published_l2_norm_counts_convolutions(published):
    """Under torch's weights each convolution has a norm that depends on its width alone, give or take a percent."""
    for row in published:
        model = uninas.compile(graph_of(int(row["index"])))
        ours = score("l2_norm", model, torch.zeros(1, 3, 32, 32), init="torch").value
        assert ours == pytest.approx(float(row["l2_norm"]), rel=0.02)
        convolutions = sum(answer in (2, 3) for answer in answers_of(int(row["index"])))
        assert float(row["l2_norm"]) == pytest.approx(27.77 + 50.97 * convolutions, rel=0.05)
