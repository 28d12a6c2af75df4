"""Who may import whom, and which heavy or native library each folder may touch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Beyond these, only the standard library and numpy are free for all.
GUARDED = {
    "PIL", "aiohttp", "av", "click", "cv2", "decord", "ffmpeg", "fsspec", "insightface", "numba",
    "onnx", "onnxruntime", "platformdirs", "pyvirtualcam", "ray", "rich", "safetensors", "scipy",
    "skimage", "torch", "torchvision", "tpvideo", "trimesh", "triton",
}  # fmt: skip

WEIGHTS = {
    "tpvideo.pipeline.errors", "tpvideo.pipeline.frame", "tpvideo.stages.networks",
    "tpvideo.stages.geometry", "tpvideo.stages.pixels", "tpvideo.weights",
    "torch", "safetensors", "platformdirs",
}  # fmt: skip

# Folder or file -> what of the guarded ones it may import. The longest match counts.
MAY_IMPORT = {
    "pipeline": {"tpvideo.pipeline"},
    "pipeline/_root": {"tpvideo.pipeline"},
    "pipeline/app.py": {"tpvideo", "onnxruntime", "torch"},
    "pipeline/batch": {"tpvideo.pipeline"},
    "pipeline/batch/command.py": {"tpvideo", "click"},
    "pipeline/batch/machine.py": {"tpvideo.pipeline", "torch"},
    "pipeline/batch/parts.py": {"tpvideo.pipeline", "tpvideo.stages"},
    "pipeline/batch/plan.py": {"tpvideo.pipeline", "tpvideo.stages.codecs"},
    "pipeline/batch/poster.py": {"tpvideo.pipeline", "tpvideo.stages", "PIL"},
    "pipeline/batch/ray_cluster.py": {"tpvideo", "ray"},
    "pipeline/batch/remote.py": {"tpvideo.pipeline", "fsspec"},
    "pipeline/batch/work.py": {"tpvideo.pipeline", "tpvideo.stages"},
    "pipeline/batch/storage.py": {"tpvideo.pipeline", "tpvideo.weights.folder"},
    "pipeline/batch/table.py": {"tpvideo.pipeline", "rich"},
    "pipeline/benchmark": {"tpvideo.pipeline", "PIL", "av"},
    "pipeline/benchmark/command.py": {"tpvideo.pipeline", "click", "rich", "torch"},
    "pipeline/benchmark/timing.py": {
        "tpvideo.pipeline", "tpvideo.stages.networks.tally", "torch"
    },
    "pipeline/cli.py": {"tpvideo", "click"},
    "pipeline/doctor.py": {"tpvideo.pipeline", "click"},
    "pipeline/doctor_machine.py": {"tpvideo", "av", "onnxruntime", "torch"},
    "pipeline/doctor_models.py": {"tpvideo", "torch"},
    "pipeline/editing": {"tpvideo", "torch"},
    "pipeline/editing/command.py": {"tpvideo", "click"},
    "pipeline/editing/sheet.py": {"tpvideo", "PIL"},
    "pipeline/evaluation": {"tpvideo"},
    "pipeline/evaluation/command.py": {"tpvideo", "click"},
    "pipeline/invert_command.py": {"tpvideo", "click", "torch", "PIL"},
    "pipeline/live": {"tpvideo.pipeline", "tpvideo.stages"},
    "pipeline/live/command.py": {"tpvideo.pipeline", "tpvideo.stages", "click"},
    "pipeline/live/page": {"tpvideo.pipeline", "tpvideo.stages", "PIL", "aiohttp"},
    "pipeline/live/view.py": {"tpvideo.pipeline", "tpvideo.stages", "PIL"},
    "pipeline/live/virtual_camera.py": {"tpvideo.pipeline", "pyvirtualcam"},
    "pipeline/mesh": {"tpvideo", "torch", "PIL"},
    "pipeline/mesh/command.py": {"tpvideo", "click"},
    "pipeline/options.py": {"tpvideo.pipeline", "click"},
    "pipeline/resume.py": {"tpvideo.pipeline", "tpvideo.stages.ledger"},
    "pipeline/run_key.py": {"tpvideo.pipeline", "torch"},
    "pipeline/recorded.py": {"tpvideo"},
    "pipeline/verify.py": {"tpvideo", "click"},
    "pipeline/progress.py": {"tpvideo.pipeline", "rich"},
    "stages": {
        "tpvideo.pipeline", "tpvideo.stages", "tpvideo.weights.store",
        "PIL", "av", "decord", "ffmpeg", "insightface", "onnxruntime", "torch",
    },
    "stages/networks": {"tpvideo.stages.networks", "torch"},
    "stages/cut_kernel.py": {"tpvideo.stages.networks.vectors"},
    "stages/detail_kernel.py": {"tpvideo.stages"},
    "stages/grid_kernel.py": {"tpvideo.stages.loops", "tpvideo.stages.networks.vectors"},
    "stages/loops.py": {"llvmlite", "numba"},
    "stages/paint_kernel.py": {"tpvideo.stages"},
    "stages/networks/vectors.py": {"llvmlite", "numba"},
    "stages/networks/gpu_march_kernel.py": {"triton"},
    "weights": WEIGHTS,
    "weights/cli.py": WEIGHTS | {"click", "rich"},
    "weights/training": WEIGHTS | {"PIL", "av", "cv2", "numba", "onnx", "onnxruntime", "scipy"},
    "weights/evaluation": WEIGHTS | {"PIL", "tpvideo.stages"},
    "weights/evaluation/surfaces.py": WEIGHTS | {"scipy", "tpvideo.stages"},
}  # fmt: skip

# Programs may read a command line as well.
PROGRAMS = (
    "__main__.py",
    "weights/parity.py",
    "weights/training/heads/pairs.py",
    "weights/training/heads/talk.py",
)

# The one module that nobody but the root, the command line and the tests may build upon.
ONLY_FOR = {
    "tpvideo.pipeline.app": {
        "pipeline/_root/__init__.py",
        "pipeline/cli.py",
        "pipeline/batch/work.py",
        "pipeline/benchmark/command.py",
        "pipeline/benchmark/timing.py",
        "pipeline/editing/command.py",
        "pipeline/editing/faces.py",
        "pipeline/evaluation/clip.py",
        "pipeline/evaluation/command.py",
        "pipeline/live/assembly.py",
        "pipeline/live/session.py",
        "pipeline/mesh/heads.py",
        "pipeline/mesh/turntable.py",
        "pipeline/recorded.py",
    }
}

FILES = sorted(
    path for folder in ("pipeline", "stages", "weights") for path in (ROOT / folder).rglob("*.py")
)


def imports_of(source: str) -> set[str]:
    """Every module a file names in an import, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in GUARDED}


