"""One number everywhere: whoever scores a network with the same settings gets the same score."""

import csv
import json

import pytest
import torch
from click.testing import CliRunner

from uninas import compile, load, proxies
from uninas.cli.main import cli
from uninas.cli.rank import rank
from uninas.errors import UninasError
from uninas.runs.scorer import Scorer, score
from uninas.scores.objectives import Recipe
from uninas.search.candidate import Candidate
from uninas.search.executor import Execution, make_executor
from uninas.search.plan import Settings, make_plan
from uninas.search.run import Run
from uninas.search.tasks import evaluated, score_functions

TEXT = """
network one {
    input 3 x 8 x 8
    stem conv(8, 3) -> batch_norm -> relu
    stage 8 x 2 { conv(width, 3) -> batch_norm -> relu }
    head global_avg_pool -> linear(5)
}
space around { start one moves insert {gelu, relu} }
"""
NAMES = ("coherence", "jacov", "naswot", "vkdnw", "zen", "snip", "swap", "grasp", "expressivity", "params", "flops")
OPTIONS = {"vkdnw.scalars": 2, "zen.noise": 0.02}
BATCH = 4


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    file = tmp_path_factory.mktemp("space") / "s.uni"
    file.write_text(TEXT)
    return file


def python(graph, seed, init):
    """Each score by itself, with nothing but the functions of the package that know no graphs."""
    for name in NAMES:
        model = compile(graph, generator=proxies.stream(seed, "own weights")).eval()
        batch = proxies.source("normal", graph.inputs, BATCH)
        own = proxies.options_of(name, {n: one for n, one in OPTIONS.items() if n.startswith(f"{name}.")})
        yield name, proxies.score(name, model, batch, seed, init=init, **own).value


def score_command(file, seed, init, *more):
    options = [word for name, value in OPTIONS.items() for word in ("--option", f"{name}={value}")]
    command = ["score", f"{file}:one", "--proxy", ",".join(NAMES), "--seed", seed, "--batch-size", BATCH]
    result = CliRunner().invoke(cli, [str(word) for word in [*command, "--init", init, *options, *more, "--json"]])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)["scores"]


def searched(recipe, graph, seed):
    """What a search stores: the first name is the score, the others are further objectives."""
    (function,), _ = score_functions(recipe)
    result = evaluated(Candidate(0, seed=seed, graph=graph), function, "main")
    first, *others = recipe.rungs[0]
    return {first: result.score, **{name: result.components[name] for name in others}}


def ranked(file, folder, seeds, init):
    table = folder / "table.csv"
    table.write_text(f"index,architecture,c10\n0,{file}:one,1.0\n1,{file}:one,2.0\n")
    options = [word for name, value in OPTIONS.items() for word in ("--option", f"{name}={value}")]
    command = ["--table", table, "--datasets", "c10:3x8x8:5", "--proxy", ",".join(NAMES), "--seeds", seeds,
               "--init", init, "--batch-size", BATCH, *options, "--bootstrap", 0, "-o", folder / "rank"]  # fmt: skip
    result = CliRunner().invoke(rank, [str(word) for word in command])
    assert result.exit_code == 0, result.output
    return list(csv.DictReader((folder / "rank" / "scores.csv").read_text().splitlines()))


@pytest.mark.parametrize("init", ["own", "kaiming_normal_fan_in"])
def test_a_score_is_the_same_wherever_it_is_asked_for(init, space, tmp_path):
    graph = load(f"{space}:one")
    expected = {seed: dict(python(graph, seed, init)) for seed in (0, 1)}
    rows = ranked(space, tmp_path, 2, init)
    for seed, wanted in expected.items():
        assert {one["proxy"]: one["value"] for one in score_command(space, seed, init)} == wanted
        for order in (NAMES, NAMES[::-1], NAMES[4:] + NAMES[:4]):
            assert searched(Recipe((order,), BATCH, options=OPTIONS, init=init), graph, seed) == wanted
        for row in rows:
            if row["seed"] == str(seed):
                assert {name: float(row[name]) for name in NAMES} == wanted
        settings = {"batch_size": BATCH, "options": OPTIONS, "init": init}
        assert {name: score(graph, name, seed, **settings).value for name in NAMES} == wanted
    means = {one["proxy"]: one["value"] for one in score_command(space, 0, init, "--repeats", 2)}
    assert means == {name: pytest.approx((expected[0][name] + expected[1][name]) / 2, rel=1e-12) for name in NAMES}


def test_a_search_stores_the_numbers_of_its_workers_and_of_a_single_score(space, tmp_path):
    own = {"vkdnw.scalars": 2}
    further = ("jacov", "coherence")
    plan = make_plan(Settings(f"{space}:around", "vkdnw", further=further, options=own, batch_size=BATCH))
    for jobs in (0, 1):
        executor = make_executor(plan.recipe, Execution(jobs=jobs))
        try:
            with Run(tmp_path / str(jobs), plan, executor) as run:
                for candidate in run.candidates(2):
                    graph = run.graph(candidate)
                    settings = {"batch_size": BATCH, "options": own}
                    assert candidate.score == score(graph, "vkdnw", candidate.seed, **settings).value
                    for name in ("jacov", "coherence"):
                        assert candidate.components[name] == score(graph, name, candidate.seed, **settings).value
        finally:
            executor.close()


def test_an_option_reaches_every_proxy_that_has_it_or_one_alone(space):
    graph = load(f"{space}:one")
    plain, both, one = (
        Scorer(["zen", "vkdnw"], BATCH, options=options)(graph, 3)
        for options in ({}, {"scalars": 2}, {"vkdnw.scalars": 2, "zen.noise": 0.5})
    )
    assert plain["vkdnw"] != both["vkdnw"] == one["vkdnw"] and plain["score"] == both["score"] != one["score"]
    with pytest.raises(UninasError, match=r"has no option 'zen\.scalars'"):
        score_functions(Recipe((("zen", "vkdnw"),), options={"zen.scalars": 2}))


def test_a_score_leaves_the_threads_of_torch_as_they_were(space):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        score(load(f"{space}:one"), "naswot", batch_size=BATCH)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
