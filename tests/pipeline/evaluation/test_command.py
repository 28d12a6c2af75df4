"""`tpvideo eval` on a path of each kind, with the smallest networks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from balls import save_balls
from eg3d_folder import save_folder
from PIL import Image
from scans import save_scan
from small_run import small_networks
from tiny import random_face

from tpvideo.pipeline import app, cli
from tpvideo.pipeline.errors import ConfigError, InputError, NoFaceError
from tpvideo.pipeline.evaluation import clip
from tpvideo.pipeline.evaluation.command import kind_of
from tpvideo.stages.geometry import CropFit, image_from_crop
from tpvideo.weights.evaluation.views import DETAIL, MEAN_DEPTH

OPTIONS = ("--matting", "none", "--precision", "float32")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(app, "load_networks", small_networks)
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "weights"))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(["eval", *map(str, arguments), *OPTIONS])
    written = capsys.readouterr()
    return int(caught.value.code or 0), written.out, written.err


def photograph(path: Path) -> Path:
    """Noise of 96 x 64, where small_networks see a face."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_a_path_is_known_by_what_it_holds(tmp_path: Path) -> None:
    assert kind_of(save_balls(tmp_path / "heads", 2)) == "heads"
    assert kind_of(save_scan(tmp_path / "scan")) == "scan"
    assert kind_of(save_folder(tmp_path / "eg3d")) == "eg3d"
    assert kind_of(photograph(tmp_path / "still.png")) == "clip"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty holds nothing to score"):
        kind_of(tmp_path / "empty")
    with pytest.raises(InputError, match="no such file or folder"):
        kind_of(tmp_path / "absent")


def test_heads_and_a_photograph_make_tables_rows_and_a_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads, still = save_balls(tmp_path / "heads", 3), photograph(tmp_path / "still.png")
    written = [tmp_path / name for name in ("all.csv", "all.json", "all.png")]
    options = [part for pair in zip(("--csv", "--json", "--sheet"), written, strict=True)
               for part in pair]  # fmt: skip
    code, said, complaints = run(capsys, heads, still, "--limit", 2, *options)
    assert code == 0, complaints
    assert f"## {heads} (held-out heads)" in said and f"## {still} (clip)" in said
    assert "target: ≥ 28 dB in the same view: FAILS" in said
    with written[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # Heads, views, methods; one photograph as the program and as the network shows it.
    assert len(rows) == 2 * 3 * 6 + 2
    assert rows[-2]["psnr_db"] and rows[-1]["ms_ssim"]
    told = json.loads(written[1].read_text("utf-8"))
    assert told["model"] == "default" and len(told["findings"]) == 2
    assert written[2].read_bytes().startswith(b"\x89PNG")


def test_a_scan_and_a_folder_of_photographs_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def face_in(picture: Path, *_: object) -> object:
        seen.append(picture)
        return random_face(1)

    monkeypatch.setattr(clip, "face_in", face_in)
    scan, folder = save_scan(tmp_path / "scan"), save_folder(tmp_path / "eg3d")
    code, said, complaints = run(capsys, scan, folder, "--limit", 2)
    assert code == 0, complaints
    assert seen == [scan / "still_yaw+00.png"]
    assert DETAIL in said and MEAN_DEPTH in said and "| | MSE ↓ | MS-SSIM ↑ |" in said
    assert "LPIPS is absent" in said


def test_a_face_in_a_photograph_is_cut_out_as_in_a_run(tmp_path: Path) -> None:
    still = photograph(tmp_path / "still.png")
    settings = app.Settings(matting="none", size=256, device="cpu")
    machine = app.pick_machine(settings)
    face = clip.face_in(still, settings, machine, small_networks())
    assert face is not None and face.crop.shape == (256, 256, 3)


def test_a_clip_without_a_face_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = small_networks()
    monkeypatch.setattr(networks.finder, "find", lambda rgb: [])
    monkeypatch.setattr(app, "load_networks", lambda *_: networks)
    code, _, complaints = run(capsys, photograph(tmp_path / "still.png"))
    assert code == 1
    assert "no face in the frames of" in complaints
    assert NoFaceError.__name__ not in complaints


def test_the_level_frame_undoes_the_crops_roll() -> None:
    """A bright spot right of the crop's middle lies, in the level frame, turned with the head."""
    picture = np.zeros((100, 120, 3), np.uint8)
    fit = CropFit(np.array([60.0, 50.0]), 80.0, 0.5)
    face = random_face(1, roll=0.5)
    assert np.allclose(face.image_from_crop, image_from_crop(fit, 48))
    alpha = np.zeros((48, 48), np.uint8)
    alpha[22:26, 38:42] = 255  # 16 crop pixels to the right: 26.7 of the picture
    x, y = 60 + 26.7 * np.cos(0.5), 50 + 26.7 * np.sin(0.5)
    rows, columns = np.mgrid[:100, :120] + 0.5
    picture[np.hypot(columns - x, rows - y) < 3] = 255
    turned = type(face)(face.crop, alpha, face.camera, face.image_from_crop, 1.0)
    own, matte, box = clip.level(picture, turned, 80)
    assert (box.side_px, box.roll_rad) == (pytest.approx(80), pytest.approx(0.5))
    for shown in (own[..., 0], matte):
        at = np.argwhere(shown > 127).mean(axis=0)
        assert at == pytest.approx([y - 50 + 40 - 0.5, x - 60 + 40 - 0.5], abs=0.7)


def test_a_still_picture_does_not_warp_and_a_flickering_one_does() -> None:
    pytest.importorskip("cv2")
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.ones((64, 64), np.float32)
    errors = clip.warping_errors(noise, noise, noise, noise, mask)
    assert errors == {"warping": 0.0, "source_warping": 0.0}
    brighter = np.full_like(noise, 151)
    errors = clip.warping_errors(noise, np.full_like(noise, 100), noise, brighter, mask)
    assert errors["warping"] == pytest.approx(0.04) and errors["source_warping"] == 0.0
