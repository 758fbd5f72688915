"""The published networks in spaces/networks are timm's: parameters, logits and FLOPs."""

import csv
import math
from pathlib import Path

import pytest
from helpers.measure import parity
from helpers.published import PUBLISHED

import uninas


@pytest.mark.parametrize("network", PUBLISHED)
def test_a_published_network_equals_that_of_timm(network: str) -> None:
    found = parity(network)
    assert found.params == uninas.load(network).cost.params == found.timm_params
    assert math.isfinite(found.error) and found.error < 1e-4
    assert found.flops == found.counted_flops
    assert max(found.lines, found.all_lines) <= 60


def test_the_wrong_weights_show() -> None:
    assert parity("resnet18").error < 1e-4 < parity("resnet18", spoil=True).error


@pytest.mark.parametrize("network", PUBLISHED)
def test_our_macs_agree_with_the_table_of_timm(network: str, shared: Path) -> None:
    with (shared / "benchmarks" / "timm_macs_params.csv").open(newline="") as file:
        row = next(
            r for r in csv.DictReader(file) if (r["model"], int(r["img_size"])) == (network, PUBLISHED[network].size)
        )
    cost = uninas.load(network).cost
    rounding = 0.005e9
    # Their counter also counts a part of what we call element-wise.
    assert cost.macs - rounding <= float(row["gmacs"]) * 1e9 <= (cost.macs + cost.elementwise) + rounding
    assert float(row["params_M"]) == round(cost.params / 1e6, 2)
