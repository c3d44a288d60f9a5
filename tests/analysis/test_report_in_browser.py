"""A report as a reader has it: in Chromium, without a network."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright
from run_folders import write_grid, write_run

from visionlab.analysis.figures import style
from visionlab.analysis.models import model_records
from visionlab.analysis.records import read_runs
from visionlab.analysis.report import write_report
from visionlab.analysis.table_layout import columns_over
from visionlab.analysis.tables import NumberFormat, make_table

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PHONE, DESKTOP, PAPER = (360, 740), (1280, 900), (718, 1000)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 12 finished runs and one that was interrupted: 26 models."""
    folder = tmp_path_factory.mktemp("report")
    write_grid(folder / "grid")
    write_run(folder / "more", scheduler="linear", decay=0.999, status="interrupted")
    scan = read_runs([folder])
    models = model_records(scan.runs)
    columns = columns_over(models, "averaged.decay", metric="test/top1")
    table = make_table(
        models,
        name="accuracy",
        rows=["scheduler"],
        columns=columns,
        weights="last",
        published={},
        source=None,
        number_format=NumberFormat(scale=100, decimals=1),
    )
    with style.styled():
        figure = style.panel_grid(3)
    write_report(
        folder / "report.html",
        scan=scan,
        models=models,
        tables=[table],
        figures={"curves": style.save(figure, folder, "curves")[1]},
        command=f"python plots.py runs={folder}",
    )
    return folder / "report.html"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(
    playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    with playwright.chromium.launch_persistent_context(
        tmp_path_factory.mktemp("profile"), executable_path=CHROMIUM, args=ARGUMENTS
    ) as context:
        yield context


@pytest.fixture
def page(browser: BrowserContext, path: Path) -> Iterator[Page]:
    """The report, opened; afterwards nothing was said or fetched."""
    said: list[str] = []
    asked: list[str] = []
    with browser.new_page() as opened:
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        resize(opened, DESKTOP)
        opened.goto(path.as_uri())
        yield opened
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


def resize(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})


def column(page: Page, name: str) -> list[str]:
    """Return what stands in a column of the table of models, top down, as far as it is seen."""
    heads = page.locator("#models-1 thead th").all_inner_texts()
    (number,) = [index for index, head in enumerate(heads) if head == name]
    cells = page.locator(f"#models-1 tbody tr:visible td:nth-child({number + 1})")
    return cells.all_inner_texts()


def order(page: Page, name: str) -> str | None:
    return page.locator("#models-1 thead th", has_text=name).get_attribute("aria-sort")


def num_sorted_by(page: Page) -> int:
    return page.locator("#models-1 [aria-sort]").count()


def test_a_click_sorts_and_another_turns_it_round(page: Page) -> None:
    before = column(page, "val/loss")
    assert before != sorted(before, key=float)
    page.get_by_role("button", name="val/loss").click()
    assert column(page, "val/loss") == sorted(before, key=float)
    assert (order(page, "val/loss"), num_sorted_by(page)) == ("ascending", 1)
    page.get_by_role("button", name="val/loss").click()
    assert column(page, "val/loss") == sorted(before, key=float, reverse=True)
    assert (order(page, "val/loss"), num_sorted_by(page)) == ("descending", 1)


def test_the_best_comes_first_and_what_is_missing_last(page: Page) -> None:
    for _ in range(2):
        page.get_by_role("button", name="state").click()
    assert column(page, "test/top1")[:2] == ["-", "-"]
    page.get_by_role("button", name="test/top1").click()
    shown = column(page, "test/top1")
    assert shown[-2:] == ["-", "-"]
    assert shown[:-2] == sorted(shown[:-2], key=float, reverse=True)
    assert order(page, "test/top1") == "descending"
    page.get_by_role("button", name="test/top1").click()
    turned = column(page, "test/top1")
    assert turned[-2:] == ["-", "-"]
    assert turned[:-2] == sorted(shown[:-2], key=float)


def test_rows_stay_whole_when_they_are_sorted(page: Page) -> None:
    def rows() -> list[str]:
        return page.locator("#models-1 tbody tr").all_inner_texts()

    before = rows()
    page.get_by_role("button", name="scheduler").click()
    assert rows() != before
    assert sorted(rows()) == sorted(before)


