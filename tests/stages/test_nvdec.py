from __future__ import annotations

import logging
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from films import read_all
from synthetic import write_clip

from tpvideo.stages.decode import FileSource
from tpvideo.stages.upright import Upright

CLOSE = 1  # level; of 10 bits another routine rounds


def test_without_a_gpu_the_processor_decodes_the_same_with_one_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if torch.cuda.is_available():
        pytest.skip("here there is a GPU")
    caplog.set_level(logging.WARNING)
    clip = write_clip(tmp_path / "clip.mp4", 12, options={"bf": "3"})
    (info, frames), (expected_info, expected) = (
        read_all(FileSource(clip, decoder=decoder)) for decoder in ("nvdec", "av")
    )
    assert info == expected_info
    assert [frame.stamp for frame in frames] == [frame.stamp for frame in expected]
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.rgb, other.rgb)
    (record,) = caplog.records
    assert record.message.endswith("decoded by the processor")


@pytest.mark.parametrize(("stored", "given"), [("yuv420p", "nv12"), ("yuv420p10le", "p010le")])
@pytest.mark.parametrize("full_range", [True, False])
def test_the_forms_that_nvdec_gives_show_the_same_picture(
    tmp_path: Path, stored: str, given: str, full_range: bool
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1, full_range=full_range)
    with av.open(str(clip)) as film:
        frame = next(film.decode(video=0)).reformat(format=stored)
    other = frame.reformat(format=given)
    expected, found = Upright(frame, None)(frame), Upright(other, None)(other)
    assert expected.std() > 20
    assert np.abs(found.astype(int) - expected).max() <= CLOSE


@pytest.mark.gpu
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_gpu_decodes_the_same_frames_at_the_same_times(tmp_path: Path, codec: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 12, size=(256, 256), codec=codec)
    source = FileSource(clip, decoder="nvdec")
    (_, frames), (_, expected) = read_all(source), read_all(FileSource(clip))
    assert source.notices == []
    assert [frame.stamp for frame in frames] == [frame.stamp for frame in expected]
    for frame, other in zip(frames, expected, strict=True):
        assert np.abs(frame.rgb.astype(int) - other.rgb).max() <= CLOSE
