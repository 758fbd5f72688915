"""Networks, blocks and spaces that the tests of moves share."""

import pytest

from uninas.language.elaborate import build, space
from uninas.language.library import find, load_text
from uninas.mutate import Moves, walk_of


@pytest.fixture(scope="session")
def block():
    """A block from the statements of its body."""

    def made(body, shape="16 x 8 x 8", more=""):
        return build(load_text(f"{more}\nblock B {{ input {shape}\n{body} }}"), "B")

    return made


@pytest.fixture(scope="session")
def tiny():
    """A small network of two stages."""
    text = """
    from blocks.mbconv import MBConv
    from blocks.attention import RelPosAttention
    from blocks.unified import Unified
    network tiny {
        input 3 x 32 x 32
        stem conv(16, 3, stride=2) -> batch_norm
        stage 32 x 2 stride 2 { Unified(width, stride, MBConv) }
        stage 64 x 3 stride 2 { Unified(width, stride, RelPosAttention(32)) }
        head layer_norm -> global_avg_pool -> linear(10)
    }"""
    return build(load_text(text), "tiny")


@pytest.fixture(scope="session")
def moves():
    """Moves from what stands after the word `moves`."""

    def made(text, more="", even="rules"):
        module = load_text(f"from networks.coatnet import coatnet\n{more}\nspace S {{ start coatnet\n moves {text} }}")
        return Moves(space(module, "S").moves, even)

    return made


@pytest.fixture(scope="session")
def wild():
    """The walk with every kind of move."""
    return walk_of(space(*find("UniDAG")))
