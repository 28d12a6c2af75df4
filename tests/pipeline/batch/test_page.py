"""The summary page: failures first, names made harmless, no other file needed."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
from batches import done, failed, task

from tpvideo.pipeline.batch import page as pages
from tpvideo.pipeline.batch.page import page
from tpvideo.pipeline.batch.poster import HEIGHT_PX, strip
from tpvideo.pipeline.batch.task import Outcome

NASTY = "<img src=x onerror=alert(1)>\"'&.mp4"


class Seen(HTMLParser):
    """Every tag with its attributes, and the text between them."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_failures_come_first_and_all_are_counted() -> None:
    outcomes = [done(task("a.mp4", "a2.mp4")), failed(task("z.mp4", "z2.mp4"), "no face")]
    seen = Seen(page([*outcomes, Outcome(task("g.mp4", "g2.mp4"), "good")], "background white"))
    assert seen.text.index("z.mp4") < seen.text.index("a.mp4") < seen.text.index("g.mp4")
    assert "1 failed, 1 done, 1 good already" in seen.text
    assert "no face" in seen.text
    assert "background white" in seen.text


def test_no_name_or_reason_becomes_markup() -> None:
    wanted = task(NASTY, NASTY)
    content = page([failed(wanted, NASTY), done(wanted)], NASTY)
    seen = Seen(content)
    assert [tag for tag, _ in seen.tags if tag in ("img", "script")] == []
    assert seen.text.count("onerror=alert(1)") >= 4
    (link,) = (attributes["href"] for tag, attributes in seen.tags if tag == "a")
    assert link == "%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%22%27%26.mp4"


def test_a_name_like_an_address_stays_a_file_of_the_folder() -> None:
    content = page([done(task("a.mp4", "javascript:alert(1).mp4"))], "")
    (link,) = (attributes["href"] for tag, attributes in Seen(content).tags if tag == "a")
    assert link == "javascript%3Aalert%281%29.mp4"


def test_posters_are_inside_the_page() -> None:
    grey = np.full((60, 80, 3), 90, np.uint8)
    poster = strip([grey, grey])
    outcome = Outcome(task("a.mp4", "b.mp4"), "done", poster=poster)
    seen = Seen(page([outcome], ""))
    (source,) = (attributes["src"] for tag, attributes in seen.tags if tag == "img")
    assert (source or "").startswith("data:image/jpeg;base64,")
    addresses = [value for _, attributes in seen.tags for value in attributes.values() if value]
    assert not [value for value in addresses if value.startswith(("http", "//"))]


def test_a_strip_puts_pictures_of_any_shape_at_one_height() -> None:
    import io

    from PIL import Image as Pillow

    sizes = [(60, 80), (512, 512), (4, 4000)]
    pictures = [np.full((*size, 3), 90, np.uint8) for size in sizes]
    with Pillow.open(io.BytesIO(strip(pictures))) as picture:
        assert picture.size == (192 + 144 + 576, HEIGHT_PX)
    assert strip([]) == b""


def test_a_page_of_very_many_files_is_cut_and_says_so() -> None:
    outcomes = [done(task(f"{n}.mp4", f"{n}_.mp4")) for n in range(pages.MOST_ROWS + 5)]
    content = page(outcomes, "")
    assert content.count("<tr") == pages.MOST_ROWS
    assert "5 more are listed in batch.jsonl" in content
