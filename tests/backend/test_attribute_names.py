"""Names that Python, torch or our own files need for something else: a text may use them all."""

import builtins
import keyword
import runpy
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

import uninas
from uninas.backend.export import to_python

KEYWORDS = [*keyword.kwlist, *keyword.softkwlist]
ATTRIBUTES = dir(uninas.create_model("network n { input 1  head linear(1) }"))
OURS = ["self", "x", "nn", "torch", "Tensor", "body", "part", "create", "reset", "conv", "__private", "__debug__"]
NAMES = sorted({*KEYWORDS, *dir(torch.nn.Module()), *ATTRIBUTES, *dir(builtins), *OURS})
USED_BY_THE_LANGUAGE = {"in", "as", "if", "else", "or", "and", "not", "C", "repeat", "each", "_"}


def usable(text):
    """The graph of a text, where the language allows the names in it."""
    try:
        return uninas.load(text)
    except uninas.UninasError:
        return None


def exported(graph):
    """The class of the network in the exported file."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "network.py")
        file.write_text(to_python(graph))
        space = runpy.run_path(str(file), run_name="exported")
    return [value for value in space.values() if isinstance(value, type) and value.__module__ == "exported"][-1]


def agree(graph, *shape):
    """Compiled and exported, a graph has the same weights by name, and computes the same."""
    model, other = uninas.compile(graph).eval(), exported(graph)().eval()
    other.load_state_dict(model.state_dict())
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(images), other(images))
    return model


def test_all_names_at_once_as_operations_of_a_block_and_of_a_network():
    refused = set()
    for name in NAMES:
        graph = usable(f"block B {{ out = in -> conv(C, 1) as {name} -> relu }}")
        refused |= {name} if graph is None else set()
    assert refused <= USED_BY_THE_LANGUAGE | {name for name in NAMES if not name.isascii() or name.startswith("__")}
    steps = " -> ".join(f"conv(C, 1) as {name}" for name in NAMES if name not in refused)
    model = agree(uninas.load(f"block B {{ input 2 x 3 x 3  out = in -> {steps} }}"), 2, 3, 3)
    assert "class_.weight" in model.state_dict() and "conv.weight" in model.state_dict()
    agree(
        uninas.load(f"network N {{ input 2 x 3 x 3  stage 2 {{ {steps} }}  head global_avg_pool -> linear(2) }}"),
        2,
        3,
        3,
    )


@pytest.mark.parametrize(
    "name", ["global", "class", "lambda", "self", "type", "zip", "training", "graph", "code", "x", "match"]
)
def test_a_wire_may_bear_any_name(name):
    text = f"block B {{ input 4 x 3 x 3  {name} = in -> global_avg_pool -> conv(C, 1)  out = {name} * in }}"
    agree(uninas.load(text), 4, 3, 3)


@pytest.mark.parametrize(
    "name",
    [
        "none",
        "In",
        "Repeat",
        "true_",
        "True",
        "None",
        "class",
        "int",
        "Tensor",
        "nn",
        "torch",
        "Module",
        "list",
        "dropPath",
    ],
)
def test_a_block_and_a_network_may_bear_any_name(name):
    text = f"""
        block {name} {{ out = in -> conv(C, 1) -> relu }}
        network net {{ input 2 x 3 x 3  stage 2 {{ {name} }}  head global_avg_pool -> linear(2) }}
    """
    agree(uninas.load(text), 2, 3, 3)
    other = f"network {name} {{ input 2 x 3 x 3  stem conv(2, 1)  head global_avg_pool -> linear(2) }}"
    agree(uninas.load(other), 2, 3, 3)


def test_names_that_were_made_do_not_meet_names_that_were_written():
    """`type` becomes `type_`, unless there is a `type_` already."""
    text = "block B { input 2 x 3 x 3  out = in -> conv(C, 1) as type_ -> conv(C, 3) as type -> conv(C, 1) as type__ }"
    model = agree(uninas.load(text), 2, 3, 3)
    assert len(model.state_dict()) == 3 * len([name for name in model.state_dict() if name.startswith("type_.")])


@pytest.mark.parametrize("name", ["global", "type", "graph", "class"])
def test_a_network_with_such_names_can_be_scored_and_reset(name):
    from uninas.proxies import score

    stage, head = f"conv(C, 3) as {name} -> relu", f"global_avg_pool -> linear(3) as {name}"
    text = f"network N {{ input 3 x 8 x 8  stage 8 {{ {stage} }}  head {head} }}"
    model = uninas.create_model(text)
    assert score("vkdnw", model, torch.randn(4, 3, 8, 8)).value > 0
    model.reset_classifier(5)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_numbered_names_do_not_meet_the_names_of_blocks():
    text = """
        block conv_1 { out = in -> relu }
        network net { input 2 x 3 x 3  stage 2 { conv(C, 1) -> conv(C, 3) -> conv_1 }
            head global_avg_pool -> linear(2) }
    """
    agree(uninas.load(text), 2, 3, 3)
