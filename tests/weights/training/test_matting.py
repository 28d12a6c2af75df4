from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("onnx", reason="needs the training extra")

import cv2
import onnx
import onnxruntime

from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.stages import geometry
from tpvideo.stages.networks.matting import MattingNetwork
from tpvideo.weights import training
from tpvideo.weights.training.backdrops import Backdrops
from tpvideo.weights.training.bodies import Layer, anatomy_of, dressed, over
from tpvideo.weights.training.matting import (
    MattingRecipe,
    matting_loss,
    read_recipe,
    score,
    train,
)
from tpvideo.weights.training.matting_export import export_onnx
from tpvideo.weights.training.portraits import PortraitBatches, Portraits, head_files


def save_heads(folder: Path, seeds: list[int]) -> Path:
    """Busts as the head generator writes them: an ellipse with 68 points where a face has them."""
    folder.mkdir(exist_ok=True)
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([160 + 30 * np.cos(turn), 150 + 40 * np.sin(turn)], axis=1)
    points = np.tile([160.0, 150.0], (68, 1))
    points[:17], points[27] = jaw, (160, 145)
    rows, columns = np.mgrid[0:320, 0:320]
    alpha = ((columns - 160) / 34) ** 2 + ((rows - 145) / 48) ** 2 < 1
    bust = np.zeros((320, 320, 4), np.uint8)
    bust[alpha] = (200, 150, 130, 255)
    for seed in seeds:
        np.savez(
            folder / f"{seed:07d}.npz",
            w_rgba=bust[None],
            w_lm68=points[None].astype(np.float32),
            w_c2w=geometry.label_camera(0, 0)[None].astype(np.float32),
            w_focal=np.array([0.5 * geometry.FOCAL], np.float32),
            rgba=bust[None, 32:288, 32:288],
            lm68=points[None].astype(np.float32) - 32,
        )
    return folder


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    return save_heads(tmp_path / "heads", [1, 2, 900_000])


@pytest.fixture
def recipe(tmp_path: Path, heads: Path) -> MattingRecipe:
    panoramas = tmp_path / "panoramas"
    panoramas.mkdir()
    cv2.imwrite(str(panoramas / "grey.jpg"), np.full((32, 64, 3), 90, np.uint8))
    return MattingRecipe(
        heads=str(heads),
        held_out=str(heads),
        panoramas=str(panoramas),
        output=str(tmp_path / "run"),
        steps=2,
        small_steps=2,
        batch=2,
        save_every=1,
    )


def test_held_out_heads_are_never_trained_on(heads: Path) -> None:
    assert [file.stem for file in head_files(heads, held_out=False)] == ["0000001", "0000002"]
    assert [file.stem for file in head_files(heads, held_out=True)] == ["0900000"]


def test_a_folder_without_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no npz files of rendered heads to train on"):
        head_files(tmp_path, held_out=False)


def test_a_batch_depends_on_its_number_alone(heads: Path) -> None:
    portraits = Portraits(head_files(heads, held_out=False), Backdrops([]))
    first, again = (PortraitBatches(portraits, 4, 2, seed=5, small=4) for _ in range(2))
    pictures, mattes = first[3]
    assert pictures.dtype == mattes.dtype == torch.uint8
    assert pictures.shape[0] == mattes.shape[0] == 2
    assert pictures.shape[2:] == mattes.shape[2:]
    assert torch.equal(pictures, again[3][0])
    assert torch.equal(mattes, again[3][1])
    assert not torch.equal(mattes, first[1][1])


def test_a_crop_shows_one_person_in_its_middle(heads: Path) -> None:
    portraits = Portraits(head_files(heads, held_out=False), Backdrops([]))
    for seed in range(12):
        drawn = portraits.draw(np.random.default_rng(seed), 96)
        assert drawn.rgb.shape == (96, 96, 3)
        assert drawn.alpha[30:60, 42:54].mean() > 245
        assert drawn.alpha.mean() < 200  # somebody behind is not the one


def test_a_body_joins_the_head_to_the_frames_lower_edge(heads: Path) -> None:
    with np.load(heads / "0000001.npz") as arrays:
        bust, points = arrays["w_rgba"][0], arrays["w_lm68"][0].astype(np.float64)
    head = Layer(bust[..., :3].astype(np.float32), bust[..., 3] / np.float32(255))
    for seed in range(8):
        person = dressed(head, anatomy_of(head, points), np.random.default_rng(seed))
        assert (person.alpha >= head.alpha - 1e-5).all()  # nothing of the head is lost
        assert person.alpha[-1].max() == 1
        below_the_chin = person.alpha[200:, 160]
        assert below_the_chin.min() > 0.9


