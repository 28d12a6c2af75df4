"""A batch on a real Ray cluster of worker processes, and on a real S3 server."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batches import clip, photo, small, task, tiny
from tiny import SIZES, tiny_network

from tpvideo.pipeline.batch.manifest import Manifest
from tpvideo.pipeline.batch.pool import Pool
from tpvideo.pipeline.batch.run import Batch
from tpvideo.pipeline.batch.storage import LocalFolder
from tpvideo.pipeline.batch.table import Tally
from tpvideo.pipeline.batch.task import Outcome, Task
from tpvideo.pipeline.batch.work import Job
from tpvideo.pipeline.errors import ConfigError
from tpvideo.weights import store

pytestmark = pytest.mark.cluster

SAMPLE = Path(__file__).resolve().parents[3] / "samples" / "talk.mp4"
SUPPORT = Path(__file__).resolve().parents[2] / "support"
FILMS = 6


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Six cores in Ray's eyes: three workers."""
    ray = pytest.importorskip("ray", reason="needs the extra cluster-test")
    drawn = random.getstate()  # Ray draws from it
    variables = {"PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    ray.init(
        num_cpus=6,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
        runtime_env={"env_vars": variables},
    )
    yield ray
    ray.shutdown()
    random.setstate(drawn)


class KillsOne(Tally):
    """Kills a worker process as soon as some of the films are done."""

    def __init__(self, actors: Any, after: int) -> None:
        super().__init__(FILMS, 0)
        self.actors = actors
        self.after = after
        self.killed: int | None = None
        self.workers: set[str] = set()

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        self.workers.add(outcome.worker)
        if self.killed is None and self.counts["done"] == self.after:
            victim = next(busy.actor for busy in self.actors._busy.values())
            self.killed = self.actors._ray.get(victim.process.remote())
            os.kill(self.killed, signal.SIGKILL)


def films(folder: Path) -> list[Task]:
    sources = [clip(folder / f"{number}.mp4", 20) for number in range(FILMS)]
    return [task(source, f"{source.stem}_yaw0.3.mp4") for source in sources]


def test_a_killed_worker_costs_nothing_and_the_films_are_those_of_one_machine(
    cluster: Any, tmp_path: Path
) -> None:
    from tpvideo.pipeline.batch.ray_cluster import Actors

    tasks = films(tmp_path)
    job = Job(small(), str(tmp_path / "out"), tiny)
    with LocalFolder(tmp_path / "out").held() as folder, Actors(job, None, 3) as actors:
        watcher = KillsOne(actors, after=2)
        outcomes = Batch(actors, watcher, Manifest(folder, "d1")).run(tasks, {})
    assert watcher.killed is not None
    assert [outcome.state for outcome in outcomes] == ["done"] * FILMS
    assert len(watcher.workers) == 3
    text = (tmp_path / "out" / "batch.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert sorted(line["source"] for line in lines if "source" in line) == sorted(
        task.source for task in tasks
    )
    job = Job(small(), str(tmp_path / "one"), tiny)
    one = [{"OMP_NUM_THREADS": "2"}]
    with LocalFolder(tmp_path / "one").held() as folder, Pool(job, one) as pool:
        Batch(pool, Tally(FILMS, 0), Manifest(folder, "d1")).run(tasks, {})
    made, alone = ({path.name: path.read_bytes() for path in (tmp_path / where).glob("*.mp4")}
                   for where in ("out", "one"))  # fmt: skip
    assert len(alone) == FILMS
    assert made == alone
    hidden = [path.name for path in (tmp_path / "out").glob(".*") if path.name != ".batch.lock"]
    assert hidden == []


def test_what_the_cluster_can_never_carry_is_refused_with_the_figures(
    cluster: Any, tmp_path: Path
) -> None:
    from tpvideo.pipeline.batch.ray_cluster import Actors

    job = Job(small(), str(tmp_path / "out"), tiny)
    with pytest.raises(ConfigError, match=r"4 workers of 2 cores each .* carries 3 .*6 cores"):
        Actors(job, None, 4)
    job = Job(small(device="cuda"), str(tmp_path / "out"), tiny)
    with pytest.raises(ConfigError, match=r"1 GPU and 2 cores each .* carries 0 .*0 GPU, 6 cores"):
        Actors(job, None, None)


