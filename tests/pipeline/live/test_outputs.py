"""Several outputs at once: each gets every picture, and none takes the others down."""

from __future__ import annotations

import pytest
from livekit import INFO, shown

from tpvideo.pipeline.errors import OutputError, TpvideoError
from tpvideo.pipeline.frame import StreamInfo
from tpvideo.pipeline.live.controls import Controls, Panel
from tpvideo.pipeline.live.latency import Budget, Meter
from tpvideo.pipeline.live.outputs import Closed, FanOut
from tpvideo.pipeline.live.view import Shown
from tpvideo.stages.live import age_s, now


class Note:
    """Keeps the numbers of pictures, and fails at one of them."""

    def __init__(self, name: str, fail_at: int = -1, error: TpvideoError | None = None) -> None:
        self.name = name
        self.calls: list[str] = []
        self.seen: list[int] = []
        self._fail_at = fail_at
        self._error = error or OutputError(name, "the cable was pulled")

    def open(self, info: StreamInfo) -> None:
        self.calls.append("open")
        if self._fail_at == 0:
            raise self._error

    def consume(self, item: Shown) -> None:
        if item.stamp.index == self._fail_at:
            raise self._error
        self.seen.append(item.stamp.index)

    def finish(self) -> None:
        self.calls.append("finish")

    def close(self) -> None:
        self.calls.append("close")


def fan_out(*outputs: Note) -> tuple[FanOut, Meter]:
    meter = Meter("capture to show")
    return FanOut(outputs, Budget(None, Panel(Controls())), meter), meter


def test_every_output_gets_every_picture_and_its_age_is_measured() -> None:
    first, second = Note("first"), Note("second")
    sink, meter = fan_out(first, second)
    sink.open(INFO)
    taken_at = now() - 250_000
    sink.consume(shown(1, pts=taken_at))
    sink.consume(shown(2, pts=taken_at))
    sink.finish()
    sink.close()
    assert first.seen == second.seen == [1, 2]
    assert first.calls == second.calls == ["open", "finish", "close"]
    latency = meter.recent()
    assert latency is not None and latency.pictures == 2
    assert 0.25 <= latency.p50_s <= age_s(taken_at)


def test_an_output_that_fails_is_left_out_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    weak, strong = Note("virtual camera", fail_at=2), Note("page")
    sink, _ = fan_out(weak, strong)
    sink.open(INFO)
    for number in (1, 2, 3):
        sink.consume(shown(number))
    sink.finish()
    sink.close()
    assert weak.seen == [1] and strong.seen == [1, 2, 3]
    assert weak.calls == ["open", "close"]
    assert "virtual camera is left out from here on" in caplog.text


def test_the_failure_of_the_last_output_is_the_failure_of_the_run() -> None:
    sink, _ = fan_out(Note("page", fail_at=1))
    sink.open(INFO)
    with pytest.raises(OutputError, match="the cable was pulled"):
        sink.consume(shown(1))
    sink.close()


def test_closing_the_last_output_ends_the_run_well() -> None:
    sink, _ = fan_out(Note("window", fail_at=1, error=Closed("the window is closed")))
    stopped: list[bool] = []
    sink.stop = lambda: stopped.append(True)
    sink.open(INFO)
    sink.consume(shown(1))
    sink.consume(shown(2))  # one that was on its way
    assert stopped == [True]
    sink.finish()
    sink.close()


def test_an_output_that_cannot_be_opened_refuses_the_run_and_all_are_closed() -> None:
    first, second = Note("first"), Note("second", fail_at=0)
    sink, _ = fan_out(first, second)
    with pytest.raises(OutputError):
        sink.open(INFO)
    sink.close()
    assert first.calls == second.calls == ["open", "close"]
