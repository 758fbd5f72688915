"""The page of a run in a real browser. Run by `make browser`, and skipped unless CHROMIUM names the browser's program.

Nothing here waits for a time, only for what should appear. `page.evaluate` of strings and functions is the test's own
doing through the debugger; the page itself may evaluate nothing.
"""

import os
import re
import threading
from contextlib import contextmanager

import pytest
from helpers.commands import succeed
from helpers.reports import HOSTILE, hostile_run, made, searched

from uninas.report import write_page
from uninas.report.server import Server
from uninas.search.store import Store

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`: make browser")

CHROMIUM = os.environ.get("CHROMIUM")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="needs CHROMIUM=/path/to/it: make browser")]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # Without its sandbox, because it starts as root in containers; it opens nothing but pages made here.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """A page in the browser, and everything it complained about or asked for."""

    def __init__(self, page, address):
        self.page, self.told, self.asked = page, [], []
        page.set_default_timeout(120_000)  # milliseconds; only a page that hangs takes so long
        page.on("console", lambda message: self.told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda problem: self.told.append(str(problem)))
        page.on("dialog", lambda dialog: (self.told.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")

    @property
    def complaints(self):
        return [words for words in self.told if "setting log level" not in words]

    def column(self, name):
        """What stands in a column of the table, on the page that is shown."""
        heads = self.page.locator("#table thead tr:first-child th").all_inner_texts()
        place = [words.split("\n")[0].strip() for words in heads].index(name) + 1
        return self.page.locator(f"#table tbody tr td:nth-child({place})").all_inner_texts()

    def numbers(self):
        return [int(words) for words in self.column("#")]


@pytest.fixture
def opened(browser):
    """Opens pages; afterwards none may have complained."""
    windows = []

    def open_page(address, **context):
        page = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **context}).new_page()
        windows.append(Window(page, address))
        return windows[-1]

    yield open_page
    for window in windows:
        assert window.complaints == []
        window.page.context.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("browser") / "first")


@pytest.fixture(scope="module")
def address(run):
    return write_page(run).as_uri()


@pytest.fixture
def window(opened, address):
    return opened(address)


def candidates(folder):
    with Store(folder, read_only=True) as store:
        return {candidate.number: candidate for candidate in store}


# ---- it loads ------------------------------------------------------------------------------------------------------


def test_it_opens_from_a_file_and_asks_nobody(window, run):
    assert all(address.startswith(("file:", "blob:", "data:")) for address in window.asked)
    found = candidates(run)
    best = max(found.values(), key=lambda one: (one.score, -one.number))
    assert f"{best.score:,.0f}" in window.page.inner_text("#cards")
    assert window.page.inner_text("#cards").count("12") >= 1
    assert window.page.inner_text(".dt-info") == f"1 to {len(found)} of {len(found)} candidates"


def test_the_charts_are_drawn(window):
    for place in ("progress", "pareto"):
        canvas = window.page.locator(f"#{place} canvas").first
        assert canvas.bounding_box()["height"] > 100
        colors = canvas.evaluate(
            "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
        )
        assert colors > 10, place
        empty = window.page.evaluate(
            """(place) => [...Bokeh.index.roots].find((one) => one.el.closest(`#${place}`)).model.legend.items
                .filter((one) => one.visible && one.renderers.every((mark) => !mark.data_source.get_length()))
                .map((one) => one.label.value)""",
            place,
        )
        assert not empty, place  # words beside which a legend draws nothing


# ---- sorting and filtering -----------------------------------------------------------------------------------------


def test_the_best_come_first_and_a_click_on_a_head_sorts(window, run):
    scores = {number: one.score for number, one in candidates(run).items()}
    assert [scores[number] for number in window.numbers()] == sorted(scores.values(), reverse=True)
    head = window.page.locator("#table thead tr:first-child th").first
    head.click()
    assert window.numbers() == sorted(scores)
    head.click()
    assert window.numbers() == sorted(scores, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"


def test_words_and_numbers_filter(window, run):
    found = candidates(run)
    words = "gelu"
    window.page.get_by_label("find").fill(words)
    window.page.wait_for_selector(".dt-info:has-text('(of')")
    assert sorted(window.numbers()) == [n for n, one in found.items() if one.edit and words in str(one.edit)]
    window.page.get_by_label("find").fill("")
    window.page.locator("#table thead tr:nth-child(2) input").first.fill("7")
    window.page.wait_for_selector(".dt-info:has-text('1 to 1 of 1')")
    assert window.numbers() == [7]


def test_the_front_and_the_line_filter(window, run):
    found = candidates(run)
    window.page.get_by_label("show").select_option("front")
    front = [found[number] for number in window.numbers()]
    assert front and not [
        one for one in front for other in found.values() if other.score > one.score and other.macs <= one.macs
    ]
    window.page.evaluate("location.hash = '#12'")
    window.page.wait_for_selector("#detail-title:has-text('Candidate 12')")
    window.page.get_by_label("show").select_option("line")
    line, at = [], 12
    while at is not None:
        line.append(at)
        at = found[at].parent
    assert sorted(window.numbers()) == sorted(line)


# ---- one candidate -------------------------------------------------------------------------------------------------


def test_a_click_shows_text_change_numbers_and_diagram(window, run):
    found = candidates(run)
    number = window.numbers()[0]
    window.page.locator("#table tbody tr").first.click()
    window.page.wait_for_selector(f"#detail-title:has-text('Candidate {number}')")
    facts = window.page.inner_text("#detail table")
    assert (
        f"{found[number].params:,}" in facts and str(found[number].edit) in facts and str(found[number].seed) in facts
    )
    image = window.page.locator("#detail .picture img")
    image.wait_for()
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") > 50
    window.page.get_by_role("button", name="Text", exact=True).click()
    with Store(run, read_only=True) as store:
        text, before = store.text(number), store.text(found[number].parent)
    assert window.page.inner_text("#detail pre") == text.rstrip("\n") + "\n"
    window.page.get_by_role("button", name="What changed").click()
    added, gone = (
        {words[2:].rstrip("\n") for words in window.page.locator(f"#detail .{kind}").all_text_contents()}
        for kind in ("added", "gone")
    )
    # Blocks have the names of the other text, so numbers behind names may differ from what is stored.
    added, gone, now, old = (
        {re.sub(r"\b([A-Z][a-zA-Z]*)[\d_]*\b", r"\1", line) for line in lines}
        for lines in (added, gone, text.splitlines(), before.splitlines())
    )
    assert added | gone and added <= now and gone <= old


def test_the_keyboard_alone_is_enough(window):
    page = window.page
    page.locator("#table tbody a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail-title")
    assert page.evaluate("document.activeElement.id") == "detail"
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    head = page.locator(
        "#table thead tr:first-child th .dt-column-order, #table thead tr:first-child th [tabindex='0']"
    ).first
    head.focus()
    page.keyboard.press("Enter")
    assert window.numbers() == sorted(window.numbers())


def test_an_address_names_a_candidate_and_the_way_back_works(opened, address):
    window = opened(f"{address}#5")
    assert window.page.inner_text("#detail-title") == "Candidate 5"
    window.page.locator("#detail a[href^='#']").first.click()
    window.page.wait_for_selector("#detail-title:not(:has-text('Candidate 5'))")
    window.page.go_back()
    window.page.wait_for_selector("#detail-title:has-text('Candidate 5')")


def test_a_click_on_a_dot_chooses_it(window, run):
    place = window.page.evaluate(
        """() => {
            const view = [...Bokeh.index.roots].find((one) => one.el.closest('#progress'));
            view.el.scrollIntoView();
            const box = view.canvas_view.el.getBoundingClientRect();
            const { data } = view.model.renderers[0].data_source;
            const at = data.number.indexOf(9);
            const { x_scale, y_scale } = view.frame;
            return [box.x + x_scale.compute(data.x[at]), box.y + y_scale.compute(data.y[at])];
        }"""
    )
    window.page.mouse.click(*place)
    window.page.wait_for_selector("#detail-title:has-text('Candidate 9')")


# ---- for everybody -------------------------------------------------------------------------------------------------


def test_light_and_dark_follow_the_system_and_the_button(opened, address):
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = (opened(address, color_scheme=scheme).page for scheme in ("light", "dark"))
    assert light.evaluate(paper) != dark.evaluate(paper)
    dark.get_by_label("Switch between light and dark").click()
    assert light.evaluate(paper) == dark.evaluate(paper)


def test_every_control_has_a_name(window):
    window.page.evaluate("location.hash = '#3'")
    window.page.wait_for_selector("#detail-title")
    nameless = window.page.evaluate(
        """() => [...document.querySelectorAll('button, select, input, a[href], img, [role=img]')]
            .filter((one) => one.offsetParent && !one.labels?.length)
            .filter((one) => ![one.textContent.trim(), one.ariaLabel, one.alt, one.title].some(Boolean))
            .map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