# --- object storage -------------------------------------------------------------------------


@pytest.fixture
def bucket() -> Iterator[dict[str, str]]:
    """The environment of a program that talks to a fresh S3 server with an empty bucket."""
    pytest.importorskip("moto.server", reason="needs the extra cluster-test")
    pytest.importorskip("s3fs", reason="needs the extra cluster-test")
    code = (
        "import sys, boto3\n"
        "from moto.server import ThreadedMotoServer\n"
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n"
        "server.start()\n"
        "host, port = server.get_host_and_port()\n"
        "url = f'http://{host}:{port}'\n"
        "boto3.client('s3', endpoint_url=url).create_bucket(Bucket='films')\n"
        "print(url, flush=True)\n"
        "sys.stdin.read()\n"
    )
    keys = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    environment = {**os.environ, **keys}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url.startswith("http")
        yield {**environment, "AWS_ENDPOINT_URL": url, "OMP_NUM_THREADS": "1"}
        server.kill()


def in_store(environment: dict[str, str], code: str) -> Any:
    """What a piece of code finds in the store: `files` is its file system."""
    program = (
        "import json, s3fs\n"
        "files = s3fs.S3FileSystem()\n"
        f"def look():\n    {code}\n"
        "print(json.dumps(look()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(result.stdout)


def tpvideo(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tpvideo", "batch", *arguments],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny network in a file of this machine."""
    path = tmp_path / "tiny.safetensors"
    store.save(path, tiny_network().state_dict(), SIZES)
    return path


@pytest.fixture
def sources(tmp_path: Path, bucket: dict[str, str]) -> Path:
    """Four photographs with a face, one of nothing, and a damaged film: here and in the store."""
    import av

    folder = tmp_path / "in"
    with av.open(str(SAMPLE)) as container:
        frames = [
            frame.to_image() for _, frame in zip(range(4), container.decode(video=0), strict=False)
        ]
    for number, picture in enumerate(frames):
        path = folder / ("sub" if number > 1 else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    photo(folder / "wall.png")
    (folder / "bad.mp4").write_bytes(b"junk")
    in_store(bucket, f"return files.put('{folder}/', 'films/in', recursive=True)")
    return folder


@pytest.mark.parametrize("where", [["--workers", "1"], ["--cluster", "ray"]])
def test_sources_and_results_in_a_store_are_those_of_this_machine(
    bucket: dict[str, str], sources: Path, model: Path, tmp_path: Path, where: list[str]
) -> None:
    how = ["-r", "--model", str(model), "--matting", "none", "--size", "64", "--yaw", "-0.3,0.3"]
    quiet = [*how, "--device", "cpu", "--progress", "plain"]
    here = tpvideo(bucket, str(sources), "-o", str(tmp_path / "out"), *quiet)
    assert here.returncode == 3, here.stderr
    there = tpvideo(bucket, "s3://films/in", "-o", "s3://films/out", *quiet, *where)
    assert there.returncode == 3, there.stderr
    assert "2 failed" in there.stdout
    listed = in_store(bucket, "return sorted(files.find('films/out'))")
    alone = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png"))
    assert listed == sorted(
        f"films/out/{name}" for name in [*map(str, alone), "batch.jsonl", "index.html"]
    )
    assert len(alone) == 8
    in_store(bucket, f"return files.get('films/out', '{tmp_path}/back', recursive=True)")
    for name in alone:
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    again = tpvideo(bucket, "s3://films/in", "-o", "s3://films/out", *quiet, *where)
    assert "2 failed, 4 good" in again.stdout, again.stderr


def test_a_bucket_that_is_not_there_is_one_line(bucket: dict[str, str]) -> None:
    result = tpvideo(bucket, "s3://nowhere/in", "-o", "s3://films/out")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "cannot read s3://nowhere/in" in result.stderr
