from __future__ import annotations

import hashlib
import re
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import download
from tpvideo.weights.manifest import ModelFile

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """A web server with moods."""

    url: str = ""
    cut_after: int | None = None
    """Bytes of a body after which the connection breaks."""
    ignores_range: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    mood = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            mood.requests.append((self.path, asked))
            if self.path != "/model":
                self.send_error(404)
                return
            start = 0
            if asked and not mood.ignores_range:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            body = CONTENT[start:]
            self.wfile.write(body if mood.cut_after is None else body[: mood.cut_after])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mood.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield mood
    server.shutdown()
    server.server_close()
    thread.join(10)


def model(*urls: str, **changes: object) -> ModelFile:
    fields: dict[str, object] = {"bytes": len(CONTENT), "sha256": SHA256, **changes}
    return ModelFile(
        name="m",
        file="m.onnx",
        kind="model",
        about="",
        licence="",
        urls=urls,
        **fields,  # type: ignore[arg-type]
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_file_arrives_whole_and_its_progress_is_heard(tmp_path: Path, site: Site) -> None:
    heard: list[tuple[int, int | None]] = []
    target = tmp_path / "m.onnx"
    download.fetch(model(f"{site.url}/model"), target, lambda *now: heard.append(now))
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["m.onnx"]
    assert heard[0] == (0, len(CONTENT)) and heard[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "m.onnx"
    site.cut_after = 300_000
    with pytest.raises(WeightsError, match="connection broke after 300000 of 1048576 bytes"):
        download.fetch(model(f"{site.url}/model"), target)
    assert names(tmp_path) == ["m.onnx.part"]
    site.cut_after = None
    download.fetch(model(f"{site.url}/model"), target)
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in site.requests] == [None, "bytes=300000-"]


def test_a_server_that_cannot_resume_starts_again(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "m.onnx"
    (tmp_path / "m.onnx.part").write_bytes(b"something else")
    site.ignores_range = True
    download.fetch(model(f"{site.url}/model"), target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_already_whole_is_only_checked(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "m.onnx"
    (tmp_path / "m.onnx.part").write_bytes(CONTENT)
    download.fetch(model(f"{site.url}/model"), target)
    assert names(tmp_path) == ["m.onnx"]


def test_the_next_address_is_tried_when_one_fails(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "m.onnx"
    download.fetch(model(f"{site.url}/gone", f"{site.url}/model"), target)
    assert target.read_bytes() == CONTENT
    assert [path for path, _ in site.requests] == ["/gone", "/model"]


def test_a_file_with_another_hash_is_thrown_away(tmp_path: Path, site: Site) -> None:
    with pytest.raises(WeightsError, match=r"differs from the one we know \(SHA-256\)"):
        download.fetch(model(f"{site.url}/model", sha256="0" * 64), tmp_path / "m.onnx")
    assert names(tmp_path) == []


def test_a_file_of_another_size_is_refused(tmp_path: Path, site: Site) -> None:
    with pytest.raises(WeightsError, match="got 1048576 bytes instead of 5"):
        download.fetch(model(f"{site.url}/model", bytes=5), tmp_path / "m.onnx")
    assert names(tmp_path) == []


def test_without_any_address_one_line_says_what_to_do_by_hand(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "m.onnx"
    with pytest.raises(WeightsError) as caught:
        download.fetch(model(f"{site.url}/gone", "http://127.0.0.1:9/x"), target)
    message = str(caught.value)
    assert "\n" not in message
    assert "404" in message and "127.0.0.1:9" in message  # why
    assert f"fetch {site.url}/gone or http" in message and str(target) in message  # what to do


def test_a_converted_file_is_imported_after_fetching_by_hand(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"then `tpvideo weights import net\.pth`"):
        download.fetch(model(original="net.pth"), tmp_path / "net.pth")


def test_google_drive_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(WeightsError, match=r"needs gdown.*drive\.google\.com/uc\?id=abc by hand"):
        download.fetch(model("drive:abc"), tmp_path / "m.onnx")


def test_google_drive_is_asked_through_gdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gdown = types.ModuleType("gdown")

    def fetched(*, id: str, output: str, quiet: bool, resume: bool) -> str:
        assert id == "abc" and quiet and resume
        Path(output).write_bytes(CONTENT)
        return output

    gdown.download = fetched  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    download.fetch(model("drive:abc"), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == CONTENT


def test_a_quota_page_of_google_drive_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gdown = types.ModuleType("gdown")

    def refused(**_: object) -> str:
        raise RuntimeError("Too many users have viewed or downloaded this file\nTry later")

    gdown.download = refused  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    with pytest.raises(WeightsError, match="Too many users") as caught:
        download.fetch(model("drive:abc"), tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