def test_it_fits_a_telephone(opened, address):
    window = opened(f"{address}#3", viewport={"width": 390, "height": 800})
    assert window.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_it_prints_without_its_controls(window):
    window.page.emulate_media(media="print")
    assert not window.page.locator("#theme").is_visible()
    assert window.page.locator("#table tbody tr").first.is_visible()


# ---- hostile, large, alive -----------------------------------------------------------------------------------------


def test_hostile_names_stay_text(opened, tmp_path):
    window = opened(f"{write_page(hostile_run(tmp_path)).as_uri()}#3")
    page = window.page
    assert HOSTILE in page.inner_text("#detail")
    for view in ("Text", "What changed"):
        page.get_by_role("button", name=view, exact=True).click()
    page.get_by_label("show").select_option("failed")
    page.locator("#table tbody tr").first.click()
    assert page.evaluate("[...document.querySelectorAll('[onerror], img[src=x]')].length") == 0


def test_ten_thousand_candidates_keep_the_document_small(opened, tmp_path):
    def elements(count):
        window = opened(write_page(made(tmp_path / str(count), count)).as_uri())
        return window.page.evaluate("document.querySelectorAll('*').length")

    assert elements(10_000) < 2 * elements(100)


def test_ten_thousand_candidates_sort_filter_and_open(opened, tmp_path):
    window = opened(write_page(made(tmp_path / "run", 10_000)).as_uri())
    page = window.page
    page.locator("#table thead tr:first-child th").first.click()
    assert window.numbers()[:3] == [0, 1, 2]
    page.get_by_label("find").fill("nan")
    page.wait_for_selector(".dt-info:has-text('of 200 candidates (of 10,000)')")
    page.locator("#table tbody tr").nth(1).click()
    page.wait_for_selector("#detail-title:has-text('Candidate 59')")
    page.evaluate("location.hash = '#9998'")
    page.wait_for_selector("#detail-title:has-text('Candidate 9998')")
    page.get_by_role("button", name="Text", exact=True).click()
    assert "# 9998" in page.inner_text("#detail pre")


