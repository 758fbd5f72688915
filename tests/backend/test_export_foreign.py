"""Exported files of what is not ours alone: functions of torch and of other packages, bodies with several outputs."""

import math
import runpy

import pytest
import torch
from torch import nn

import uninas
from uninas.backend.export import to_python
from uninas.errors import UninasError
from uninas.ops.op import REGISTRY, Op
from uninas.render import svg


def exported(graph, folder):
    file = folder / "network.py"
    file.write_text(to_python(graph))
    space = runpy.run_path(str(file), run_name="exported")
    return [value for value in space.values() if isinstance(value, type) and value.__module__ == "exported"][-1]()


def agree(graph, folder):
    model, other = uninas.compile(graph).eval(), exported(graph, folder).eval()
    other.load_state_dict(model.state_dict())
    images = torch.randn(2, *graph.inputs[0], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model(images), other(images)
    assert len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


class Own(nn.Module):
    def forward(self, x):
        return x + 1


FUNCTIONS = {"of_torch": torch.erf, "of_nn": nn.functional.softsign, "of_a_package": math.prod, "nameless": lambda x: x}


@pytest.fixture
def operation():
    """An operation that emits what is given; forgotten again after the test."""

    def define(name, emitted):
        class Emits(Op, name=name, family="activation"):
            """Whatever."""

            def shape(self, x):
                return x

            def emit(self, nn, x):
                return emitted

        return Emits

    with REGISTRY.restored():
        yield define


TEXT = "block B {{ input 3 x 4 x 4  out = in -> conv(C, 1) -> {} }}"


@pytest.mark.parametrize("name", ["of_torch", "of_nn"])
def test_functions_of_torch_are_called_by_their_names(operation, tmp_path, name):
    operation(name, FUNCTIONS[name])
    agree(uninas.load(TEXT.format(name)), tmp_path)


def test_functions_of_other_packages_are_imported(operation):
    operation("of_a_package", FUNCTIONS["of_a_package"])
    assert "from math import prod" in to_python(uninas.load(TEXT.format("of_a_package")))


@pytest.mark.parametrize(("name", "emitted"), [("nameless", FUNCTIONS["nameless"]), ("own_module", Own())])
def test_what_has_no_name_or_constructor_is_told(operation, name, emitted):
    operation(name, emitted)
    with pytest.raises(UninasError, match=f"cannot write the operation {name} as Python"):
        to_python(uninas.load(TEXT.format(name)))


BODIES = {
    "one part": "block B { input 8 x 4 x 4  out = in -> each p { out = p -> chunk(2) } }",
    "two parts": """block B {
        input 8 x 4 x 4
        out = in -> chunk(2) -> each p { a, b = p -> conv(8, 1) -> chunk(2)  out = (b, a) } -> concat
    }""",
}


@pytest.mark.parametrize("name", BODIES)
def test_an_each_may_have_several_outputs(name, tmp_path):
    graph = uninas.load(BODIES[name])
    agree(graph, tmp_path)
    assert "<svg" in svg(graph)
    assert uninas.load(uninas.dumps(graph)) == graph
