"""`tpvideo invert`, and `tpvideo eval --method`, with the smallest networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from balls import save_balls
from PIL import Image
from small_run import small_networks
from tiny import SIZES, tiny_network

from tpvideo.pipeline import app, cli
from tpvideo.pipeline.app import Networks
from tpvideo.pipeline.invert_command import views
from tpvideo.weights import inversions, store

FEW = ("--matting", "none", "--device", "cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(app, "load_networks", small_networks)
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    store.save(path, tiny_network().state_dict(), SIZES)
    return path


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """Noise of 96 x 64, where small_networks see a face."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "still.png")
    return tmp_path / "still.png"


class Ran:
    """What a command said, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
        self.code = int(caught.value.code or 0)
        self.said, self.complaint = capsys.readouterr()


def test_an_inversion_is_shown_scored_and_kept(
    photograph: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "face"
    asked = ("--method", "psp:generator", "--steps", 2, "--model", model, "-o", out)
    ran = Ran(capsys, "invert", photograph, *asked, *FEW)
    assert ran.code == 0, ran.complaint
    assert "generator: 2 of 2 steps, loss" in ran.said
    assert "same view: PSNR" in ran.said and "features of our face network" in ran.said
    assert "psp:generator:" in ran.said and "2 gradients each for generator" in ran.said
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (6 * 256, 256)  # the input, its view, four more
        shown = np.asarray(sheet).reshape(256, 6, 256, 3)
    network = small_networks().triplane
    found, label = inversions.load(out / "inversion.safetensors", network)
    again = views(network, found, label, 256)[0][0]
    expected = np.asarray((again.permute(1, 2, 0) + 1) * 127.5)
    np.testing.assert_allclose(shown[:, 1], expected, atol=0.51, rtol=0)  # rounding
    _, about = store.header(out / "inversion.safetensors")
    assert about["method"] == "psp:generator" and about["model"] == "tiny.safetensors"
    assert len(about["model_sha256"]) == 64


def test_a_prediction_optimises_nothing_and_says_so(
    photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, "invert", photograph, "-o", tmp_path / "out", *FEW)
    assert ran.code == 0, ran.complaint
    assert "encoder:" in ran.said and "predicted, nothing was optimised" in ran.said
    quiet = Ran(capsys, "invert", photograph, "-o", tmp_path / "still", "--quiet", *FEW)
    assert (quiet.code, quiet.said, quiet.complaint) == (0, "", "")


def test_a_clip_gives_its_first_face_and_heads_of_the_generator_their_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = save_balls(tmp_path / "heads", 2)
    ran = Ran(capsys, "invert", heads / "0000000.npz", "-o", tmp_path / "out", *FEW)
    assert ran.code == 0, ran.complaint
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_what_is_there_is_not_replaced_unless_asked(
    photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("invert", photograph, "--method", "psp", "-o", tmp_path / "out", *FEW)
    assert Ran(capsys, *asked).code == 0
    again = Ran(capsys, *asked)
    assert again.code == 1 and "sheet.png: it exists; --overwrite replaces it" in again.complaint
    assert Ran(capsys, *asked, "--overwrite").code == 0
    onto = Ran(capsys, *asked[: -len(FEW) - 1], photograph, *FEW)
    assert onto.code == 1 and "it is no folder" in onto.complaint


@pytest.mark.parametrize(
    ("asked", "code", "complaint"),
    [
        (("--method", "best"), 2, "--method: no inverter 'best'"),
        (("--method", "goae"), 2, "--method: goae is not here: it needs its authors' encoders"),
        (("--steps", "0"), 2, "0 is not in the range x>=1"),
    ],
)
def test_a_wrong_wish_is_one_clear_line(
    asked: tuple[str, str],
    code: int,
    complaint: str,
    photograph: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran = Ran(capsys, "invert", photograph, *asked, "-o", tmp_path / "out", *FEW)
    assert ran.code == code
    assert complaint in ran.complaint and ran.complaint.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_picture_without_a_face_is_named(
    photograph: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Nobody:
        def find(self, rgb: object) -> list[object]:
            return []

    faceless = Networks(tiny_network(), Nobody())  # type: ignore[arg-type]
    monkeypatch.setattr(app, "load_networks", lambda *_: faceless)
    ran = Ran(capsys, "invert", photograph, "-o", tmp_path / "out", *FEW)
    assert ran.code == 1
    assert ran.complaint == f"tpvideo: error: no face in {photograph}\n"


def test_inverters_are_compared_on_held_out_heads(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = save_balls(tmp_path / "heads", 2)
    asked = ("--method", "psp,encoder", "--steps", 1, "--model", model)
    ran = Ran(capsys, "eval", heads, *asked, "--csv", tmp_path / "rows.csv")
    assert ran.code == 0, ran.complaint
    assert "| psp | " in ran.said and "| encoder | " in ran.said
    assert "the encoder is better than its first branch alone" in ran.said
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + 2 * 2 * 4


def test_a_comparison_says_what_it_cannot_do(
    photograph: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = save_balls(tmp_path / "heads", 2)
    wrong = Ran(capsys, "eval", heads, "--method", "psp,best")
    assert wrong.code == 2 and "--method: no inverter 'best'" in wrong.complaint
    still = Ran(capsys, "eval", photograph, "--method", "psp", "--model", model)
    assert still.code == 2 and "--method compares on held-out heads" in still.complaint