@contextmanager
def serving(folder):
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()


def test_the_served_page_follows_the_run(opened, tmp_path):
    folder = searched(tmp_path / "first", iterations=4)
    with serving(folder) as address:
        window = opened(f"{address}#2")
        page = window.page
        page.locator("#detail .picture img").evaluate("image => image.decode()")
        page.locator("#table thead tr:first-child th").first.click()
        assert window.numbers() == [0, 1, 2, 3, 4]
        searched(folder, iterations=8)
        page.wait_for_selector(".dt-info:has-text('of 9 candidates')")
        assert window.numbers() == list(range(9))
        page.evaluate("location.hash = '#8'")
        page.wait_for_selector("#detail-title:has-text('Candidate 8')")
        page.get_by_role("button", name="Text", exact=True).click()
        with Store(folder, read_only=True) as store:
            assert page.inner_text("#detail pre") == store.text(8).rstrip("\n") + "\n"
        assert all(asked.startswith((address, "blob:", "data:")) for asked in window.asked)
        page.goto("about:blank")  # before the server goes, which it would complain about


# ---- what mattered -------------------------------------------------------------------------------------------------


def test_kinds_of_moves_the_best_network_and_candidates_side_by_side(opened, tmp_path):
    address = write_page(searched(tmp_path / "moves", iterations=20)).as_uri()
    page = opened(address).page
    assert page.locator("#best-figure img").get_attribute("alt").startswith("Diagram of the best network")
    kinds = page.locator("#insight-body tbody tr td:first-child").all_inner_texts()
    assert kinds and set(kinds) <= {"insert", "remove"}
    for number in (1, 2):
        page.goto(f"{address}#{number}")
        page.locator("#detail-compare").click()
    heads = page.locator("#compared thead th").all_inner_texts()
    assert [words.strip(" ×") for words in heads] == ["", "candidate 1", "candidate 2"]
    page.get_by_label("Leave out candidate 1").click()
    assert page.locator("#compared thead th").count() == 2


