"""A space so small that a whole run takes a blink, and a score that needs no torch."""

import pytest
from helpers.reports import SPACE

from uninas.search.plan import Settings, make_plan


@pytest.fixture
def space_file(tmp_path):
    path = tmp_path / "tiny.uni"
    path.write_text(SPACE)
    return path


@pytest.fixture
def make(space_file):
    """A plan for the tiny space, with some settings changed."""

    def plan(**changes):
        return make_plan(
            Settings(**{"space": str(space_file), "proxy": "test", "seed": 1, "strategy": "walk", **changes})
        )

    return plan


@pytest.fixture
def score():
    """A number that depends on the architecture and the seed, so that a mixed-up run shows."""
    return lambda graph, seed: {"score": graph.cost.params % 977 + seed % 1000 / 1000, "depth": graph.operations}
