"""Which images a proxy sees, and what cannot be decided."""

import pytest

from uninas import UninasError
from uninas.scores.aggregate import AGGREGATES
from uninas.scores.input_sources import NOISES, from_files, read, sources


def test_words_are_of_all_proxies_or_of_one_and_the_last_counts():
    assert read(["pink", "jacov=a=b.npy", "zen=normal", "x/y=z"]) == {"": "x/y=z", "jacov": "a=b.npy", "zen": "normal"}
    assert read(['="pink"', 'jacov="a \\"b\\""', '"c']) == {"": '"c', "jacov": 'a "b"'}


def test_aggregates_want_their_own_images():
    found = sources(["uninas_agg", "zen", "zico+plain"], {})
    assert found == {**dict.fromkeys((*AGGREGATES["uninas_agg"].components, "zen", "zico", "plain"), "normal"),
                     "swap": "pink", "jacov": "pink", "trainability": "pink"}  # fmt: skip
    assert set(sources(["uninas_agg"], {"": "photos/"}).values()) == {"photos/"}
    assert sources(["uninas_agg"], {"jacov": "photos/"})["jacov"] == "photos/"


def test_two_wishes_are_an_error_unless_the_user_decides():
    with pytest.raises(UninasError, match="some of what is asked for wants normal and some pink images for") as caught:
        sources(["vkdnw_agg", "uninas_agg"], {})
    assert caught.value.code == "UNI071" and "--input jacov=normal" in str(caught.value)
    assert sources(["vkdnw_agg", "uninas_agg"], {"": "normal"})["jacov"] == "normal"


def test_noises_are_no_files():
    from uninas.proxies import inputs

    assert set(NOISES) == inputs.NOISES.keys()
    assert from_files({"a": "pink", "b": "x.npy", "c": "normal", "d": "x.npy"}) == ["x.npy"]


def test_a_source_for_nobody_is_an_error():
    with pytest.raises(UninasError, match="there is an input for jakov, which is not asked for") as caught:
        sources(["jacov"], {"jakov": "pink"})
    assert "jacov" in str(caught.value)
