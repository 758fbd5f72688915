"""The reference of operations: complete, up to date, and true."""

import json

import pytest

from uninas.errors import UninasError
from uninas.ops.op import REGISTRY
from uninas.ops.reference import entry, listing, markdown, sentence


def test_the_page_is_up_to_date(root):
    written = (root / "docs" / "ops.md").read_text(encoding="utf-8")
    assert written == markdown(), "run: python -m uninas.ops.reference > docs/ops.md"


def test_every_operation_has_a_section(root):
    headings = [line[4:] for line in markdown().splitlines() if line.startswith("### ")]
    assert sorted(headings) == sorted(REGISTRY)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_examples_are_what_the_rules_say(name):
    known = entry(name)
    use = known["example"]
    shapes = [tuple(shape) for shape in use["inputs"]]
    values = {a["name"]: a["default"] for a in known["attributes"] if "default" in a}
    written = use["operation"].removeprefix(name).strip("()")
    given = dict(part.split("=") for part in written.split(", ") if part)
    op = REGISTRY[name](**{**values, **{key: int(value) for key, value in given.items()}})
    assert [list(shape) for shape in op.outputs(*shapes)] == use["outputs"]
    cost = op.cost(*shapes)
    assert (cost.params, cost.macs, cost.elementwise) == (use["params"], use["macs"], use["elementwise"])
    assert bool(known["costs"]) == any(
        getattr(type(op), rule) is not getattr(REGISTRY["identity"], rule) for rule in ("params", "macs", "elementwise")
    )


def test_attributes_have_meaning_domain_and_default():
    known = {attribute["name"]: attribute for attribute in entry("conv")["attributes"]}
    assert known["out"] == {
        "name": "out", "doc": "number of output channels", "type": "int", "domain": "an integer of at least 1",
    }  # fmt: skip
    assert known["bias"]["default"] is True


def test_formulas_are_those_of_the_source():
    assert entry("linear")["costs"]["parameters"] == "out * (x[0] + bias)"
    assert "MACs" not in entry("relu")["costs"]


def test_entries_are_json():
    assert json.loads(json.dumps([entry(name) for name in REGISTRY])) == [entry(name) for name in REGISTRY]


def test_the_list_has_one_sentence_each():
    assert [each["name"] for each in listing()] == sorted(REGISTRY)
    assert all(each["doc"] and "\n" not in each["doc"] for each in listing())


@pytest.mark.parametrize(
    ("doc", "first"),
    [
        ("One. Two.", "One."),
        ("As Kim et al. Did it (2020). More.", "As Kim et al. Did it (2020)."),
        ("No end", "No end"),
        ("Two\nlines.\n\nAnother.", "Two lines."),
        ("", ""),
    ],
)
def test_first_sentences(doc, first):
    assert sentence(doc) == first


def test_an_unknown_operation_is_answered_with_a_near_one():
    with pytest.raises(UninasError, match="did you mean 'gelu'") as caught:
        entry("gelo")
    assert caught.value.code == "UNI010"