def is_within(name: str, allowed: set[str]) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in allowed)


def stray_imports(where: str, source: str) -> set[str]:
    """The imports that a file at this path may not make."""
    rule = max((key for key in MAY_IMPORT if f"{where}/".startswith(f"{key}/")), key=len)
    allowed = MAY_IMPORT[rule] | ({"click"} if where.endswith(PROGRAMS) else set())
    names = imports_of(source)
    stray = {name for name in names if not is_within(name, allowed)}
    for module, readers in ONLY_FOR.items():
        if where not in readers:
            stray |= {name for name in names if is_within(name, {module})}
    return stray


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_stay_in_their_layer(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    stray = stray_imports(where, path.read_text(encoding="utf-8"))
    assert not stray, f"{where} may not import {sorted(stray)}"


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("pipeline/runner.py", "import torch"),
        ("pipeline/runner.py", "def later():\n    from tpvideo.stages import face"),
        ("stages/networks/layers.py", "from tpvideo.pipeline import Stage"),
        ("stages/face.py", "import cv2"),
        ("stages/face.py", "from tpvideo.weights.training import loop"),
        ("stages/face.py", "from tpvideo.pipeline import app"),
        ("weights/store.py", "from tpvideo.stages import face"),
    ],
)
def test_a_breach_is_noticed(where: str, source: str) -> None:
    assert stray_imports(where, source)


@pytest.mark.parametrize("module", ["tpvideo", "tpvideo.pipeline", "tpvideo.pipeline.cli"])
def test_import_is_light(module: str) -> None:
    code = (
        f"import sys, {module}; print(sorted({{'torch', 'av', 'onnxruntime'}} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert result.stdout.strip() == "[]"
