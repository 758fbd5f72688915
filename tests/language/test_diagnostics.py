"""Mistakes and what a person reads about them: every file of diagnostics/ with its exact message beside it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from uninas import UninasError
from uninas.language.elaborate import check
from uninas.language.library import load_file

FOLDER = Path(__file__).parent / "diagnostics"
MISTAKES = sorted(FOLDER.glob("*.uni"))
CODES_OF_TEXTS = {
    "UNI002", "UNI003", "UNI004", "UNI010", "UNI011", "UNI012", "UNI013", "UNI014", "UNI015", "UNI016", "UNI017",
    "UNI018", "UNI019", "UNI020", "UNI021", "UNI022", "UNI023", "UNI030", "UNI040", "UNI041", "UNI042",
}  # fmt: skip


def mistake_in(path: Path) -> UninasError:
    """The mistakes of a file, which must have some."""
    with pytest.raises(UninasError) as caught:
        check(load_file(path))
    return caught.value


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: path.stem)
def test_a_mistake_reads_exactly_like_this(
    path: Path, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)  # messages name a file from where one stands
    mistake = mistake_in(path)
    golden(f"../language/diagnostics/{path.stem}.expected", f"{mistake}\n")
    assert all(diagnostic.span for diagnostic in mistake.diagnostics)


def test_every_message_belongs_to_a_mistake() -> None:
    assert {path.stem for path in FOLDER.glob("*.expected")} == {path.stem for path in MISTAKES}


def test_every_code_that_a_text_can_raise_is_among_them() -> None:
    found = {diagnostic.code for path in MISTAKES for diagnostic in mistake_in(path).diagnostics}
    assert found == CODES_OF_TEXTS
