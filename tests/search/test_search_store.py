"""The database of a run: what goes in comes out, readers disturb nobody, and damage is noticed."""

import dataclasses
import random
import sqlite3

import numpy as np
import pytest

from uninas.errors import UninasError
from uninas.graph import Wire
from uninas.mutate import Insert
from uninas.search.candidate import Candidate
from uninas.search.front import front
from uninas.search.store import FILE, Store

EDIT = Insert(("stages.0", "blocks.0"), "gelu", Wire("conv", 0))
FULL = Candidate(
    7, 3, EDIT, "k7", 10, 20, 4, 1.5, {"a": 0.5}, None, 11, 0.25, {"budget": 3}, mate=2, rung=1, activations=30,
    peak=12, reason=None, worker="gpu-0", started=1e9,
)  # fmt: skip


def plain(number, score=None, reason=None, rung=0, **changes):
    failure = reason and f"it ended in {reason}"
    made = Candidate(number, None, None, f"k{number}", 1, 1, 1, score, reason=reason, failure=failure, rung=rung)
    return dataclasses.replace(made, **changes)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as made:
        yield made


def test_what_goes_in_comes_out(store):
    texts = ["network a { }" * 40, "network a { }" * 39 + "network b { }"]
    store.add_all([(plain(0, 1.0), texts[0]), (FULL, texts[1])])
    assert list(store) == [plain(0, 1.0), FULL] and store[7] == FULL and store[7].edit == EDIT
    assert [store.text(0), store.text(7)] == texts


def test_a_text_that_is_nearly_the_start_takes_little_room(store):
    lines = [f"layer_{n} = conv({n * 7919 % 1000}, 3)" for n in range(500)]
    store.add(plain(0, 1.0), "\n".join(lines))
    store.add(plain(1, 1.0), "\n".join([*lines[:250], "gelu", *lines[250:]]))
    sizes = [size for (size,) in store._db.execute("SELECT length(text) FROM texts ORDER BY number")]
    assert sizes[1] < sizes[0] / 10


def test_a_candidate_that_climbed_a_rung_has_its_parents_text(store):
    store.add(plain(0, 1.0), "start")
    store.add(plain(1, 1.0), "one")
    store.add(plain(2, 2.0, key="k1", parent=1, rung=1), None)
    store.add(plain(3, 2.0, key="k1", parent=2, rung=2), None)
    assert store.text(3) == "one" and store[3].promoted


def test_totals_count_by_rung_and_reason(store):
    found = [plain(0, 1.0, seconds=1.0, started=5.0), plain(1, None, "nan", seconds=2.0, started=6.0, refused={"a": 2}),
             plain(2, 3.0, seconds=4.0, started=3.0, refused={"b": 3, "a": 5}), plain(3, 3.0, rung=1)]  # fmt: skip
    store.add_all([(candidate, "text") for candidate in found])
    totals = {(t.rung, t.reason): (t.candidates, t.seconds, t.first, t.last) for t in store.totals()}
    assert totals[0, None] == (2, 5.0, 3.0, 7.0)
    assert totals[0, "nan"] == (1, 2.0, 6.0, 8.0)
    assert totals[1, None][0] == 1 and len(store) == 4
    assert list(store.refusals().items()) == [("a", 7), ("b", 3)]


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_the_best_are_those_of_the_last_rung_by_its_direction(direction, store):
    store.put({"objectives": [[("cheap", "higher")], [("dear", direction), ("params", "lower")]]})
    store.add_all([(plain(n, float(n % 3), rung=n % 2), "x") for n in range(8)] + [(plain(8, None, "nan", 1), "x")])
    scores = {1: 1.0, 3: 0.0, 5: 2.0, 7: 1.0}
    sign = -1 if direction == "higher" else 1
    assert [c.number for c in store.best(count=9)] == sorted(scores, key=lambda n: (sign * scores[n], n))
    assert store.objectives == [("dear", direction), ("params", "lower")]


@pytest.mark.parametrize("further", [(), (("params", "lower"),), (("params", "lower"), ("speed", "higher"))])
def test_the_front_has_the_candidates_that_no_other_beats(further, store):
    store.put({"objectives": [[("cheap", "higher")], [("dear", "higher"), *further]]})
    rng = random.Random(len(further))
    found = [
        plain(n, float(rng.randrange(9)), rung=1, components={name: rng.randrange(9) / 2 for name, _ in further})
        for n in range(200)
    ]
    others = [plain(200, 99.0, components=found[0].components), plain(201, None, "nan", 1)]
    others += [plain(202, 99.0, rung=1)] if further else []
    everything = found + others
    rng.shuffle(everything)
    for half in (everything[:100], everything[100:]):  # one transaction each
        store.add_all([(candidate, "text") for candidate in half])
    signs = {"higher": 1, "lower": -1}
    merits = [[one.score, *(signs[way] * one.components[name] for name, way in further)] for one in found]
    expected = [found[index] for index in front(np.array(merits))]
    assert store.front() == sorted(expected, key=lambda one: (-one.score, one.number)) != []


def test_all_of_a_batch_is_written_or_nothing(store):
    with pytest.raises(UninasError, match="already in"):
        store.add_all([(plain(0, 1.0), "a"), (plain(1, 1.0), "b"), (plain(1, 2.0, key="other"), "c")])
    assert len(store) == 0 == len(list(store))


def test_readers_see_a_run_while_it_is_written_and_make_no_file(tmp_path, store):
    store.add(plain(0, 1.0), "start")
    with Store(tmp_path, read_only=True) as reader:
        assert len(reader) == 1
        store.add(plain(1, 2.0), "one")
        assert reader.best()[0].number == 1 and reader.text(1) == "one"
        with pytest.raises(UninasError, match="readonly"):
            reader.put({"a": 1})
    with pytest.raises(UninasError, match="there is no run in"):
        Store(tmp_path / "nowhere", read_only=True)
    assert not (tmp_path / "nowhere").exists()


def test_only_one_writes_at_a_time(tmp_path, store):
    with pytest.raises(UninasError, match="another process writes to the run"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


@pytest.mark.parametrize(
    ("blob", "message"),
    [(b"nonsense", "incorrect header"), (b"", "no end"), ("text", "bytes-like"), (7, "bytes-like")],
)
def test_a_text_that_was_spoilt_is_named(blob, message, store):
    store.add(plain(0, 1.0), "start")
    store._db.execute("UPDATE texts SET text = ?", (blob,))
    with pytest.raises(UninasError, match=f"the text of candidate 0 cannot be read: .*{message}"):
        store.text(0)


def test_a_text_that_would_fill_the_memory_is_refused(store, monkeypatch):
    store.add(plain(0, 1.0), "x" * 5000)
    monkeypatch.setattr("uninas.search.store.MAX_TEXT", 4000)
    with pytest.raises(UninasError, match="the text of candidate 0 cannot be read"):
        store.text(0)


def test_a_damaged_page_is_noticed_when_the_run_is_opened(tmp_path):
    with Store(tmp_path) as store:
        store.add_all([(plain(n, 1.0, key=f"{n:064}"), "text") for n in range(300)])
    file = tmp_path / FILE
    content = bytearray(file.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    file.write_bytes(content)
    with pytest.raises(UninasError, match="the file is damaged"):
        Store(tmp_path)


def test_an_older_run_is_refused_with_a_way_out(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 1")
    database.close()
    for read_only in (False, True):
        with pytest.raises(UninasError, match="it has format 1") as raised:
            Store(tmp_path, read_only=read_only)
        assert "begun with an older version of this software" in str(raised.value)
