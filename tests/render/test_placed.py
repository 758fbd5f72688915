"""Pictures in documents of others: on a slide, typeset, in a web page and in LaTeX, each as wide as it was asked.

Every document is made by the program or library that people make it with; where that is not installed, its test is
skipped. Sizes are read from the finished document.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import uninas

WIDTH = 88.0
"""Millimetres: one column of a journal of two."""
POINT = 25.4 / 72
NETWORK = "network tiny { input 3 x 32 x 32  stem conv(16, 3) -> relu  head global_avg_pool -> linear(10) }"
LATEX = shutil.which("pdflatex") or shutil.which("tectonic")
CHROMIUM = os.environ.get("CHROMIUM")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network in all formats that go into documents."""
    folder = tmp_path_factory.mktemp("pictures")
    for kind in ("svg", "png", "pdf"):
        uninas.render(uninas.load(NETWORK), folder / f"net.{kind}", width=WIDTH)
    return folder


def test_a_png_is_as_wide_on_a_slide(pictures: Path) -> None:
    pptx = pytest.importorskip("pptx")
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    slide.shapes.add_picture(str(pictures / "net.png"), 0, 0)
    deck.save(pictures / "deck.pptx")
    (placed,) = pptx.Presentation(pictures / "deck.pptx").slides[0].shapes
    assert placed.width.mm == pytest.approx(WIDTH, abs=0.5)


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_a_typesetter_takes_every_format(pictures: Path, kind: str) -> None:
    typst, pypdf = pytest.importorskip("typst"), pytest.importorskip("pypdf")
    source = pictures / f"{kind}.typ"
    source.write_text(
        f'#set page(width: 210mm, height: 297mm)\n#image("net.{kind}", width: {WIDTH}mm)\n'
        f'#context [ratio #calc.round(measure(image("net.{kind}")).height / measure(image("net.{kind}")).width, '
        f"digits: 3)]\n",
        encoding="utf-8",
    )
    typst.compile(str(source), output=str(pictures / f"{kind}.typ.pdf"))
    (page,) = pypdf.PdfReader(pictures / f"{kind}.typ.pdf").pages
    ratio = float(re.findall(r"ratio ([\d.]+)", page.extract_text())[0])
    width, height = sizes(pictures / "net.svg")
    assert ratio == pytest.approx(height / width, abs=0.01)


def test_a_pdf_is_as_wide_when_it_is_put_onto_a_page(pictures: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    picture = pypdf.PdfReader(pictures / "net.pdf").pages[0]
    writer = pypdf.PdfWriter()
    sheet = writer.add_blank_page(width=210 / POINT, height=297 / POINT)
    sheet.merge_translated_page(picture, 20 / POINT, 20 / POINT)
    writer.write(pictures / "sheet.pdf")
    (page,) = pypdf.PdfReader(pictures / "sheet.pdf").pages
    assert float(picture.mediabox.width) * POINT == pytest.approx(WIDTH, abs=POINT)  # Cairo rounds to points
    assert len(page.get_contents().get_data()) > len(picture.get_contents().get_data())
    assert not page.extract_text() or "conv" in page.extract_text()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="needs CHROMIUM=/path/to/it: make browser")
def test_an_svg_is_as_wide_in_a_web_page(pictures: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`: make browser")
    (pictures / "page.html").write_text('<!doctype html><img src="net.svg"><img src="net.png">', encoding="utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((pictures / "page.html").as_uri(), wait_until="load")
        widths = page.evaluate("[...document.images].map((one) => [one.complete, one.getBoundingClientRect().width])")
        browser.close()
    assert [done for done, _ in widths] == [True, True]
    assert widths[0][1] * 25.4 / 96 == pytest.approx(WIDTH, abs=0.1)  # a pixel of CSS is 1/96 inch


@pytest.mark.skipif(LATEX is None, reason="needs pdflatex or tectonic")
def test_a_pdf_is_as_wide_in_latex(pictures: Path) -> None:
    (pictures / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{graphicx}\\begin{document}\\sbox0{\\includegraphics{net.pdf}}"
        "\\message{width \\the\\wd0 .}\\usebox0\\end{document}\n",
        encoding="utf-8",
    )
    assert LATEX
    done = subprocess.run([LATEX, "paper.tex"], cwd=pictures, capture_output=True, text=True, check=True)
    width = float(re.findall(r"width ([\d.]+)pt", done.stdout + done.stderr)[0])
    assert width * 25.4 / 72.27 == pytest.approx(WIDTH, abs=POINT)  # TeX's point is 1/72.27 inch


def sizes(path: Path) -> tuple[float, float]:
    """Width and height of an SVG in units of its own."""
    found = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', path.read_text(encoding="utf-8"))
    assert found
    return float(found[1]), float(found[2])
