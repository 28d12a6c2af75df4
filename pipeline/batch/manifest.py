"""batch.jsonl: what every run in an output folder made of which source, a JSON object a line.

A line is added when a source is finished, and flushed at once. Before a run begins, one line
promises every result that is not there yet: one that lies there later without a line of its own
is then known to be ours, and may be made anew. A line that was cut short by a crash is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tpvideo.pipeline.batch.storage import Folder, sha256_of
from tpvideo.pipeline.batch.task import Made, Mark, Outcome, Target, Task
from tpvideo.pipeline.config import Settings

NAME = "batch.jsonl"

NO_MATTER = frozenset(
    {
        *("yaw_rad", "queue", "batch_size", "device", "overwrite", "resume"),
        *("max_pixels", "max_frames", "stall_timeout_s"),
    }
)
"""Settings that decide whether, where and how fast, not what; the yaw is each result's own."""

Verdict = Literal["good", "wanted", "refused"]


def settings_digest(settings: Settings, weights: Mapping[str, str]) -> str:
    """What results made alike have in common, as 16 hexadecimal digits.

    Args:
        settings: of the run.
        weights: SHA-256 of each model file, by what it is for.
    """
    usual, chosen = asdict(Settings()), asdict(settings)
    # Only what differs from the defaults: a setting that a later version adds changes nothing.
    asked = {
        name: chosen[name] for name in chosen.keys() - NO_MATTER if chosen[name] != usual[name]
    }
    text = json.dumps([asked, sorted(weights.items())], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Record:
    """The last that is known of a result."""

    digest: str
    source: Mark
    made: Made


@dataclass(slots=True)
class Manifest:
    """What earlier runs wrote into a folder, and where this one writes its own lines."""

    folder: Folder
    digest: str
    records: dict[str, Record] = field(default_factory=dict)
    """By the result's name."""
    promised: set[str] = field(default_factory=set)
    """Results that were not there when a run set out to make them, and have no line yet."""

    def read(self) -> None:
        """Take in the lines of earlier runs."""
        for line in self.folder.read_lines(NAME):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue  # cut short when the machine stopped, or of a version to come

    def judge(self, task: Task, source: Mark | None, target: Target) -> tuple[Verdict, str]:
        """Whether a result is there and good, has to be made, or is in the way; and why.

        Args:
            source: of the file as it is now; None where it cannot be read.
        """
        there = self.folder.mark(target.name)
        if there is None:
            return "wanted", ""
        if target.name in self.promised:
            return "wanted", "begun by a run that was cut off"
        known = self.records.get(target.name)
        hint = "pass --overwrite, or choose another -o or --name"
        if known is None:
            return "refused", f"{target.name} exists, and no batch made it; {hint}"
        if not self._is_same(known.made.mark, there, lambda: self.folder.sha256(target.name)):
            return "refused", f"{target.name} was changed after it was made; {hint}"
        if known.digest != self.digest or known.made.target != target:
            return "refused", f"{target.name} was made with other settings or models; {hint}"
        if source is None:
            return "wanted", ""
        if not self._is_same(known.source, source, lambda: sha256_of(task.source)):
            return "refused", f"{target.name} was made of an earlier {task.label}; {hint}"
        return "good", ""

    def promise(self, tasks: Iterable[Task], run: Mapping[str, Any]) -> None:
        """Say what this run is about to make; targets that exist must not be among them."""
        names = [target.name for task in tasks for target in task.targets]
        free = [name for name in names if self.folder.mark(name) is None]
        line = {"run": dict(run), "settings": self.digest, "promised": free}
        self.folder.add_line(NAME, _text(line))

    def add(self, outcome: Outcome) -> None:
        """Write down what became of a task."""
        self.folder.add_line(NAME, _text({**as_json(outcome), "settings": self.digest}))

    def _take(self, line: dict[str, Any]) -> None:
        if "promised" in line:
            self.promised |= set(line["promised"])
            return
        for made in line["made"]:
            target, mark = Target(**made["target"]), Mark(**made["mark"])
            source = Mark(**line["source_mark"])
            self.records[target.name] = Record(line["settings"], source, Made(target, mark))
            self.promised.discard(target.name)

    @staticmethod
    def _is_same(known: Mark, now: Mark, digest: Callable[[], str]) -> bool:
        """Untouched, or touched without a change: then the content is read."""
        if known.bytes != now.bytes:
            return False
        return known.token == now.token or (bool(known.sha256) and known.sha256 == digest())


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The line of an outcome: plain values, without its poster."""
    line: dict[str, Any] = {"source": outcome.task.source, "outcome": outcome.state}
    for name in ("reason", "kind", "frames", "elapsed_s", "cpu_s", "bottleneck", "attempts"):
        line[name] = getattr(outcome, name)
    line["elapsed_s"], line["cpu_s"] = round(outcome.elapsed_s, 3), round(outcome.cpu_s, 3)
    line["notices"] = list(outcome.notices)
    line["worker"] = outcome.worker
    line["source_mark"] = asdict(outcome.source) if outcome.source else None
    line["made"] = [asdict(made) for made in outcome.made]
    return line


def _text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False)
