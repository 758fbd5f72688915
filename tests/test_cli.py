"""The command line, in the process."""

import json

from click.testing import CliRunner

from uninas.cli import cli


def test_summary_adds_up():
    rows = json.loads(CliRunner().invoke(cli, ["summary", "coatnet", "--json"]).output)
    assert sum(row["params"] for row in rows[:-1]) == rows[-1]["params"] == 26_871_124
    assert sum(row["flops"] for row in rows[:-1]) == rows[-1]["flops"]


def test_check_prints_the_place_and_fails(tmp_path):
    bad = tmp_path / "bad.uni"
    bad.write_text("block A { out = in -> rleu }")
    result = CliRunner().invoke(cli, ["check", str(bad)])
    assert result.exit_code == 1
    assert "bad.uni:1:23: error[UNI010]" in result.output


def test_print_writes_text_that_checks(tmp_path):
    text = tmp_path / "net.uni"
    text.write_text(CliRunner().invoke(cli, ["print", "coatnet"]).output)
    assert CliRunner().invoke(cli, ["check", str(text)]).exit_code == 0
