from __future__ import annotations

from pathlib import Path

import pytest

from tpvideo.pipeline.errors import ConfigError
from tpvideo.weights.training.config import LossWeights, Phase, TrainingConfig

GOOD = """
views = "runs/views"
output = "runs/out"
batch = 4
[[phases]]
name = "one"
samples = 100
rate = 1e-3
[[phases]]
name = "two"
samples = 50
rate = 5e-4
first = false
second = true
[loss]
depth = 3.5
[model]
side = 64
[model.encoder]
units = [1, 2, 2, 2]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_settings_are_read_with_their_tables(tmp_path: Path) -> None:
    config = TrainingConfig.read(written(tmp_path, GOOD))
    assert config.views == Path("runs/views") and config.output == Path("runs/out")
    assert config.phases == (
        Phase(name="one", samples=100, rate=1e-3),
        Phase(name="two", samples=50, rate=5e-4, first=False, second=True),
    )
    assert config.loss == LossWeights(depth=3.5)
    assert config.model == {"side": 64, "encoder": {"units": [1, 2, 2, 2]}}
    assert (config.batch, config.seed, config.fine) == (4, 0, -1)


def test_the_settings_of_the_shipped_model_are_readable() -> None:
    folder = Path(__file__).resolve().parents[3] / "weights/training"
    config = TrainingConfig.read(folder / "default.toml")
    assert config.phases and config.model["side"] % 16 == 0


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("batch = 4", "bach = 4", "unknown settings bach"),
        ("batch = 4", "batch = ", "cannot read settings from .*run.toml"),
        ('views = "runs/views"', "", "run.toml: 'views'"),
        ("[[phases]]", "[[stages]]", "unknown settings stages"),
        ("rate = 1e-3", "", "missing 1 required keyword-only argument: 'rate'"),
        ("rate = 1e-3", "rate = 1e-3\nrte = 1", "unexpected keyword argument 'rte'"),
        ("depth = 3.5", "dept = 3.5", "unexpected keyword argument 'dept'"),
        ("samples = 100", "samples = 0", "phase one: samples must be positive, got 0"),
        ("second = true", "second = false", "phase two: neither branch learns"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    assert before in GOOD
    with pytest.raises(ConfigError, match=complaint):
        TrainingConfig.read(written(tmp_path, GOOD.replace(before, after)))


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read settings from .*nothing.toml"):
        TrainingConfig.read(tmp_path / "nothing.toml")
    binary = tmp_path / "picture.toml"
    binary.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match=r"cannot read settings from .*picture.toml"):
        TrainingConfig.read(binary)