def test_rows_that_are_alike_keep_the_order_of_an_earlier_sort(page: Page) -> None:
    for name in ("val/loss", "scheduler"):
        page.get_by_role("button", name=name).click()
    pairs = list(zip(column(page, "scheduler"), map(float, column(page, "val/loss")), strict=True))
    assert pairs == sorted(pairs)


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_table_is_sorted_by_keyboard(page: Page, key: str) -> None:
    page.locator("#filter").focus()
    heads = page.locator("#models-1 thead button")
    page.keyboard.press("Tab")  # the box, which scrolls
    page.keyboard.press("Tab")
    assert heads.nth(0).evaluate("each => each === document.activeElement")
    page.keyboard.press("Tab")
    before = column(page, "scheduler")
    page.keyboard.press(key)
    assert column(page, "scheduler") == sorted(before)
    assert order(page, "scheduler") == "ascending"


def test_the_filter_keeps_rows_with_all_words(page: Page) -> None:
    assert page.locator("#shown").inner_text() == "26 of 26 rows"
    page.get_by_label("Filter").fill("COSINE ema")
    assert column(page, "scheduler") == ["cosine"] * 6
    assert set(column(page, "model")) == {"EMA 0.9", "EMA 0.99"}
    assert page.locator("#shown").inner_text() == "6 of 26 rows"
    page.get_by_role("button", name="val/loss").click()
    assert len(column(page, "model")) == 6
    page.get_by_label("Filter").fill("nothing like that")
    assert column(page, "model") == []
    page.get_by_label("Filter").fill("")
    assert len(column(page, "model")) == 26


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_page_does_not_scroll_sideways(page: Page, size: tuple[int, int]) -> None:
    resize(page, size)
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.locator("#models-1").bounding_box()["width"] > PHONE[0]  # type: ignore[index]
    box = page.locator(".box", has=page.locator("#models-1"))
    assert box.evaluate("each => each.clientWidth") < size[0]


def test_the_image_is_shown(page: Page) -> None:
    image = page.locator("figure img")
    assert image.evaluate("each => each.complete && each.naturalWidth > 0")
    ground = page.locator(".picture").evaluate("each => getComputedStyle(each).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert ground == "rgb(255, 255, 255)"
    assert ground == page.locator(".picture").evaluate(
        "each => getComputedStyle(each).backgroundColor"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    pairs = page.evaluate(
        """() => [...document.querySelectorAll("h1, dt, dd, td, th, a, figcaption, li, output")]
        .map(each => {
          let ground = each;
          while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)")
            ground = ground.parentElement;
          return [getComputedStyle(each).color, getComputedStyle(ground).backgroundColor];
        })"""
    )
    lightness = [[luminance(colour) for colour in pair] for pair in pairs]
    assert len(lightness) > 100
    for pair in lightness:
        assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5  # WCAG 2, criterion 1.4.3


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour as CSS computed it (WCAG 2)."""
    numbers = colour.partition("(")[2].rstrip(")").replace("srgb", "").replace(",", " ").split()
    scale = 1.0 if colour.startswith("color") else 255.0
    red, green, blue = (linear(float(each) / scale) for each in numbers[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def test_it_prints_with_everything_open(page: Page, tmp_path: Path) -> None:
    in_common = page.locator("details table")
    assert not in_common.is_visible()
    page.evaluate(
        """() => addEventListener("beforeprint", () => {
          window.wasOpen = document.querySelector("details").open;
        })"""
    )
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert page.evaluate("window.wasOpen")
    assert not in_common.is_visible()  # closed again


def test_on_paper_nothing_is_cut_off(page: Page) -> None:
    page.emulate_media(media="print")
    resize(page, PAPER)
    assert not page.locator(".controls").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER[0]
    assert page.locator("#models-1").bounding_box()["width"] <= PAPER[0]  # type: ignore[index]
    assert page.locator("figure img").bounding_box()["width"] <= PAPER[0]  # type: ignore[index]


def test_without_scripts_it_is_a_plain_page(
    playwright: Playwright, path: Path, tmp_path: Path
) -> None:
    with playwright.chromium.launch_persistent_context(
        tmp_path, executable_path=CHROMIUM, args=ARGUMENTS, java_script_enabled=False
    ) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.locator("#models-1 tbody tr:visible").count() == 26
        assert page.locator("#models-1 button").count() == 0
        assert not page.locator("#filter").is_visible()
