"""Activation proxies on NAS-Bench-201 beside scores that others published: the same order of the same networks."""

import csv
from pathlib import Path

import pytest
import torch
from scipy.stats import kendalltau, spearmanr

import uninas
from uninas.proxies import score
from uninas.ranking.nasbench201 import graph_of
from uninas.scores.aggregate import AGGREGATES

pytestmark = pytest.mark.slow

PUBLISHED = {"naswot": "nwot", "jacov": "jacov", "zen": "zen"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def networks(shared: Path) -> list[dict[str, str]]:
    """Twenty-four networks from the worst to the best, with accuracies and published scores."""
    published = {row["index"]: row for row in rows(shared / "benchmarks" / "nb201_zc_c10.csv")}
    table = [row for row in rows(shared / "benchmarks" / "nb201_tss.csv") if row["index"] in published]
    table.sort(key=lambda row: float(row["c10_test"]))
    return [row | published[row["index"]] for row in table[200::400]]


@pytest.fixture(scope="module")
def scores(networks: list[dict[str, str]]) -> dict[str, list[float]]:
    names = dict.fromkeys([*PUBLISHED, *AGGREGATES["az_nas"].components, *AGGREGATES["paths_agg"].components])
    found: dict[str, list[float]] = {name: [] for name in names}
    for row in networks:
        generator = torch.Generator().manual_seed(int(row["index"]))
        model = uninas.compile(graph_of(int(row["index"])), generator=generator)
        x = torch.randn(16, 3, 32, 32, generator=generator)
        for name in names:
            options = {"published": True} if name == "zen" else {}
            found[name].append(score(name, model, x, generator, **options).value)
    return found


@pytest.mark.parametrize(("name", "least"), [("naswot", 0.85), ("jacov", 0.75), ("zen", 0.98)])
def test_scores_order_networks_as_published_ones_do(name: str, least: float, networks, scores):
    published = [float(row[PUBLISHED[name]]) for row in networks]
    assert spearmanr(scores[name], published).statistic > least


def test_zen_has_the_published_values(networks, scores):
    """Up to the draw of weights and images, on a scale from 30 to 270."""
    differences = [one - float(row["zen"]) for one, row in zip(scores["zen"], networks, strict=True)]
    assert abs(sum(differences)) / len(differences) < 2
    assert max(map(abs, differences)) < 15


@pytest.mark.parametrize(("aggregate", "least"), [("az_nas", 0.5), ("paths_agg", 0.7)])
def test_the_ranks_of_an_aggregate_follow_accuracy(aggregate: str, least: float, networks, scores):
    accuracy = [float(row["c10_test"]) for row in networks]
    assert kendalltau(AGGREGATES[aggregate].values(scores), accuracy).statistic > least
