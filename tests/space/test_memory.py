"""Drawing members of a space for hours takes no more memory than drawing some."""

import gc
import random

from uninas.graph import Graph
from uninas.language.elaborate import space, spaces
from uninas.language.library import load_text

TEXT = """
    block A { out = in -> conv(C, kernel in {1, 3, 5}) -> relu | gelu | silu }
    space toy { input 3 x 8 x 8  stem conv(8, 1)  stage 8 { A x 6 }  stage 8 { A x 6 }
        head global_avg_pool -> linear(2) }
"""


def test_a_space_with_choices_inside_blocks_keeps_a_bounded_number_of_graphs(monkeypatch):
    monkeypatch.setattr(spaces, "MAX_KEPT", 500)
    members = space(load_text(TEXT), "toy")
    rng = random.Random(0)

    def draw(count: int) -> int:
        for _ in range(count):
            members.build(lambda choice: rng.randrange(len(choice.options)))
        gc.collect()
        return sum(type(one) is Graph for one in gc.get_objects())

    assert members.nested
    before = draw(20)
    counts = [draw(100) for _ in range(5)]
    assert max(counts) < before + 600, counts
