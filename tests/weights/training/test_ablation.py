from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from balls import save_balls
from click.testing import CliRunner
from PIL import Image
from tiny import SIZES, labels, tiny_network

from tpvideo.pipeline.errors import ConfigError
from tpvideo.weights import store
from tpvideo.weights.evaluation.heldout import HeldOut
from tpvideo.weights.evaluation.report import FAR_RAD
from tpvideo.weights.evaluation.variants import rows_of, tables
from tpvideo.weights.training import ablation
from tpvideo.weights.training.__main__ import main
from tpvideo.weights.training.config import PaperWeights, TrainingConfig
from tpvideo.weights.training.critics import Critics
from tpvideo.weights.training.packed import pack
from tpvideo.weights.training.start import fresh_network

SHIPPED = Path(__file__).resolve().parents[3] / "weights/training/ablations.toml"

BASE = """
views = "VIEWS"
output = "OUT"
start = "MODEL"
batch = 2
look_steps = 0
points = 16
patch = 8
phases = [{ name = "both", samples = 2, rate = 1e-2, second = true }]
"""

VARIANTS = """
base = "base.toml"
[settings.paper]
metric = "face"
mirror = 0.1
identity = 0.0
mirror_identity = 0.0
side = 32
raw_side = 8
[[variants]]
name = "ours"
[[variants]]
name = "without L_m"
settings = { paper = { mirror = 0.0 } }
[[variants]]
name = "one branch"
settings.phases = [{ name = "first", samples = 2, rate = 1e-2 }]
[[variants]]
name = "one branch, without L_m"
like = "one branch"
settings = { paper = { mirror = 0.0 } }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four variants that begin with a tiny model; balls of 256 pixels in `tmp_path / "heads"`."""
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "weights"))
    heads = save_balls(tmp_path / "heads", 2, side=256)
    pack(save_balls(tmp_path / "small", 2), tmp_path / "views")
    store.save(tmp_path / "model.safetensors", tiny_network().state_dict(), SIZES)
    text = BASE.replace("VIEWS", str(tmp_path / "views")).replace("OUT", str(tmp_path / "out"))
    text = text.replace("MODEL", str(tmp_path / "model.safetensors"))
    text += "[model]\n" + "\n".join(f"{k} = {toml(v)}" for k, v in SIZES.items())
    (tmp_path / "base.toml").write_text(text)
    path = tmp_path / "variants.toml"
    path.write_text(VARIANTS)
    assert heads.is_dir()
    return path


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def test_variants_join_tables_and_replace_the_rest(file: Path) -> None:
    ours, without, one, both = ablation.read(file, ["seed=5"])
    assert [v.name for v in (ours, without)] == ["ours", "without L_m"]
    assert ours.config.paper == PaperWeights(
        metric="face", identity=0, mirror_identity=0, side=32, raw_side=8
    )
    assert without.config.paper is not None and without.config.paper.mirror == 0.0
    assert without.config.paper.side == 32 and without.config.seed == 5
    assert [phase.name for phase in one.config.phases] == ["first"]
    assert both.config.phases == one.config.phases and both.config.paper == without.config.paper
    folders = {v.config.output.name for v in (ours, without, one, both)}
    assert folders == {"ours", "without-l-m", "one-branch", "one-branch-without-l-m"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('base = "base.toml"', "lists no variants"),
        ('base = "absent.toml"\nvariants = []', "cannot read settings"),
        ('base = "base.toml"\nmore = 1\n[[variants]]\nname = "a"', "unknown settings more"),
        ('base = "base.toml"\n[[variants]]\nname = "a"\nlike = "b"', "lists no variants"),
        ('base = "base.toml"\n[[variants]]\nname = "a"\n[[variants]]\nname = "a"', "same name"),
        (
            'base = "base.toml"\n[[variants]]\nname = "a"\nsettings = { sead = 1 }',
            "variants.toml, a: unknown settings sead",
        ),
    ],
)
def test_a_file_that_lists_no_variants_is_named(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        ablation.read(file)


def test_the_shipped_file_lists_the_papers_variants() -> None:
    variants = {v.name: v.config for v in ablation.read(SHIPPED)}
    mirrors = {c.paper.mirror for c in variants.values() if c.paper is not None}
    assert mirrors == {0.0, 0.005, 0.1, 0.5}
    assert len({c.output for c in variants.values()}) == len(variants)
    shares = {float(sum(item.share for item in c.further)) for c in variants.values()}
    assert shares == {0.0, 0.125, 0.42, 0.59, 0.68}
    for name, config in variants.items():
        assert any(phase.second for phase in config.phases) == ("no 2nd branch" not in name)
        assert not any(phase.generator for phase in config.phases)


def test_the_perceptual_term_is_all_that_differs_where_its_worth_is_measured() -> None:
    without, with_it = (v.config for v in ablation.read(SHIPPED.with_name("perceptual.toml")))
    assert without.loss.perceptual == 0 < with_it.loss.perceptual
    same = replace(with_it, loss=without.loss, output=without.output)
    assert same == without and without.start == "default"


def test_the_command_trains_scores_and_tables_each_variant_once(file: Path) -> None:
    def ablate(*more: str) -> str:
        arguments = ["ablate", str(file), str(file.parent / "heads"), "--threads", "1", *more]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output[result.output.index("| | MSE") :]

    said = ablate()
    methods = [line.split(" | ")[0].strip("| ") for line in said.splitlines()]
    names = [v.name for v in ablation.read(file)]
    assert [m for m in methods if m == ablation.START or m in names] == [
        ablation.START, *names, ablation.START, *names[1:],
    ]  # fmt: skip
    assert "Less ours, head by head" in said
    scores = file.parent / "out/ours/scores.json"
    before = scores.stat().st_mtime_ns
    assert ablate("--sheet", str(file.parent / "a.png")) == said
    assert scores.stat().st_mtime_ns == before
    with Image.open(file.parent / "a.png") as sheet:
        assert sheet.size == ((1 + len(names)) * 128, 2 * 2 * 128)
    _check_uncertainty(file.parent)


def _check_uncertainty(folder: Path) -> None:
    """The σ network that a variant learnt can be shown; one without the prior has none."""
    picture, heads = str(folder / "sigma.png"), str(folder / "heads")
    shown = CliRunner().invoke(
        main, ["uncertainty", str(folder / "out/ours/checkpoint.pt"), heads, picture]
    )
    assert shown.exit_code == 0 and shown.output.startswith("σ from 0."), shown.output
    with Image.open(picture) as sheet:
        assert sheet.size == (3 * 128, 2 * 128)
    other = folder / "out/without-l-m/checkpoint.pt"
    refused = CliRunner().invoke(main, ["uncertainty", str(other), heads, picture])
    assert refused.exit_code == 1 and "has no σ network" in refused.output


def test_heads_are_scored_in_their_own_view_and_from_afar(tmp_path: Path) -> None:
    heads = HeldOut.read(save_balls(tmp_path / "heads", 2, side=256))
    rows = list(rows_of(tiny_network(), heads, "ours", Critics()))
    same, far = (
        [row for row in rows if ("mse" in row.scores) == is_same] for is_same in (True, False)
    )
    assert len(same) == 2 and all(row.turn_rad == 0 for row in same)
    assert len(far) == 2 * 2 and all(row.turn_rad >= FAR_RAD for row in far)  # of balls.ANGLES
    assert {"mse", "ms_ssim"} <= same[0].scores.keys()
    assert {
        "far_psnr_db", "far_ssim", "far_ms_ssim", "far_sharpness", "far_features"
    } <= far[0].scores.keys()  # fmt: skip
    assert "MS-SSIM ↑" in tables(rows, "ours") and "LPIPS" not in tables(rows, "ours")


def test_a_run_without_the_second_branch_leaves_the_planes_as_the_first_made_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.safetensors"
    store.save(path, tiny_network().state_dict(), SIZES)
    table = {"views": "", "output": "", "start": str(path), "model": SIZES}
    for second in (False, True):
        phase = {"name": "a", "samples": 2, "rate": 1e-3, "second": second}
        network = fresh_network(TrainingConfig.parse({**table, "phases": [phase]}, "test")).eval()
        random = torch.Generator().manual_seed(3)
        pictures = torch.rand(1, 3, 32, 32, generator=random) * 2 - 1
        with torch.no_grad():
            found = network.invert(pictures, labels((0.1, 0.0)))
        assert torch.equal(found.first, found.planes) != second
