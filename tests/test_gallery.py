"""The gallery shows all that is shipped, and as it is: each committed picture says what would be drawn today."""

import re
import runpy
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

import uninas
from uninas.language.library import load_file, shipped
from uninas.language.resources import library_root
from uninas.render import Options
from uninas.render.files import scene
from uninas.render.formats.style import MAX_TEXT
from uninas.render.scenes.scene import Scene

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def gallery():
    script = runpy.run_path(str(DOCS / "gallery.py"))
    return {picture.name: picture for picture in script["pictures"]()}, script["page"]


def said(picture: Scene) -> Counter[str]:
    """The words in a scene."""
    lines = [line for item in picture.items() for line in item.lines]
    lines += [line for panel in picture.panels for cluster in panel.body.clusters() for line in cluster.lines]
    text = ["".join(word.text for word in line) for line in lines] + [item.aside for item in picture.items()]
    assert max(map(len, text)) <= MAX_TEXT
    return Counter(re.findall(r"\S+", " ".join(text)))


def test_the_page_shows_all_that_is_shipped(gallery):
    pictures, page = gallery
    blocks = {name for file in (library_root() / "blocks").glob("*.uni") for name in load_file(file).definitions}
    assert set(uninas.list_models()) | set(shipped()) | blocks <= set(pictures)
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == page(list(pictures.values())), "run: make gallery"
    assert {path.stem for path in (DOCS / "pictures" / "gallery").glob("*.svg")} == set(pictures)


def test_every_picture_says_what_would_be_drawn_today(gallery):
    for picture in gallery[0].values():
        tree = ElementTree.parse(picture.path)  # noqa: S314
        shown = Counter[str]()
        for element in tree.iter("{http://www.w3.org/2000/svg}text"):
            shown += Counter(re.findall(r"\S+", "".join(element.itertext())))
        missing = said(scene(picture.subject, Options(**picture.options))) - shown
        assert not missing, f"{picture.name} is older than what it shows; run: make gallery"


def test_the_pictures_are_small(gallery):
    assert sum(picture.path.stat().st_size for picture in gallery[0].values()) < 2.9e6
