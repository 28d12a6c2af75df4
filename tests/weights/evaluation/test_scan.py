from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from balls import view
from scans import ball_mesh, glb, save_scan
from tiny import tiny_network

from tpvideo.pipeline.errors import ConfigError, InputError, NoFaceError
from tpvideo.pipeline.frame import Face
from tpvideo.stages import geometry
from tpvideo.stages.geometry import FOCAL, CropFit, image_from_crop, label, label_camera
from tpvideo.weights.evaluation.mesh import depth_map, read_glb
from tpvideo.weights.evaluation.scan import Fit, Scan, evaluate
from tpvideo.weights.evaluation.views import DETAIL, INPUT, MEAN_DEPTH, MODEL, WARP

SIDE = 64


def cut_out(path: Path, *, zoom: float = 1.0, roll: float = 0.0) -> Face:
    """The front still's middle as the face stage would cut it, all of it taken for the head."""
    camera, rgba, _ = view(0.0, 0.0, SIDE)
    fit = CropFit(np.array([SIDE / 2, SIDE / 2]), SIDE * zoom, roll)
    return Face(
        crop=np.round(255 * rgba[..., :3]).astype(np.uint8),
        alpha=np.round(255 * rgba[..., 3]).astype(np.uint8),
        camera=label(camera),
        image_from_crop=image_from_crop(fit, SIDE),
        confidence=1.0,
    )


def test_a_mesh_is_read_as_it_was_written(tmp_path: Path) -> None:
    points, triangles = ball_mesh(6)
    path = tmp_path / "ball.glb"
    path.write_bytes(glb(points, triangles))
    read_points, read_triangles = read_glb(path)
    np.testing.assert_allclose(read_points, points, atol=1e-6)
    np.testing.assert_array_equal(read_triangles, triangles)


@pytest.mark.parametrize("damage", [b"", b"not a mesh at all", b"glTF\x02\0\0\0\x0c\0\0\0"])
def test_a_damaged_mesh_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "ball.glb"
    path.write_bytes(damage)
    with pytest.raises(InputError, match=r"ball\.glb: no mesh that can be read"):
        read_glb(path)


def test_a_mesh_that_names_missing_vertices_is_refused(tmp_path: Path) -> None:
    points, triangles = ball_mesh(6)
    path = tmp_path / "ball.glb"
    path.write_bytes(glb(points[:10], triangles))
    with pytest.raises(InputError, match="a vertex that is not there"):
        read_glb(path)


@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_the_depth_of_a_mesh_is_that_of_its_surface(yaw: float) -> None:
    points, triangles = ball_mesh(48)
    camera, _, depth = view(yaw, 0.0, SIDE)
    found = depth_map(points, triangles.astype(np.int64), np.linalg.inv(camera), FOCAL, SIDE)
    both = (found > 0) & (depth > 0)
    assert ((found > 0) != (depth > 0)).mean() < 0.02  # the rim
    front = both & (depth < depth[depth > 0].min() + 0.08)  # not its rim, which is steep
    assert np.abs(found - depth)[front].mean() < 1.5e-3  # a pixel is 0.009 wide
    inner = np.zeros((SIDE, SIDE), bool)
    inner[24:40, 24:40] = True
    assert (found[inner] > 0).all()


def test_nothing_is_seen_behind_the_camera() -> None:
    points, triangles = ball_mesh(6)
    camera = label_camera(0.0, 0.0)
    camera[:3, :3] = camera[:3, :3] @ np.diag([-1.0, 1.0, -1.0])  # turned round
    seen = depth_map(points, triangles.astype(np.int64), np.linalg.inv(camera), FOCAL, SIDE)
    assert not seen.any()


def test_the_scan_lands_where_its_pictures_show_it(tmp_path: Path) -> None:
    """Whatever crop was cut out, the cameras in the labels' world see the scan at the pixels of
    the stills."""
    scan = Scan.read(save_scan(tmp_path / "scan", SIDE))
    front = scan.stills[0]
    assert front.name == "still_yaw+00"
    fit = Fit.of(scan, front, cut_out(front.path))
    for still in scan.stills:
        own = np.linalg.inv(still.world_from_camera)
        there = fit.label(still.world_from_camera)[0].double().numpy()
        other = np.linalg.inv(there[:16].reshape(4, 4))
        places = []
        for points, camera, focal in (
            (scan.points, own, FOCAL),
            (fit.points(scan.points), other, float(there[16])),
        ):
            seen = points @ camera[:3, :3].T + camera[:3, 3]
            places.append(SIDE * focal * seen[:, :2] / seen[:, 2:])
        assert np.abs(places[0] - places[1]).max() < 0.8  # pixels, of 64


def test_a_crop_half_as_wide_makes_the_scan_twice_as_large(tmp_path: Path) -> None:
    scan = Scan.read(save_scan(tmp_path / "scan", SIDE))
    whole, half = (
        Fit.of(scan, scan.stills[0], cut_out(scan.stills[0].path, zoom=zoom)) for zoom in (1.0, 0.5)
    )
    # The landmarks then lie nearer to the ball's front, a little.
    assert half.scale / whole.scale == pytest.approx(2, rel=0.05)


def test_a_turned_crop_turns_the_scan(tmp_path: Path) -> None:
    scan = Scan.read(save_scan(tmp_path / "scan", SIDE))
    front = scan.stills[0]
    fit = Fit.of(scan, front, cut_out(front.path, roll=0.2))
    turned = fit.camera(front.world_from_camera)
    # The crop's camera leans with the head, so seen from it the still's own leans back.
    assert geometry.roll(turned) == pytest.approx(-0.2, abs=1e-3)


def test_every_method_is_scored_on_every_still(tmp_path: Path) -> None:
    folder = save_scan(tmp_path / "scan", SIDE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        finding = evaluate(tiny_network(), folder, cut_out)
    methods = [MODEL, DETAIL, INPUT, WARP, MEAN_DEPTH]
    assert [row.method for row in finding.rows] == methods * 3
    by = {(row.name, row.method): row for row in finding.rows}
    assert by["still_yaw+00", INPUT].scores["psnr_db"] == pytest.approx(120)  # the input itself
    assert by["still_yaw+30", INPUT].turn_rad == pytest.approx(np.radians(30), abs=1e-3)
    assert "depth" in by["still_yaw+30", MEAN_DEPTH].scores
    lines = finding.tables[0].splitlines()
    assert lines[2].startswith("| still_yaw+00 | ") and len(lines) == 2 + 3 + 2
    assert finding.sheet is not None and finding.sheet.shape == (4 * 128, 3 * 128, 3)


def test_a_scan_without_a_face_or_a_mesh_is_named(tmp_path: Path) -> None:
    folder = save_scan(tmp_path / "scan", SIDE)
    with pytest.raises(NoFaceError, match=r"no face is found in still_yaw\+00 of"):
        evaluate(tiny_network(), folder, lambda path: None)
    (folder / "ball.glb").unlink()
    with pytest.raises(ConfigError, match=r"one scan as \.glb, found 0"):
        Scan.read(folder)


def test_wrong_cameras_are_named(tmp_path: Path) -> None:
    folder = save_scan(tmp_path / "scan", SIDE)
    (folder / "cameras.json").write_text('{"stills": 3}')
    with pytest.raises(ConfigError, match=r"cameras\.json does not tell the cameras of a scan"):
        Scan.read(folder)
