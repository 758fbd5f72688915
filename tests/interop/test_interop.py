"""Model JSON of the published UniNAS toolkit: to our graphs, to text, and back (data in ../shared/reference)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import uninas
from uninas.errors import UninasError
from uninas.interop import published_names, read_json, state_dict_from_published, write_json
from uninas.language.elaborate import build
from uninas.language.library import load_text

SMALL = {
    "img_size": 64, "num_classes": 10, "drop_rate": 0.0, "embed_dim": [32, 64], "depths": [1, 2],
    "stem_width": [16, 24], "model_str": json.dumps([["E"], ["T", "R"]]),
}  # fmt: skip


@pytest.fixture(scope="module")
def records(shared: Path) -> list[dict[str, Any]]:
    made = json.loads((shared / "reference" / "uninas_models.json").read_text(encoding="utf-8"))
    assert len(made) == 19
    return made


def test_every_record_has_its_parameters(records):
    for record in records:
        graph = read_json(json.dumps(record["config"]), record["name"])
        model = uninas.compile(graph)
        ours, names = dict(model.named_parameters()), published_names(graph)
        assert graph.cost.params == record["params"] == sum(p.numel() for p in ours.values()), record["name"]
        theirs = dict(record["parameters"])
        assert {name: list(ours[mine].shape) for name, mine in names.items()} == theirs, record["name"]
        assert set(names.values()) == set(ours), record["name"]


def test_every_record_survives_text_and_json(records):
    for record in records:
        graph = read_json(json.dumps(record["config"]), record["name"])
        title = record["name"].replace("-", "_")
        assert build(load_text(uninas.dumps(graph, title)), title) == graph, record["name"]
        again = read_json(write_json(graph), record["name"])
        assert again.key == graph.key, record["name"]
        assert published_names(again).keys() == published_names(graph).keys()


def test_an_imported_coatnet_reads_like_a_written_one(records):
    record = next(record for record in records if record["name"] == "coatnet")
    text = uninas.dumps(read_json(json.dumps(record["config"])), "coatnet")
    assert text.count("each part") == 1
    assert len([line for line in text.splitlines() if line.strip()]) <= 70


def test_weights_find_their_places():
    graph = read_json(json.dumps(SMALL))
    model = uninas.compile(graph).eval()
    ours = dict(model.named_parameters())
    generator = torch.Generator().manual_seed(0)
    theirs = {name: torch.randn(ours[mine].shape, generator=generator) for name, mine in published_names(graph).items()}
    missing = model.load_state_dict(state_dict_from_published(graph, theirs), strict=False)
    assert all("running_" in name or "num_batches" in name for name in missing.missing_keys)
    assert not missing.unexpected_keys
    for name, mine in published_names(graph).items():
        assert torch.equal(ours[mine], theirs[name])


@pytest.mark.parametrize(
    "damage",
    [
        lambda config: "{",
        lambda config: json.dumps([config]),
        lambda config: json.dumps({**config, "embed_dim": "wide"}),
        lambda config: json.dumps({**config, "embed_dim": [32]}),
        lambda config: json.dumps({**config, "depths": [10**9, 1]}),
        lambda config: json.dumps({**config, "img_size": -1}),
        lambda config: json.dumps({**config, "model_str": "[["}),
        lambda config: json.dumps({**config, "model_str": json.dumps([["X"], ["T", "R"]])}),
        lambda config: json.dumps({**config, "model_str": "[" * 5000 + "]" * 5000}),
        lambda config: json.dumps({key: value for key, value in config.items() if key != "depths"}),
    ],
)
def test_malformed_json_gets_a_clear_error(damage):
    with pytest.raises(UninasError) as caught:
        read_json(damage(SMALL) if damage(SMALL).startswith("{") else "{" + damage(SMALL))
    assert caught.value.code == "UNI050"
    assert "expected" in str(caught.value)
