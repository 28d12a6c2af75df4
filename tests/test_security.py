"""Nothing of the program runs text as code, and no file makes it read another."""

from __future__ import annotations

import ast
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import small_run
from PIL import Image as Pillow
from synthetic import write_clip

from tpvideo.pipeline import app, cli, recorded  # noqa: F401
from tpvideo.pipeline.errors import InputError, WeightsError
from tpvideo.stages.decode import FileSource
from tpvideo.stages.limits import Limits
from tpvideo.stages.matting import open_session
from tpvideo.weights import store

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path
    for folder in ("pipeline", "stages", "weights", "bench")
    for path in (ROOT / folder).rglob("*.py")
)

# --- the source of the program --------------------------------------------------------------

CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads",
    "shelve.open", "yaml.load", "subprocess.getoutput", "subprocess.getstatusoutput",
    "tempfile.mktemp",
}  # fmt: skip
"""What runs text or data as code, or invites others to."""


def dangers(source: str) -> Iterator[str]:
    """The calls in a file that may not be there, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        is_load = name in ("torch.load", "np.load", "numpy.load")
        safely = {"torch.load": ("weights_only", "True")}.get(name, ("allow_pickle", "False"))
        if (
            name in CALLS
            or given.get("shell", "False") != "False"
            or (name == "torch.load" and given.get(safely[0]) != safely[1])
            or (is_load and name != "torch.load" and given.get("allow_pickle", "False") != "False")
        ):
            yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_runs_text_or_pickles(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run(text, shell=True)",
        "os.system('ls')",
        "pickle.load(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "def f():\n    return eval(text)",
    ],
)
def test_a_danger_is_noticed(line: str) -> None:
    assert list(dangers(line))


# --- names ----------------------------------------------------------------------------------

AWKWARD = [
    "two words.mp4",
    'it\'s "quoted".mp4',
    "line\nbreak.mp4",
    "-yaw.mp4",
    "; rm -rf $HOME `id` &.mp4",
    "říjen 日本 🎬.mp4",
    "100%05d.mp4",
    "file:concat:a|b.mp4",
]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows forbids these names")
def test_any_name_can_be_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "load_networks", small_run.small_networks)
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip", 2, container_format="mp4")
    for name in AWKWARD:
        source, target = Path(name), Path("out", name)
        target.parent.mkdir(exist_ok=True)
        clip.with_name(name).write_bytes(clip.read_bytes())
        with pytest.raises(SystemExit) as caught:
            cli.main(["-o", str(target), "--quiet", *small_run.OPTIONS, "--", str(source)])
        assert (caught.value.code, capsys.readouterr().err) == (0, ""), name
    assert sorted(os.listdir("out")) == sorted(AWKWARD)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows forbids these names")
def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("\x1b[2J\x1b]0;owned\x07.mp4", "a\r\nb.mp4", os.fsdecode(b"caf\xe9.mp4")):
        with pytest.raises(SystemExit):
            cli.main([name])
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.rstrip("\n").isprintable()


@pytest.mark.parametrize("name", ["http://localhost/a.mp4", "concat:a.mp4|b.mp4", "pipe:0", "-"])
def test_an_address_is_no_more_than_the_name_of_a_file(name: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        FileSource(name).open()


# --- files that name others -----------------------------------------------------------------

PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "join.mp4": "ffconcat version 1.0\nfile secret.ts\n",
    "join.ffconcat": "ffconcat version 1.0\nfile secret.ts\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>',
}


@pytest.mark.parametrize("decoder", ["av", "ffmpeg", "decord"])
@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_file_that_names_others_is_refused_and_they_stay_unread(
    name: str, decoder: str, tmp_path: Path
) -> None:
    write_clip(tmp_path / "secret.ts", 3)
    before = touched(tmp_path / "secret.ts")
    path = tmp_path / name
    path.write_text(PLAYLISTS[name])
    with pytest.raises(InputError, match=r"is text, a playlist|not a video or picture"):
        FileSource(path, decoder=decoder).open()  # type: ignore[arg-type]
    assert touched(tmp_path / "secret.ts") == before


def touched(path: Path) -> int:
    """When a file was last read; set back, so that the next reading changes it."""
    info = path.stat()
    if info.st_atime_ns >= info.st_mtime_ns:
        os.utime(path, ns=(info.st_mtime_ns - 10**9, info.st_mtime_ns))
    return path.stat().st_atime_ns


def test_a_name_like_a_pattern_of_pictures_reads_no_other_picture(tmp_path: Path) -> None:
    for number in range(3):
        Pillow.new("RGB", (32, 32), (90 * number, 0, 0)).save(tmp_path / f"{number}.png")
    path = tmp_path / "%d.png"
    path.write_bytes(b"nothing that could be read")
    with pytest.raises(InputError):
        FileSource(path).open()


# --- small files that are large -------------------------------------------------------------


def declared_png(width: int, height: int) -> bytes:
    """A PNG of this size with hardly any data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def declared_gif(width: int, height: int, frames: int) -> bytes:
    """An animated GIF of this size, each frame one pixel."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"\x21\xf9\x04\x00\x04\x00\x00\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
    return b"GIF89a" + screen + (frame + b"\x02\x02\x44\x01\x00") * frames + b";"


PEAK = """
import resource, sys
from tpvideo.pipeline.errors import InputError
from tpvideo.stages.decode import FileSource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    FileSource(sys.argv[1]).open()
except InputError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not count memory so")
@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.mov"])
def test_a_picture_too_large_is_refused_before_memory_is_spent(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.png":
        path.write_bytes(declared_png(30000, 30000))
    elif name == "a.gif":
        path.write_bytes(declared_gif(30000, 30000, 3))
    else:
        write_lie(path, declared_png(30000, 30000))
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    *said, grown_kib = ended.stdout.splitlines()
    assert len(said) == 1
    assert "cannot read" in said[0]
    assert int(grown_kib) < 100_000  # one such picture has 2.7 GB


def write_lie(path: Path, picture: bytes) -> None:
    """A film whose container says 96 x 64 and whose only packet is this picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb24"
        container.start_encoding()
        packet = av.Packet(picture)
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
        container.mux(packet)


def test_8k_passes_and_the_limit_can_be_raised(tmp_path: Path) -> None:
    Limits().expect_size(tmp_path, 8192, 4320)
    path = tmp_path / "large.png"
    Pillow.new("1", (12000, 9000)).save(path)
    with pytest.raises(InputError, match=r"12000x9000 .* raise --max-pixels"):
        FileSource(path).open()
    source = FileSource(path, limits=Limits(pixels=200_000_000))
    assert source.open().width == 12000
    source.close()


def test_a_million_frame_gif_is_refused_at_once_and_the_limit_can_be_raised(tmp_path: Path) -> None:
    path = tmp_path / "endless.gif"
    path.write_bytes(declared_gif(1, 1, 1_000_000))
    with pytest.raises(InputError, match=r"more than 900000 frames; --trim it, or raise --max-fr"):
        FileSource(path).open()
    short = tmp_path / "short.gif"
    short.write_bytes(declared_gif(4, 4, 30))
    with pytest.raises(InputError, match="more than 20 frames"):
        FileSource(short, limits=Limits(frames=20)).open()
    source = FileSource(short, limits=Limits(frames=30))
    source.open()
    assert len(list(source)) == 30
    source.close()


# --- weights --------------------------------------------------------------------------------


BEYOND = b'{"w":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4]}}'


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 200_000_000) + b"{}",
        struct.pack("<Q", len(BEYOND)) + BEYOND + bytes(4),
        b"",
    ],
    ids=["huge header", "long header", "tensor beyond the file", "empty"],
)
def test_a_safetensors_file_that_lies_about_sizes_is_refused(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot read .* as safetensors"):
        store.load(path)


def test_a_configuration_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    text = json.dumps({"__metadata__": {"config": "[" * 100_000}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(WeightsError, match="damaged configuration"):
        store.load(path)


def test_an_onnx_file_whose_weights_are_elsewhere_reads_no_file_outside_its_folder(
    tmp_path: Path,
) -> None:
    onnx = pytest.importorskip("onnx")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4))
    folder = tmp_path / "model"
    folder.mkdir()
    for location in (str(secret), "../secret.bin"):
        weight = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=1)
        weight.external_data.add(key="location", value=location)
        node = onnx.helper.make_node("Add", ["input", "w"], ["output"])
        shape = ["n", 3, "h", "w"]
        graph = onnx.helper.make_graph(
            [node],
            "g",
            [onnx.helper.make_tensor_value_info("input", 1, shape)],
            [onnx.helper.make_tensor_value_info("output", 1, shape)],
            [weight],
        )
        path = folder / "model.onnx"
        opset = [onnx.helper.make_opsetid("", 17)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(WeightsError, match="cannot be opened as an ONNX network"):
            open_session(path, "cpu", 1)
