"""What the doctor says of this machine, of whole and of damaged model files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny import SIZES, tiny_network

from tpvideo.pipeline import doctor, doctor_machine, doctor_models
from tpvideo.pipeline.finding import Finding
from tpvideo.stages.codecs import CODECS
from tpvideo.weights import manifest, store

RUNS_ON_CPU = "on cpu float32"


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "weights"
    directory.mkdir()
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(directory))
    return directory


@pytest.fixture
def only_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the shipped models out: they take seconds."""
    some = {name: model for name, model in manifest.known().items() if model.kind != "shipped"}
    monkeypatch.setattr(manifest, "known", lambda: some)


def save_tiny(directory: Path, name: str = "tiny") -> Path:
    path = directory / f"{name}.safetensors"
    store.save(path, tiny_network().state_dict(), SIZES)
    return path


def named(findings: list[Finding], topic: str, name: str) -> Finding:
    (found,) = [f for f in findings if (f.topic, f.name) == (topic, name)]
    return found


# --- models -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("only_own_files")
def test_an_own_model_is_run_and_compared_with_float32(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_machine, "has_avx512_bf16", lambda: True)
    save_tiny(own_directory)
    findings = list(doctor_models.examine())
    assert named(findings, "weights", "tiny").state == "ok"
    assert named(findings, "run", f"tiny {RUNS_ON_CPU}").state == "ok"
    half = named(findings, "run", "tiny on cpu bfloat16")
    assert half.state == "ok"
    assert 40 < float(str(half.figures["psnr_db"])) < doctor_models.MOST_DB


@pytest.mark.usefixtures("only_own_files")
def test_a_model_that_draws_nothing_fails(own_directory: Path) -> None:
    network = tiny_network()
    network.get_parameter("psp_encoder.input_layer.0.weight").fill_(float("nan"))
    store.save(own_directory / "tiny.safetensors", network.state_dict(), SIZES)
    finding = named(list(doctor_models.examine()), "run", f"tiny {RUNS_ON_CPU}")
    assert (finding.state, finding.is_needed) == ("failed", False)
    assert finding.fix


@pytest.mark.usefixtures("only_own_files")
@pytest.mark.parametrize("name", ["ffhq512", "mine"])
def test_a_damaged_file_is_named_with_the_fix(own_directory: Path, name: str) -> None:
    path = own_directory / f"{name}.safetensors"
    path.write_bytes(b"no numbers")
    findings = list(doctor_models.examine())
    finding = named(findings, "weights", name)
    assert finding.state == "failed"
    assert str(path) in finding.said
    assert f"delete {path}" in finding.fix
    assert [f for f in findings if f.topic == "run"] == []


@pytest.mark.usefixtures("only_own_files")
def test_one_changed_byte_is_noticed_where_the_hash_is_known(own_directory: Path) -> None:
    path = save_tiny(own_directory)
    manifest.record(path.name, manifest.sha256_of(path))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    finding = named(list(doctor_models.examine()), "weights", "tiny")
    assert finding.state == "failed"
    assert "does not have the bytes it came with" in finding.said


@pytest.mark.usefixtures("only_own_files")
def test_a_file_without_all_its_tensors_fails_when_it_is_run(own_directory: Path) -> None:
    state = tiny_network().state_dict()
    del state["latent_avg"]
    store.save(own_directory / "tiny.safetensors", state, SIZES)
    finding = named(list(doctor_models.examine()), "run", "tiny")
    assert finding.state == "failed"
    assert "1 missing (latent_avg)" in finding.said


@pytest.mark.usefixtures("only_own_files")
def test_a_matting_file_that_is_none_stands_in_the_way(own_directory: Path) -> None:
    (own_directory / "modnet_photographic_portrait_matting.onnx").write_bytes(b"no network")
    finding = named(list(doctor_models.examine()), "weights", "modnet")
    assert (finding.state, finding.is_needed) == ("failed", True)  # --matting auto would take it
    assert "tpvideo weights pull modnet" in finding.fix


