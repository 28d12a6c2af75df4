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


def test_single_settings_are_changed_without_another_file(tmp_path: Path) -> None:
    """As the ablations of the paper's table 4 are."""
    path = written(tmp_path, GOOD + '[paper]\nmetric = "face"\n')
    changes = ["paper.mirror=0.005", "batch = 6", "loss.depth=0", 'output="runs/else"']
    config = TrainingConfig.read(path, changes)
    assert config.paper is not None
    assert (config.paper.mirror, config.paper.metric) == (0.005, "face")
    assert (config.batch, config.loss.depth, config.output) == (6, 0, Path("runs/else"))
    for wrong in ("batch", "batch=", "batch.size=3", "paper.mirror=nothing"):
        with pytest.raises(ConfigError, match=r"--set takes table.name=VALUE"):
            TrainingConfig.read(path, [wrong])
    with pytest.raises(ConfigError, match="unknown settings bach"):
        TrainingConfig.read(path, ["bach=1"])


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("batch = 4", 'batch = 4\noptimiser = "sgd"', "optimiser must be one of adam, ranger"),
        ("batch = 4", 'batch = 4\nprecision = "int8"', "precision must be one of auto"),
        ("batch = 4", "batch = 1", "a batch of at least 2"),
        ("batch = 4", "batch = 4\nlanes = 0", "lanes must be at least 1"),
        ("[loss]", '[[further]]\nfolder = "a"\nshare = 1.5\n[loss]', "a: share must be between"),
        ("[loss]", '[paper]\nmetric = "ssim"\n[loss]', "paper.metric must be lpips-alex"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        TrainingConfig.read(written(tmp_path, GOOD.replace(before, after)))


def test_shares_of_further_folders_leave_something(tmp_path: Path) -> None:
    two = '[[further]]\nfolder = "a"\nshare = 0.6\n[[further]]\nfolder = "b"\nshare = 0.6\n[loss]'
    with pytest.raises(ConfigError, match="add up to more than 1"):
        TrainingConfig.read(written(tmp_path, GOOD.replace("[loss]", two)))


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