def test_over_is_porter_and_duffs() -> None:
    def layer(level: float, alpha: float) -> Layer:
        return Layer(np.full((1, 1, 3), level, np.float32), np.full((1, 1), alpha, np.float32))

    both = over(layer(200, 0.5), layer(100, 0.5))
    # alpha 1/2 + 1/2 * 1/2; premultiplied 200/2 + 100/4 = 125, so straight 125 / (3/4).
    assert both.alpha[0, 0] == pytest.approx(0.75)
    np.testing.assert_allclose(both.colour, 125 / 0.75, rtol=1e-5)


def test_the_loss_is_least_for_the_truth() -> None:
    truth = torch.zeros(1, 1, 32, 32)
    truth[..., 8:24, 8:24] = 1
    right, blurred = 20 * (truth - 0.5), 2 * (truth - 0.5)
    wrong = right.roll(4, dims=-1)
    losses = [float(matting_loss(logits, truth)) for logits in (right, blurred, wrong)]
    assert losses == sorted(losses)
    assert losses[0] < 1e-3


def test_scores_of_a_constant_matte_are_known() -> None:
    class Half(MattingNetwork):
        def logits(self, image: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(image[:, :1])

    pictures = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    mattes = torch.full((1, 1, 32, 32), 255, dtype=torch.uint8)
    scores = score(Half((4, 4, 4, 4, 4), (0, 0, 0, 0, 0)), [(pictures, mattes)])
    assert (scores.mad, scores.mse, scores.gradient) == (0.5, 0.25, 0)


def test_the_onnx_file_computes_what_the_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MattingNetwork((4, 8, 8, 12, 16), (0, 1, 1, 1, 1)).train()
    export_onnx(network, tmp_path / "net.onnx", {"made": "here"}, half=False)
    assert network.training
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert session.get_modelmeta().custom_metadata_map == {"made": "here"}
    network.eval()
    for batch, height, width in ((1, 32, 64), (3, 96, 32)):
        image = torch.rand(batch, 3, height, width) * 2 - 1
        (alpha,) = session.run(["output"], {"input": image.numpy()})
        with torch.inference_mode():
            expected = network(image).numpy()
        np.testing.assert_allclose(alpha, expected, atol=1e-5)  # float32 sums, reordered


@pytest.mark.parametrize("is_shipped", [True, False])
def test_no_step_of_the_file_joins_channels_with_the_picture(
    tmp_path: Path, is_shipped: bool
) -> None:
    path = Path(str(files("tpvideo.weights") / "matting.onnx")) if is_shipped else tmp_path / "n"
    if not is_shipped:
        export_onnx(MattingNetwork(), path, {})
    joins = [node for node in onnx.load(path).graph.node if node.op_type == "Concat"]
    assert len(joins) == 4 and not any("input" in join.input for join in joins)


def test_half_storage_halves_the_file_and_hardly_changes_the_result(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MattingNetwork().eval()
    full, half = tmp_path / "full.onnx", tmp_path / "half.onnx"
    export_onnx(network, full, {}, half=False)
    export_onnx(network, half, {})
    assert half.stat().st_size < 0.55 * full.stat().st_size
    image = (torch.rand(1, 3, 64, 64) * 2 - 1).numpy()
    alphas = [
        onnxruntime.InferenceSession(file).run(["output"], {"input": image})[0]
        for file in (full, half)
    ]
    np.testing.assert_allclose(alphas[0], alphas[1], atol=2e-3)  # eleven bits in each weight


@pytest.mark.slow
def test_training_writes_its_files_and_goes_on_where_it_stopped(recipe: MattingRecipe) -> None:
    train(recipe)
    output = Path(recipe.output)
    assert {file.name for file in output.iterdir()} == {
        "state.pt",
        "matting.safetensors",
        "matting.onnx",
        "log.csv",
    }
    train(replace(recipe, steps=3))
    steps = [line.split(",")[0] for line in (output / "log.csv").read_text().splitlines()]
    assert steps == ["1", "2", "3"]


def test_the_shipped_recipe_can_be_read() -> None:
    recipe = read_recipe(Path(training.__file__).with_name("matting.toml"))
    assert recipe.small_steps < recipe.steps


@pytest.mark.parametrize("text", ["heads = 1 2", "colour = 'red'"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.toml is no matting recipe"):
        read_recipe(tmp_path / "odd.toml")


def test_a_recipe_without_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        MattingRecipe(heads="", held_out="", panoramas="", output="", steps=0)