@pytest.mark.parametrize("name", ["default", "face", "matting"])
def test_without_a_shipped_file_the_default_model_cannot_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = manifest.entry(name)
    monkeypatch.setattr(manifest, "known", lambda: {name: model})
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path / "package")
    (_, finding) = doctor_models.examine()
    assert (finding.state, finding.is_needed) == ("failed", True)
    assert "install tpvideo again" in finding.fix


def test_a_weights_folder_that_is_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "file"))
    monkeypatch.setattr(manifest, "known", dict)
    (finding,) = doctor_models.examine()
    assert (finding.state, finding.fix) == ("failed", "set TPVIDEO_WEIGHTS to a folder")


def test_decibels_are_worked_by_hand() -> None:
    wanted = np.zeros((3, 4))
    assert doctor_models.psnr(wanted + 0.2, wanted, 2.0) == pytest.approx(20.0)
    assert doctor_models.psnr(wanted, wanted, 2.0) == doctor_models.MOST_DB


# --- machine ------------------------------------------------------------------------------------


def test_an_encoder_that_is_none_is_complained_of() -> None:
    assert doctor_machine.try_encoder("no_such_encoder", "yuv420p", {}) is not None
    assert doctor_machine.try_encoder("libx264", "no_such_pixels", {}) is not None


def test_the_machine_is_described() -> None:
    findings = list(doctor_machine.examine())
    assert {"amx", "avx512_bf16", "bf16"} < set(named(findings, "device", "cpu").figures)
    assert torch.__version__ in named(findings, "system", "torch").said
    assert {f.name for f in findings if f.topic == "encoder"} == {*CODECS, "h264_nvenc"}
    assert all(named(findings, "encoder", name).state == "ok" for name in CODECS)
    (onnx, *_) = [f for f in findings if f.topic == "onnx"]
    assert onnx.figures["obtained"] == ["CPUExecutionProvider"]
    assert {f.topic for f in findings} >= {"camera", "extra"}


# --- the command --------------------------------------------------------------------------------


def with_findings(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr(doctor_machine, "examine", lambda: iter(findings))
    monkeypatch.setattr(doctor_models, "examine", lambda: iter(()))


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (Finding("run", "default", "ok", "runs", is_needed=True), 0),
        (Finding("run", "ffhq512", "failed", "no", "pull it again"), 0),
        (Finding("run", "default", "failed", "no", "install it again", is_needed=True), 1),
    ],
)
def test_only_what_the_default_model_needs_decides_the_exit_code(
    finding: Finding, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_findings(monkeypatch, finding)
    result = CliRunner().invoke(doctor.doctor)
    assert result.exit_code == code
    assert finding.fix in result.output
    assert ("cannot run: see run default" in result.output) == bool(code)


def test_a_check_that_breaks_is_reported_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("of all things")
        yield

    monkeypatch.setattr(doctor_machine, "examine", broken)
    monkeypatch.setattr(doctor_models, "examine", lambda: iter(()))
    result = CliRunner().invoke(doctor.doctor, ["--json"])
    report = json.loads(result.output)
    assert result.exit_code == 1
    assert "ZeroDivisionError: of all things" in report["checks"][-1]["said"]


@pytest.mark.slow  # runs the shipped models
def test_the_whole_report_as_json(own_directory: Path) -> None:
    (own_directory / "ffhq512.safetensors").write_bytes(b"no numbers")
    result = CliRunner().invoke(doctor.doctor, ["--json"])
    report = json.loads(result.output)
    assert report["default_model_can_run"] is True
    assert result.exit_code == 0
    fields = {"topic", "name", "state", "said", "fix", "is_needed", "figures"}
    assert all(set(check) == fields for check in report["checks"])
    states = {(check["topic"], check["name"]): check["state"] for check in report["checks"]}
    for name in ("default", "face", "matting"):
        assert states["weights", name] == states["run", f"{name} {RUNS_ON_CPU}"] == "ok"
    assert states["weights", "ffhq512"] == "failed"
