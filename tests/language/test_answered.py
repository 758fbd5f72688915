"""Members of spaces of choices in the words of their space: the same graph, and a text to read."""

import random

import pytest

import uninas
from uninas.language.answered import answered
from uninas.language.formatter import format_text
from uninas.language.library import find, load_text

FLAT = ("mobilenetv2", "nasbench201", "natsbench_size", "transnas_micro")


@pytest.mark.parametrize("name", FLAT)
def test_a_member_keeps_the_words_of_the_space_and_its_key(name):
    space = uninas.space(name)
    for seed in range(4):
        graph, answers = space.sample(random.Random(seed))
        text = answered(*find(name), answers, graph)
        assert text is not None and format_text(text) == text
        assert uninas.load(text).key == graph.key
        assert "\nspace " not in text and "import" not in text and "budget" not in text
        assert " ".join(find(name)[0].definitions[name].doc.split()[:5]) in text


def test_every_choice_stands_with_its_value_where_the_space_left_it_open():
    source = """
    block Cell(kernel) { out = in -> conv(C, kernel) -> relu }
    # Two of everything.
    space mine {
        input 3 x 8 x 8
        choose a, b in {1, 3, 5}
        stem conv(8, a)
        stage 8..24 step 8 x 1..3 { Cell(b) }
        head global_avg_pool -> linear(10)
    }
    """
    module = load_text(source)
    answers = {"a": 0, "b": 2, "stages.0.width": 0, "stages.0.count": 1}
    graph = uninas.space(source).member(answers)
    text = answered(module, "mine", answers, graph)
    assert text is not None
    for line in ("# Two of everything.", "choose a in {1}", "choose b in {5}", "stage 8 x 2 { Cell(b) }"):
        assert line in text


def test_a_block_that_is_answered_in_two_ways_cannot_keep_its_words():
    source = """
    block Cell { out = in -> conv(C, kernel in {1, 3}) }
    space mine {
        input 3 x 8 x 8
        stem conv(8, 3)
        stage 8 x 2 { Cell }
        head global_avg_pool -> linear(10)
    }
    """
    space, module = uninas.space(source), load_text(source)
    found = {}
    for seed in range(20):
        graph, answers = space.sample(random.Random(seed))
        found[len(set(answers.values()))] = answered(module, "mine", answers, graph)
    assert found[2] is None and found[1] is not None


def test_another_size_of_images_stands_in_the_text():
    from uninas.language.elaborate import space

    module, name = find("nasbench201")
    graph, answers = space(module, name, input=(3, 16, 24)).sample(random.Random(0))
    text = answered(module, name, answers, graph)
    assert text is not None and "input 3 x 16 x 24" in text
