from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import convert, download, manifest
from tpvideo.weights.cli import weights
from tpvideo.weights.manifest import ModelFile

MODNET = "modnet_photographic_portrait_matting.onnx"


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(weights, arguments, input=answer, catch_exceptions=False)


@pytest.fixture
def arrival(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pretends that downloads work; names what was fetched."""
    fetched = []

    def fetch(model: ModelFile, target: Path, _progress: object) -> None:
        fetched.append(model.name)
        target.write_bytes(b"numbers")

    monkeypatch.setattr(download, "fetch", fetch)
    return fetched


def test_every_entry_of_the_manifest_is_complete() -> None:
    for model in manifest.known().values():
        assert model.licence.endswith(".") and len(model.licence) > 30
        assert model.about
        assert bool(model.urls) != (model.kind == "shipped")
        assert (model.original is not None) == (model.kind in ("checkpoint", "archive"))
        assert bool(model.members) == (model.kind == "archive")
        assert model.sha256 is None or len(bytes.fromhex(model.sha256)) == 32
        for needed in model.after:
            assert manifest.entry(needed).kind == "checkpoint"


def test_list_names_every_known_file_and_ones_own(own_directory: Path) -> None:
    own_directory.mkdir()
    (own_directory / "mine.safetensors").write_bytes(b"x")
    (own_directory / MODNET).write_bytes(b"x")
    lines = run("list").stdout.splitlines()
    states = {line.split()[0]: line.split()[1] for line in lines}
    assert set(manifest.known()) | {"mine"} == set(states)
    assert states["default"] == "shipped"
    assert states["modnet"] == "here"
    assert states["ffhq512"] == "-"
    assert states["mine"] == "yours"


def test_listing_does_not_load_torch() -> None:
    code = "import sys, tpvideo.weights.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pull_records_the_hash_and_verify_holds_the_file_to_it(
    own_directory: Path, arrival: list[str]
) -> None:
    assert "is here" in run("pull", "ir-se50", "--accept-licence").stdout
    assert arrival == ["ir-se50"]
    path = own_directory / "model_ir_se50.pth"
    assert manifest.recorded(path.name) == hashlib.sha256(b"numbers").hexdigest()
    assert "intact" in run("verify", "ir-se50").stdout
    path.write_bytes(b"numbres")
    with pytest.raises(WeightsError, match="not well: ir-se50; delete the file"):
        run("verify", "ir-se50")


def test_pull_of_what_is_here_fetches_nothing(own_directory: Path, arrival: list[str]) -> None:
    own_directory.mkdir()
    (own_directory / MODNET).write_bytes(b"x")
    assert "modnet is here" in run("pull", "modnet").stdout
    assert "comes with the package" in run("pull", "default").stdout
    assert arrival == []


def test_a_free_licence_needs_no_answer(arrival: list[str]) -> None:
    run("pull", "modnet")
    assert arrival == ["modnet"]


def test_a_licence_with_conditions_is_shown_and_asked_for_once(
    own_directory: Path, arrival: list[str]
) -> None:
    with pytest.raises(WeightsError, match="its licence was not accepted"):
        run("pull", "rvm", answer="n\n")
    assert arrival == []
    result = run("pull", "rvm", answer="y\n")
    assert "GPL-3.0" in result.stderr
    assert arrival == ["rvm"]
    (own_directory / "rvm.onnx").unlink()
    run("pull", "rvm")  # no answer: it was accepted before
    assert arrival == ["rvm", "rvm"]


def test_pull_fetches_and_converts_what_a_checkpoint_needs_first(
    own_directory: Path, arrival: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tpvideo.weights import convert

    converted = []

    def import_file(path: Path, *, name: str) -> Path:
        converted.append((path.name, name))
        return own_directory / f"{name}.safetensors"

    monkeypatch.setattr(convert, "import_file", import_file)
    run("pull", "ffhq512", "--accept-licence")
    assert arrival == ["eg3d-ffhq512-128", "ffhq512"]
    assert converted == [
        ("ffhq512-128.pth", "eg3d-ffhq512-128"),
        ("triplanenet_v2_final.pth", "ffhq512"),
    ]


def test_pull_unpacks_an_archive_and_checks_its_members(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"det_10g.onnx": b"detector", "1k3d68.onnx": b"landmarks", "more.onnx": b"x"}

    def fetch(_model: ModelFile, target: Path, _progress: object) -> None:
        with zipfile.ZipFile(target, "w") as archive:
            for name, data in content.items():
                archive.writestr(f"buffalo_l/{name}", data)

    monkeypatch.setattr(download, "fetch", fetch)
    with pytest.raises(WeightsError, match=r"det_10g\.onnx in .* differs from the one we know"):
        run("pull", "buffalo_l", "--accept-licence")
    members = tuple(
        (name, hashlib.sha256(data).hexdigest()) for name, data in list(content.items())[:2]
    )
    model = replace(manifest.entry("buffalo_l"), members=members)
    monkeypatch.setitem(manifest.known(), "buffalo_l", model)
    run("pull", "buffalo_l", "--accept-licence")
    assert model.is_here
    names = sorted(path.name for path in (own_directory / "buffalo_l").iterdir())
    assert names == ["1k3d68.onnx", "det_10g.onnx"]
    assert not (own_directory / "buffalo_l.zip").exists()
    assert "intact" in run("verify", "buffalo_l").stdout
    (own_directory / "buffalo_l" / "1k3d68.onnx").write_bytes(b"other")
    with pytest.raises(WeightsError, match="not well: buffalo_l"):
        run("verify", "buffalo_l")


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="no model file is called modnt; there are default"):
        run("pull", "modnt")


def test_path_and_licence_are_printed_alone(own_directory: Path) -> None:
    assert run("path").stdout.strip() == str(own_directory)
    assert run("licence", "ffhq512").stdout.startswith("Code MIT")
    own_directory.mkdir()
    (own_directory / MODNET).write_bytes(b"x")
    assert run("path", "modnet").stdout.strip() == str(own_directory / MODNET)
    with pytest.raises(WeightsError, match="no weights named ffhq512"):
        run("path", "ffhq512")


def test_verify_of_a_file_that_is_not_here_fails() -> None:
    with pytest.raises(WeightsError, match="not well: modnet"):
        run("verify", "modnet")


def test_import_refuses_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(WeightsError, match="begins with 68 65 6c 6c"):
        run("import", str(path))


def test_an_import_whose_licence_nobody_accepts_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    converted = tmp_path / "ffhq512.safetensors"
    monkeypatch.setattr(convert, "import_file", lambda *_, **__: converted)
    converted.write_bytes(b"x")
    with pytest.raises(WeightsError, match="its licence was not accepted"):
        run("import", str(tmp_path / "any.pt"))
    assert not converted.exists()
    converted.write_bytes(b"x")
    run("import", "--accept-licence", str(tmp_path / "any.pt"))
    assert converted.exists()