def test_choices_by_their_importance_with_slices_and_lines(opened, tmp_path):
    succeed("search", "nasbench201", "--proxy", "params", "--strategy", "evolution", "--iterations", 40, "-j", 0, "-o",
            tmp_path / "choices")  # fmt: skip
    address = write_page(tmp_path / "choices").as_uri()
    page = opened(address).page
    rows = page.locator("#insight-body table").first.locator("tbody tr")
    shares = [int(words.split()[0]) for words in page.locator("#insight-body .share").all_inner_texts()]
    assert rows.count() == 6 and shares == sorted(shares, reverse=True)
    name = rows.nth(3).locator("button").inner_text()
    rows.nth(3).locator("button").click()
    assert page.locator("#insight-body h3").nth(1).inner_text() == f"Values of {name}"
    assert page.locator(".parallel .way").count() == 41
    page.goto(f"{address}#7")
    assert page.locator("#detail details table.heads tbody tr").count() == 6


# ---- the page of a ranking -----------------------------------------------------------------------------------------

TABLE = """index,architecture,easy,hard
0,micro_transformer,60,41
1,micro_efficientnet,70,44
2,micro_resnet,50,47
3,micro_coatnet,55,35
4,../elsewhere.uni,40,31
"""


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """A ranking of four networks and of a file that is not there, on two data sets."""
    folder = tmp_path_factory.mktemp("ranked")
    (folder / "nets.csv").write_text(TABLE)
    succeed("rank", "--table", folder / "nets.csv", "--datasets", "easy,hard", "--proxy", "params,trainable_layers",
            "--batch-size", 2, "--bootstrap", 20, "-o", folder / "ranks")  # fmt: skip
    return folder / "ranks"


def test_the_page_of_a_ranking_shows_scores_networks_and_their_pictures(opened, ranked):
    window = opened((ranked / "report.html").as_uri())
    page = window.page
    assert all(asked.startswith(("file:", "blob:", "data:")) for asked in window.asked)
    assert page.inner_text("#title") == "Ranking ranks"
    assert page.locator("#measured-body h3").all_inner_texts() == ["easy", "hard"]
    rows = page.locator("#measured-body table").first.locator("tbody tr td:first-child").all_inner_texts()
    assert sorted(rows) == ["params", "trainable_layers"]
    assert window.column("accuracy on easy") == sorted(window.column("accuracy on easy"), reverse=True)
    names = [words.split("\n")[0] for words in window.column("network")]
    assert names[:4] == ["micro_efficientnet", "micro_transformer", "micro_coatnet", "micro_resnet"]
    page.locator("#table thead tr:first-child th", has_text="params").first.click()
    assert window.column("network")[0].startswith("micro_")
    page.goto(f"{(ranked / 'report.html').as_uri()}#1")
    page.get_by_role("button", name="Text").click()
    assert "network micro_transformer" in page.inner_text("#detail")
    assert "parent" not in page.inner_text("#detail table")
    assert page.locator("#best-figure img").get_attribute("alt") == "Diagram of the best network, number 0"
