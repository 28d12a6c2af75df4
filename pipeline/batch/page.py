"""index.html: what a batch made, on one page that needs no other file; failures first."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from tpvideo.pipeline.batch.storage import LocalFolder
from tpvideo.pipeline.batch.task import Outcome

NAME = "index.html"
POSTERS = ".batch.posters"
MOST_ROWS = 1000
"""Beyond this many the rest is counted, not shown; batch.jsonl has them all."""

ORDER = ("failed", "interrupted", "unstarted", "done", "good")
SAID = {
    "failed": "failed",
    "interrupted": "interrupted",
    "unstarted": "not begun",
    "done": "done",
    "good": "good already",
}
STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em;
       color: #222; background: #fff }
h1 { font-size: 1.4em } table { border-collapse: collapse; width: 100% }
td { border-top: 1px solid #ddd; padding: .5em; vertical-align: top; overflow-wrap: anywhere }
img { display: block; max-width: 100%; height: 144px; object-fit: contain }
.failed .state, .interrupted .state, .unstarted .state { color: #b00020; font-weight: 600 }
.small { color: #666; font-size: .85em } a { color: #0a58ca }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #161616 } td { border-color: #333 } a { color: #7ab0ff }
  .failed .state, .interrupted .state, .unstarted .state { color: #ff7b8a } .small { color: #999 } }
"""


def with_posters(outcomes: Sequence[Outcome], folder: LocalFolder) -> list[Outcome]:
    """The outcomes with the pictures that earlier runs kept; this one's are kept as well."""
    return [_with_poster(outcome, folder) for outcome in outcomes]


def _with_poster(outcome: Outcome, folder: LocalFolder) -> Outcome:
    digest = hashlib.sha256(outcome.task.targets[0].name.encode()).hexdigest()
    name = f"{POSTERS}/{digest[:16]}.jpg"
    if outcome.state == "good":
        return replace(outcome, poster=folder.read(name))
    if outcome.state == "done" and outcome.poster:
        folder.write(name, outcome.poster)
    return outcome


def page(outcomes: Sequence[Outcome], title: str) -> str:
    """The page as HTML.

    Args:
        outcomes: of every task of the batch.
        title: a line for the top, such as the command's settings.
    """
    rows = sorted(outcomes, key=lambda outcome: (ORDER.index(outcome.state), outcome.task.label))
    counts = ", ".join(
        f"{count} {SAID[state]}"
        for state in ORDER
        if (count := sum(outcome.state == state for outcome in outcomes))
    )
    more = len(rows) - MOST_ROWS
    rest = f"<p>{more} more are listed in batch.jsonl.</p>" if more > 0 else ""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    heading = html.escape(counts or "nothing to do")
    body = "".join(_row(outcome) for outcome in rows[:MOST_ROWS])
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>tpvideo batch</title><style>{STYLE}</style>\n"
        f'<h1>{heading}</h1><p class="small">{html.escape(title)}</p>\n'
        f"<table>\n{body}</table>{rest}</html>\n"
    )


def _row(outcome: Outcome) -> str:
    facts = []
    if outcome.frames:
        rate = outcome.frames / outcome.elapsed_s if outcome.elapsed_s else 0.0
        facts.append(f"{outcome.frames} frames in {outcome.elapsed_s:.1f} s ({rate:.2f} a second)")
    if outcome.attempts > 1:
        facts.append(f"{outcome.attempts} attempts")
    facts += outcome.notices
    links = " ".join(
        f'<a href="{html.escape(quote(made.target.name))}">{html.escape(made.target.name)}</a>'
        for made in outcome.made
    )
    return (
        f'<tr class="{outcome.state}"><td>{_picture(outcome)}</td><td>'
        f'<div class="state">{SAID[outcome.state]}</div>{html.escape(outcome.task.label)}'
        f"<div>{html.escape(outcome.reason)}</div><div>{links}</div>"
        f'<div class="small">{html.escape("; ".join(facts))}</div></td></tr>\n'
    )


def _picture(outcome: Outcome) -> str:
    if not outcome.poster:
        return ""
    data = base64.b64encode(outcome.poster).decode("ascii")
    label = html.escape(f"{outcome.task.label}: source, then results")
    return f'<img alt="{label}" src="data:image/jpeg;base64,{data}">'
