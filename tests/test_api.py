"""The public face: what `import uninas` offers, and that it is what the commands and folders give."""

import csv

import pytest

import uninas


def test_every_public_name_is_there_and_documented():
    for name in uninas.__all__:
        found = getattr(uninas, name)
        assert name == "__version__" or found.__doc__, name


def test_a_name_that_is_both_a_function_and_a_package_is_both(tmp_path):
    import uninas.render
    import uninas.space
    from uninas.render import svg
    from uninas.space import Budget

    assert uninas.space("nasbench201").count() == 15625 and Budget() and svg
    path = uninas.render(uninas.load("block A { out = in -> relu }"), tmp_path / "a.svg")
    assert path.read_text().startswith("<")


def test_a_score_by_name_is_that_of_the_command_and_a_cost_is_one_too():
    from uninas.runs.scorer import scored

    settings = {"batch_size": 2, "seed": 3}
    mine = uninas.score("resnet18", "naswot", img_size=32, **settings).value
    assert mine == scored("resnet18", ["naswot"], img_size=32, **settings)["scores"][0]["value"]
    assert uninas.score("resnet18", "params").value == uninas.load("resnet18").cost.params


def test_ranking_a_table_from_python(tmp_path):
    table = tmp_path / "table.csv"
    names = ["resnet18", "mixed", "coatnet_lean"]
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "architecture", "mine"])
        writer.writerows((name, name, 10 * number) for number, name in enumerate(names))
    (found,) = uninas.rank(table, ["params"], ["mine:3x32x32:10"], tmp_path / "ranks", bootstrap=0, batch_size=2)
    assert (found.proxy, found.networks, found.failures) == ("params", 3, 0)


@pytest.mark.parametrize("source", ["nope", "nope.uni", "block A {"])
def test_a_source_that_is_none_is_told(source):
    for read in (uninas.load, uninas.space, uninas.score):
        with pytest.raises(uninas.UninasError):
            read(source)
