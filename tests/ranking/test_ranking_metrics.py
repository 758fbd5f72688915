"""The figures of a ranking, against closed forms, brute force, SciPy and scikit-learn, and published ones."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from uninas.ranking.metrics import METRICS, bootstrap, measured, spearman

values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=2, max_size=6)


def figures(scores, accuracies, **options):
    found = measured(np.array(scores, float), np.array(accuracies, float), **options)
    return {name: float(found[name][0]) for name in METRICS}


def test_a_perfect_order_and_its_reverse():
    accuracies = [10.0, 20.0, 30.0]
    assert figures([1, 2, 3], accuracies) == {"kendall": 1, "spearman": 1, "ndcg": 1, "best": 30, "regret": 0}
    worst = figures([3, 2, 1], accuracies)
    assert (worst["kendall"], worst["best"], worst["regret"]) == (-1, 10, 20)
    assert worst["spearman"] == pytest.approx(-1)
    gains = [2.0**a - 1 for a in accuracies]
    dcg = gains[0] + gains[1] / math.log2(3) + gains[2] / 2
    assert worst["ndcg"] == pytest.approx(dcg / (gains[2] + gains[1] / math.log2(3) + gains[0] / 2))


def test_one_pair_out_of_order_among_four():
    found = figures([2, 1, 3, 4], [1, 2, 3, 4])
    assert found["kendall"] == pytest.approx((5 - 1) / 6)
    assert found["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))  # 1 - 6 sum d^2 / n (n^2 - 1)


def test_only_the_first_places_count_in_ndcg():
    scores, accuracies = [4, 3, 2, 1], [7.0, 9.0, 8.0, 3.0]
    gains = [2.0**a - 1 for a in accuracies]
    expected = (gains[0] + gains[1] / math.log2(3)) / (gains[1] + gains[2] / math.log2(3))
    assert figures(scores, accuracies, cut=2)["ndcg"] == pytest.approx(expected)


@given(values)
def test_ties_are_means_over_all_orders_of_the_tied(pairs):
    scores, accuracies = zip(*pairs, strict=True)
    found = figures(scores, accuracies, cut=3)
    gains = [2.0**a - 1 for a in accuracies]
    discounts = [1 / math.log2(2 + place) if place < 3 else 0.0 for place in range(len(pairs))]
    ideal = sum(gain * d for gain, d in zip(sorted(gains, reverse=True), discounts, strict=True))
    orders = [
        order
        for order in itertools.permutations(range(len(pairs)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    if ideal:
        dcgs = [sum(gains[i] * d for i, d in zip(order, discounts, strict=True)) for order in orders]
        assert found["ndcg"] == pytest.approx(np.mean(dcgs) / ideal)
    assert found["best"] == pytest.approx(np.mean([accuracies[order[0]] for order in orders]))
    assert found["regret"] == pytest.approx(max(accuracies) - found["best"])


@given(values)
def test_correlations_are_those_of_scipy(pairs):
    scores, accuracies = (np.array(column, float) for column in zip(*pairs, strict=True))
    found = figures(scores, accuracies)
    if len(set(scores)) == 1 or len(set(accuracies)) == 1:  # nothing to correlate
        assert math.isnan(found["kendall"]) and math.isnan(found["spearman"])
    else:
        assert found["kendall"] == pytest.approx(stats.kendalltau(scores, accuracies).statistic)
        assert found["spearman"] == pytest.approx(stats.spearmanr(scores, accuracies).statistic)
    assert spearman(scores, accuracies * 1e4) == pytest.approx(found["spearman"], nan_ok=True), "no accuracies at all"


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # scikit-learn's own, of gains beyond 2^63
def test_ndcg_is_that_of_scikit_learn_also_with_huge_gains():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    accuracies = np.round(rng.uniform(10, 94.4, 400), 1)
    scores = np.round(accuracies / 20 + rng.normal(size=400), 1)
    expected = sklearn.ndcg_score([np.exp2(accuracies) - 1], [scores], k=100)
    assert figures(scores, accuracies, cut=100)["ndcg"] == pytest.approx(expected, rel=1e-12)


@given(values, st.data())
def test_a_weight_is_a_number_of_copies(pairs, data):
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)).filter(any))
    scores, accuracies = (np.array(column, float) for column in zip(*pairs, strict=True))
    weighted = measured(scores, accuracies, np.array([counts, [1] * len(pairs)], float), cut=4)
    copied = measured(np.repeat(scores, counts), np.repeat(accuracies, counts), cut=4)
    plain = measured(scores, accuracies, cut=4)
    for name in METRICS:
        np.testing.assert_allclose(weighted[name], [copied[name][0], plain[name][0]])


def test_scores_that_failed_rank_last():
    found = figures([-np.inf, 5, -np.inf, 7], [60, 70, 50, 80])
    assert found["best"] == 80
    assert found["kendall"] == pytest.approx(figures([0, 5, 0, 7], [60, 70, 50, 80])["kendall"])


# ---- the bootstrap ---------------------------------------------------------------------------------------------------


def correlated(rng, n, rho):
    x = rng.normal(size=n)
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """For a bivariate normal with correlation rho, Kendall's tau is 2/pi arcsin(rho)."""
    rng, rho, trials = np.random.default_rng(1), 0.7, 200
    truth, covered = 2 / math.pi * math.asin(rho), 0
    for _ in range(trials):
        scores, merits = correlated(rng, 120, rho)
        interval = bootstrap(scores[None], 50 + merits, 200, rng)["kendall"]
        covered += interval.low <= truth <= interval.high
    # 95 % of 200 is 190 +- 3; percentile intervals of 120 rows are a little narrow.
    assert 0.88 * trials <= covered < trials


def test_the_bootstrap_is_a_function_of_its_generator_and_gets_narrower_with_more_rows():
    rng = np.random.default_rng(2)
    scores, merits = correlated(rng, 1600, 0.8)
    ends = [bootstrap(scores[None, :n], 50 + merits[:n], 100, np.random.default_rng(5)) for n in (100, 100, 1600)]
    assert ends[0] == ends[1]
    few, many = (end["kendall"].high - end["kendall"].low for end in ends[1:])
    assert 2.5 < few / many < 6.5  # 4, up to chance


def test_the_interval_of_several_seeds_is_that_of_their_mean():
    rng = np.random.default_rng(3)
    scores, merits = correlated(rng, 60, 0.5)
    seeds = np.array([scores, -scores])
    interval = bootstrap(seeds, 50 + merits, 50, rng)["kendall"]
    assert (interval.low, interval.high) == pytest.approx((0, 0), abs=1e-12)


# ---- published figures -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells(shared: Path):
    with (shared / "benchmarks" / "nb201_tss.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["valid9445"] == "1"]


PUBLISHED = {"c10": (0.623, 0.799, 0.745), "c100": (0.586, 0.763, 0.576), "in16": (0.545, 0.718, 0.403)}
"""The row of FLOPs in the table of the VKDNW paper: Kendall's tau, Spearman's rho, nDCG."""


@pytest.mark.parametrize("dataset", PUBLISHED)
@pytest.mark.parametrize("cost", ["flops", "params"])
def test_costs_rank_nasbench201_as_published(cells, dataset, cost):
    scores = [float(row[f"{dataset}_{cost}"]) for row in cells]
    found = figures(scores, [float(row[f"{dataset}_test"]) for row in cells])
    # Theirs are rounded, and their accuracies may be of other training runs.
    assert [found[name] for name in METRICS[:3]] == pytest.approx(PUBLISHED[dataset], abs=0.004)
