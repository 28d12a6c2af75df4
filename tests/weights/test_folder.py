from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import folder


def test_the_platform_chooses_a_directory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TPVIDEO_WEIGHTS", raising=False)
    assert folder.directory().name == "weights"
    assert folder.directory().parent.name == "tpvideo"


def test_a_name_means_a_file_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path))
    (tmp_path / "a.onnx").touch()
    (tmp_path / "b.safetensors").touch()
    assert folder.find("a") == tmp_path / "a.onnx"
    assert folder.find("b") == folder.locate("b") == tmp_path / "b.safetensors"
    with pytest.raises(WeightsError, match=r"no weights named c .*weights pull c"):
        folder.find("c")
    with pytest.raises(WeightsError, match=r"no model file .*d\.onnx"):
        folder.locate(tmp_path / "d.onnx")


HOLDER = """
import sys
from pathlib import Path
from tpvideo.weights import folder

with folder.lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks the lock without waiting, by fcntl")
def test_a_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "file"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin and holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with open(f"{path}.lock", "a+b") as handle, pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.communicate(b"\n", timeout=240)
    with folder.lock(path):
        pass  # free again
