"""How many workers this machine carries, and what each of them may use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.cores import usable_cores
from tpvideo.pipeline.errors import ConfigError

CORES_A_WORKER = 2
"""One for the networks, one for decoding, matting and encoding; more help a single run little."""
WORKER_BYTES = 1536 << 20
"""What a worker with the default model holds on a CPU, with a margin; see docs/batch.md."""
MEMORY_SHARE = 0.8
"""Of the memory that is free at the start."""
CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of a batch on one machine."""

    environments: Sequence[Mapping[str, str]]
    """Variables for each worker."""
    memory_bytes: int | None
    """What each may hold; None where the system does not say."""
    reason: str
    """Why so many, for people."""


def crew(choice: int | None, settings: Settings) -> Crew:
    """The workers that are asked for, or as many as this machine carries.

    Args:
        choice: how many; None is one for each GPU, or what cores and memory allow.
        settings: `device` decides whether GPUs are used.

    Raises:
        ConfigError: a GPU is asked for, and there is none.
    """
    gpus = gpu_names(settings)
    cores, memory = usable_cores(), free_bytes()
    if gpus:
        count = choice or len(gpus)
        reason = f"{len(gpus)} GPUs"
    else:
        by_memory = None if memory is None else int(memory * MEMORY_SHARE // WORKER_BYTES)
        by_cores = cores // CORES_A_WORKER
        count = choice or max(1, by_cores if by_memory is None else min(by_cores, by_memory))
        free = "unknown" if memory is None else f"{memory / 2**30:.1f} GiB"
        reason = f"{cores} cores, {free} free memory"
    threads = max(1, cores // count - (1 if cores // count > 1 else 0))
    environments = [
        {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
        | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})
        for number in range(count)
    ]
    share = None if memory is None else max(WORKER_BYTES, int(memory * MEMORY_SHARE / count))
    return Crew(environments, share, reason)


def gpu_names(settings: Settings) -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that may be used; none for a CPU."""
    if settings.device == "cpu":
        return []
    import torch

    count = torch.cuda.device_count()
    if not count and settings.device == "cuda":
        raise ConfigError("torch finds no CUDA device here; use --device auto or cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in visible.split(",")] if visible else []
    return names[:count] if len(names) >= count else [str(number) for number in range(count)]


def free_bytes() -> int | None:
    """Memory that can be taken without swapping, within the limits of a container."""
    free: list[int] = []
    with suppress(OSError, ValueError, IndexError):
        facts = Path("/proc/meminfo").read_text(encoding="ascii")
        free.append(int(facts.split("MemAvailable:")[1].split()[0]) * 1024)
    for most, used in CGROUP_FILES:
        with suppress(OSError, ValueError):
            free.append(int(Path(most).read_text()) - int(Path(used).read_text()))
    return max(0, min(free)) if free else None
