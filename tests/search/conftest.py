"""A space so small that a whole run takes a blink, and a score that needs no torch."""

import pytest

from uninas.search.plan import Settings, make_plan

SPACE = """
block Body { out = in + (in -> conv(C, 3) -> batch_norm -> relu) }

network tiny {
    input 3 x 16 x 16
    stem conv(8, 3, stride=2)
    stage 8 x 2 { Body }
    stage 16 x 2 stride 2 { conv(width, 1, stride=stride) -> Body }
    head global_avg_pool -> linear(10)
}

space Tiny {
    start tiny
    moves insert 0.7 { conv(C, 1), depthwise_conv(3), gelu, copy -> add, Body }, remove 0.3
    budget params <= 20k
}
"""


@pytest.fixture
def space_file(tmp_path):
    path = tmp_path / "tiny.uni"
    path.write_text(SPACE)
    return path


@pytest.fixture
def make(space_file):
    """A plan for the tiny space, with some settings changed."""

    def plan(**changes):
        return make_plan(Settings(**{"space": str(space_file), "proxy": "test", "seed": 1, **changes}))

    return plan


@pytest.fixture
def score():
    """A number that depends on the architecture and the seed, so that a mixed-up run shows."""
    return lambda graph, seed: {"score": graph.cost.params % 977 + seed % 1000 / 1000, "depth": graph.operations}
