"""`tpvideo mesh` from the command line, with a volume that is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from balls import CENTRE, RADIUS
from ballvolume import ball_network
from PIL import Image
from scans import LOOK, UNIT, save_scan
from small_run import OneFace
from tiny import tiny_network

from tpvideo.pipeline import app, cli
from tpvideo.pipeline.errors import InputError, NoFaceError
from tpvideo.pipeline.mesh import reference
from tpvideo.pipeline.mesh.picture import LIGHT, heat, picture
from tpvideo.pipeline.mesh.reference import lifted_points, read_landmarks, read_reference
from tpvideo.stages import geometry
from tpvideo.stages.mesh import Mesh
from tpvideo.weights.evaluation.mesh_formats import read_mesh

pytest.importorskip("skimage")

OPTIONS = ("--matting", "none", "--device", "cpu", "--grid", "24")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpvideo.stages.mesh_views.LOOK_PX", 32)
    monkeypatch.setattr("tpvideo.pipeline.mesh.comparison.MAP_PX", 48)
    monkeypatch.setattr("tpvideo.pipeline.mesh.turntable.FRAMES", 3)
    # The compiled march knows the network's own weights only, not the ball.
    monkeypatch.setattr("tpvideo.stages.networks.lean.march_for", lambda generator: None)
    networks = app.Networks(ball_network(), OneFace())
    monkeypatch.setattr(app, "load_networks", lambda *_: networks)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(["mesh", *map(str, arguments), *OPTIONS])
    written = capsys.readouterr()
    return int(caught.value.code or 0), written.out, written.err


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """Noise of 96 x 64, where OneFace sees a face."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "still.png")
    return tmp_path / "still.png"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Four frames."""
    path = tmp_path / "talk.mp4"
    random = np.random.default_rng(2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(4):
            rgb = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(stream.encode())
    return path


def test_a_photograph_becomes_a_mesh_and_a_film(
    still: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, film = still.with_name("head.glb"), still.with_name("turn.mp4")
    code, said, complaints = run(
        capsys, still, "-o", target, "--turntable", film, "--size", 64, "--level", 0
    )
    assert code == 0, complaints
    assert f"wrote {target}" in said and "triangles at density 0" in said
    points, _ = read_mesh(target)
    radii = np.linalg.norm(points - CENTRE, axis=1)
    assert np.abs(radii - RADIUS).max() < 0.01
    assert points[:, 2].min() > CENTRE[2] - 0.9 * RADIUS  # the back is left out
    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert "Synthetic view" in container.metadata["comment"]
    assert [frame.shape for frame in frames] == [(64, 192, 3)] * 3
    for part in np.split(frames[0], 3, axis=1):  # the volume, colours, clay
        assert part[28:36, 28:36].max() > 60


def test_a_films_frame_is_named_and_found(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaints = run(capsys, film, "--frame", 3, "--whole", "--colours", "volume")
    assert code == 0, complaints
    points, triangles = read_mesh(film.with_name("talk_frame3.ply"))
    assert points[:, 2].min() < CENTRE[2] - 0.9 * RADIUS and len(triangles) > 500
    code, _, complaints = run(capsys, film, "--frame", 4)
    assert code == 1 and "ends before frame 4" in complaints
    code, _, complaints = run(capsys, film, "--frame", 3)
    assert code == 1 and "it exists; --overwrite replaces it" in complaints


def test_a_frame_without_a_face_is_named(
    still: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OneFace, "find", lambda self, rgb: [])
    code, _, complaints = run(capsys, still)
    assert code == 1 and "no face in frame 0 of" in complaints
    assert sorted(path.name for path in still.parent.iterdir()) == ["still.png"]


def test_meshes_are_measured_against_a_reference(
    still: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Landmarks are given where the ball itself has them, so the fit is that of the source's."""
    folder = save_scan(still.parent / "scan")
    landmarks = still.with_name("landmarks.json")
    away = geometry.MEAN_LANDMARKS - CENTRE
    on_ball = CENTRE + RADIUS * away / np.linalg.norm(away, axis=1, keepdims=True)
    landmarks.write_text(json.dumps((LOOK + UNIT * on_ball).tolist()))
    heat_map = still.with_name("heat.png")
    code, said, complaints = run(
        capsys, still, "--reference", folder / "ball.glb", "--landmarks", landmarks,
        "--heatmap", heat_map, "--method", "encoder", "--method", "psp",
    )  # fmt: skip
    assert code == 0, complaints
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| method", "| encoder", "| psp"]
    assert 0 < float(rows[1][1]) < 1 and rows[1][1:] == rows[2][1:]  # one volume for both
    with Image.open(heat_map) as sheet:
        assert sheet.size == (2 * 48 + 70, 3 * 48)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-o", "head.stl"], r"the suffix of a mesh must be one of .ply .obj .glb"),
        (["--turntable", "turn.gif"], "the suffix of a turntable must be one of"),
        (["--heatmap", "heat.png"], "need a --reference"),
        (["--reference", "scan.glb", "--heatmap", "heat.txt"], "the suffix of a heat map"),
        (["-o", "a.ply", "--method", "psp", "--method", "w+"], "several --method are for"),
        (["-o", "absent/a.ply"], "there is no folder absent"),
        (["--method", "magic"], "--method: no inverter 'magic'"),
        (["--most", "0"], "--most must be above 0"),
        (["--level", "1e9"], "has no surface at 1e+09"),
    ],
)
def test_what_cannot_be_done_is_said(
    still: Path,
    options: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(still.parent)
    code, _, complaints = run(capsys, still, *options)
    assert code in (1, 2) and reason in complaints
    assert [path.name for path in still.parent.iterdir()] == ["still.png"]


def test_networks_such_as_the_published_one_have_a_surface_too(
    still: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_network(
        image_channels=3, mapping=True, noise=True, axes="eg3d", box=1.0, near=2.25, far=3.3
    )
    monkeypatch.setattr(app, "load_networks", lambda *_: app.Networks(network, OneFace()))
    target, film = still.with_name("head.obj"), still.with_name("turn.mp4")
    options = ("--whole", "--level", -6, "--turntable", film, "--size", 64)  # about the median
    code, _, complaints = run(capsys, still, "-o", target, *options)
    assert code == 0, complaints
    assert len(read_mesh(target)[1]) > 10 and film.is_file()


def test_an_absent_reference_is_said_before_the_inversion(
    still: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tpvideo.pipeline.mesh.heads.lifted", lambda *_: pytest.fail("work was begun")
    )
    code, _, complaints = run(capsys, still, "--reference", still.with_name("scan.glb"))
    assert code == 1 and "scan.glb: no such file" in complaints


def test_a_missing_extra_is_said_before_any_work(
    still: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    monkeypatch.setattr(app, "load_networks", lambda *_: pytest.fail("work was begun"))
    code, _, complaints = run(capsys, still)
    assert code == 1 and "pip install 'tpvideo[mesh]'" in complaints


def test_a_scans_landmarks_come_from_its_frontal_still(tmp_path: Path) -> None:
    folder = save_scan(tmp_path / "scan", 64)
    finder = OneFace()
    finder.face.points[:] = [[26, 28], [38, 28], [32, 34], [28, 40], [36, 40]]
    found = read_reference(folder / "ball.glb", finder, None)
    radii = np.linalg.norm(found.landmarks - CENTRE, axis=1)
    assert np.abs(radii - RADIUS).max() < 0.01  # on the ball,
    front = geometry.label_camera(0.0, 0.0)
    seen = (found.landmarks - front[:3, 3]) @ front[:3, :3]
    places = 64 * (geometry.FOCAL * seen[:, :2] / seen[:, 2:] + 0.5)
    assert np.abs(places - finder.face.points).max() < 1e-6  # where the still shows them


def test_a_mesh_by_itself_is_looked_at_from_all_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The surest face is taken; here that of the third picture."""
    (folder := tmp_path / "scan").mkdir()
    save_scan(folder / "full", 16)
    ball = folder / "ball.glb"
    (folder / "full" / "ball.glb").rename(ball)
    finder = OneFace()
    finder.face.points[:] = [[236, 240], [276, 240], [256, 256], [240, 272], [272, 272]]
    looks = iter(range(8))
    monkeypatch.setattr(finder, "find", lambda rgb: [finder.face.box()] if next(looks) == 2 else [])
    found = read_reference(ball, finder, None)
    assert next(looks, None) is None
    away = (found.landmarks - found.points.mean(axis=0)) / UNIT
    assert (away[:, 2] < -0.15).all()  # half a turn from the front: behind the ball
    monkeypatch.setattr(finder, "find", lambda rgb: [])
    with pytest.raises(NoFaceError, match="--landmarks names a file"):
        read_reference(ball, finder, None)


@pytest.mark.parametrize("text", ["", "{}", "[[1, 2], [3, 4]]", '[["a", 0, 0]]', "[[0, 0, NaN]]"])
def test_landmarks_that_are_none_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "five.json"
    path.write_text(text)
    with pytest.raises(InputError, match="JSON list of five points"):
        read_landmarks(path)
    with pytest.raises(InputError, match="No such file"):
        read_landmarks(tmp_path / "absent.json")


def test_a_landmark_beside_the_surface_is_named() -> None:
    depth = np.zeros((10, 10), np.float32)
    depth[5, 5] = 2.0
    camera = np.eye(4)
    found = lifted_points(np.array([[0.55, 0.55]]), depth, camera, 1.0)
    np.testing.assert_allclose(found, [[0.1, 0.1, 2.0]])
    with pytest.raises(NoFaceError, match="does not lie on the surface"):
        lifted_points(np.array([[0.1, 0.1]]), depth, camera, 1.0)


def test_cameras_about_a_mesh_have_all_of_it_in_the_picture() -> None:
    points = np.random.default_rng(5).normal([10, 20, 30], size=(100, 3))
    for camera, focal in reference._around(points):
        local = (points - camera[:3, 3]) @ camera[:3, :3]
        assert local[:, 2].min() > 0
        assert np.abs(focal * local[:, :2] / local[:, 2:]).max() < 0.5


def test_a_picture_shows_colours_and_clay_where_the_mesh_is() -> None:
    square = np.array([[-0.2, -0.2, 0], [0.2, -0.2, 0], [0.2, 0.2, 0], [-0.2, 0.2, 0]])
    mesh = Mesh(square, np.array([[0, 1, 2], [0, 2, 3]]))
    camera = geometry.aimed_camera([0, 0, 2.7], [0, 0, 0])
    red = np.array([[1.0, 0, 0]]).repeat(4, axis=0)
    shown = picture(mesh, camera, 64, colours=red, ambient=1.0)
    inside = np.zeros((64, 64), bool)
    half = round(64 * 0.2 * geometry.FOCAL / 2.7)
    inside[32 - half + 1 : 32 + half - 1, 32 - half + 1 : 32 + half - 1] = True
    assert (shown[inside] == [255, 0, 0]).all()
    assert not shown[:8].any() and not shown[:, -8:].any()
    clay = picture(mesh, camera, 64)[32, 32]
    toward = -LIGHT[2] / np.linalg.norm(LIGHT)
    assert clay[0] == pytest.approx(255 * 0.82 * (0.25 + 0.75 * toward), abs=1)


def test_heat_runs_from_dark_blue_to_yellow_and_stops_there() -> None:
    found = 255 * heat(np.array([0.0, 0.1, 0.2, 5.0]), 0.2)
    assert found[0] == pytest.approx([68, 1, 84]) and found[2] == pytest.approx([253, 231, 37])
    np.testing.assert_array_equal(found[2], found[3])
    assert found[1] == pytest.approx([34.5, 144, 139.5])
