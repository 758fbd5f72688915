"""Warnings: what a text may say by mistake although it is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from uninas.cli.main import cli
from uninas.errors import WARNINGS, Diagnostic
from uninas.language.cautions import cautions
from uninas.language.elaborate import checked
from uninas.language.library import load_file, load_text, shipped

TRAPS = [
    ("out = in -> conv(C * 4, 1) -> conv(C, 3, groups=C)", "UNIW01", "C is 8 here"),
    ("out = in -> conv(C * 4, 1) -> split(C / 2) -> concat", "UNIW01", "the wire at hand has 32"),
    ("out = in -> max_pool(2, 2) -> upsample(H * 2, W * 2)", "UNIW01", "H is 16 here"),
    ("out = in -> tokens -> conv(C, 3)", "UNIW03", "a kernel 3 rows high"),
    ("out = in -> tokens -> avg_pool(3, 1)", "UNIW03", "which has one row"),
]
RIGHT = [
    "out = in -> conv(C * 4, 1) -> depthwise_conv -> conv(C, 1)",
    "wide = in -> conv(C * 4, 1)  out = wide -> conv(C, 3, groups=wide.C / 4)",
    "out = in -> max_pool(2, 2) -> upsample(H, W)",
    "out = in -> tokens -> conv(C, 1, width=3)",
    "out = in -> conv(C, 3, groups=C) -> split(C / 2) -> concat",
]


def told(text: str) -> list[Diagnostic]:
    module = load_text(text)
    return cautions(module, checked(module))


@pytest.mark.parametrize(("text", "code", "words"), TRAPS)
def test_traps_are_told(text: str, code: str, words: str) -> None:
    found = told(f"block A {{ input 8 x 16 x 16  {text} }}")
    assert {one.code for one in found} == {code}
    assert words in found[0].message and found[0].notes and str(found[0]).split(": ")[1] == f"warning[{code}]"


@pytest.mark.parametrize("text", RIGHT)
def test_what_is_usual_is_not(text: str) -> None:
    assert not told(f"block A {{ input 8 x 16 x 16  {text} }}")


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("stage 16 { conv(8, 3) }", "says 16 channels, but its blocks make 8"),
        ("stage 8 x 2 stride 2 { conv(width, 3) }", "says a stride of 2, but its maps stay 16 x 16"),
    ],
)
def test_a_stage_that_ignores_what_it_says(stage: str, words: str) -> None:
    (found,) = told(f"network n {{ input 3 x 16 x 16  {stage} }}")
    assert found.code == "UNIW02" and words in found.message


def test_shipped_texts_have_none() -> None:
    for path in shipped().values():
        module = load_file(path)
        assert not cautions(module, checked(module)), path


def test_every_warning_is_explained(root) -> None:  # type: ignore[no-untyped-def]
    page = (root / "docs" / "errors.md").read_text(encoding="utf-8")
    assert all(f"### {code}: {words}" in page for code, words in WARNINGS.items())


def test_the_command_tells_them_and_may_be_told_not_to(tmp_path: Path) -> None:
    path = tmp_path / "trap.uni"
    path.write_text("block A { input 8 x 1 x 16  out = in -> conv(C, 3) }", encoding="utf-8")
    told = CliRunner().invoke(cli, ["check", str(path)])
    assert told.exit_code == 0 and "warning[UNIW03]" in told.output and "ok " in told.output
    assert "warning" not in CliRunner().invoke(cli, ["check", str(path), "--no-warnings"]).output
    assert CliRunner().invoke(cli, ["check", str(path), "--strict"]).exit_code == 1
    plain = json.loads(CliRunner().invoke(cli, ["check", str(path), "--json"]).output)
    assert plain["ok"] and [one["code"] for one in plain["files"][0]["warnings"]] == ["UNIW03"]


def test_shapes_stand_behind_every_step() -> None:
    shown = CliRunner().invoke(cli, ["summary", "--shapes", "resnet18"]).output
    assert "-> max_pool(3, stride=2) [64 x 56 x 56]\n" in shown
    assert "linear(1000) [1000]" in shown
