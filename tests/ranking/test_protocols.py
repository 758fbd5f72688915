"""Protocols are files that are pinned, named and printed; learning from labels is told as what it is."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from uninas.cli.main import cli
from uninas.language.resources import protocols_root
from uninas.scores.learned import KINDS, Learned, expected_improvement

PINNED = {
    "nb201-quick": "48ba281c",
    "nb201-vkdnw": "d5422d6e",
    "transnas-micro-costs": "b92be5da",
}
"""Digests of what the shipped protocols say. Published correlations name them: a changed protocol is a new file."""

SAID = """
# for a test
proxies: params
datasets: easy
batch_size: 2
seeds: 2
"""


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, ["rank", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def given(tmp_path, space, table):
    path = tmp_path / "mine.yaml"
    path.write_text(SAID)
    return [space, "--protocol", path, "--table", table, "--bootstrap", 0, "-o", tmp_path / "ranks"]


def test_shipped_protocols_are_pinned(space, table, tmp_path):
    found = {}
    for path in protocols_root().glob("*.yaml"):
        output = run(
            space, "--protocol", path.stem, "--table", table, "--proxy", "params", "--datasets", "easy", "--limit", 4,
            "--where", "", "--bootstrap", 0, "--json", "-o", tmp_path / path.stem,
        )  # fmt: skip
        by = json.loads(output.splitlines()[-1])["settings"]["by"]
        name, digest, *_ = by.replace(",", "").split()
        found[name] = digest
    assert found == PINNED


def test_a_protocol_says_what_the_command_line_does_not_and_is_printed(given, tmp_path):
    assert "easy: 5 networks, 2 seeds, by mine " in run(*given)
    settings = json.loads((tmp_path / "ranks" / "metrics.json").read_text())["settings"]
    assert settings["proxies"] == ["params"] and settings["batch_size"] == 2
    assert settings["seeds"] == 2
    assert settings["by"].startswith("mine ") and settings["by"].endswith(", changed in space")


def test_what_was_changed_in_a_protocol_is_said(given):
    assert ", changed in space, proxies" in run(*given, "--proxy", "flops")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proxies: params\nworkers: 3\n", "there is no option workers"),
        ("- params\n", "expected options by name"),
    ],
)
def test_mistakes_in_a_protocol_are_told(tmp_path, table, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert message in run("--protocol", path, "--table", table, "-o", tmp_path / "ranks", code=1)


def test_an_unknown_protocol_lists_those_there_are(tmp_path, table):
    output = run("--protocol", "nb301", "--table", table, "-o", tmp_path / "ranks", code=1)
    assert "expected a protocol, but got nb301" in output
    assert "nb201-quick, nb201-vkdnw" in output


def test_what_is_learned_from_labels_is_measured_on_the_others(given):
    lines = run(*given, "--fit", "2,3", "--proxy", "params,flops").splitlines()
    start = lines.index("learned from labels, by a forest on params, flops:")
    assert lines[start + 1].startswith("  easy: 2 labels, Kendall ") and lines[start + 1].endswith("on 3 others")
    assert "expected at most 3 labels of the 5 networks on easy, but got 4" in run(*given, "--fit", "4", code=1)
    assert "expected numbers of labels" in run(*given, "--fit", "a", code=2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_predictor_learns_and_says_how_sure_it_is(kind):
    draw = np.random.default_rng(0)
    rows = draw.uniform(-1, 1, (80, 3))
    rows[3, 2] = np.nan
    labels = rows[:, 0] - 2 * rows[:, 1] + 0.1 * draw.standard_normal(80)
    model = Learned(kind).fit(rows[:60], labels[:60])
    mean, deviation = model.predict(rows[60:])
    assert np.corrcoef(mean, labels[60:])[0, 1] > 0.9
    assert (deviation > 0).all()
    again, _ = Learned(kind).fit(rows[:60], labels[:60]).predict(rows[60:])
    np.testing.assert_allclose(again, mean)


def test_expected_improvement_is_that_of_a_normal_distribution():
    draw = np.random.default_rng(0)
    mean, deviation = np.array([0.0, 1.0, -1.0, 2.0]), np.array([1.0, 0.5, 2.0, 0.0])
    drawn = mean + deviation * draw.standard_normal((200_000, 4))
    wanted = np.maximum(drawn - 0.7, 0).mean(axis=0)
    np.testing.assert_allclose(expected_improvement(mean, deviation, 0.7), wanted, atol=5e-3)
