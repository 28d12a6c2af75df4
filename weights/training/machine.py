"""The machine that trains: its precision, its clock, and what it is called."""

from __future__ import annotations

import logging
import platform
import time

import torch

from tpvideo.weights.training.config import TrainingConfig, odd_widths

log = logging.getLogger(__name__)


def training_dtype(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """What convolutions are computed in: the settings' precision, or float32 with a notice where
    bfloat16 is slow or unsafe."""
    if config.precision == "float32":
        return torch.float32
    if device.type != "cpu":
        return torch.bfloat16
    odd = odd_widths(config.model)
    if odd:
        log.warning(
            "float32: bfloat16 on a CPU is not safe with channels that are no multiple of 8 (%s)",
            ", ".join(odd),
        )
        return torch.float32
    if config.precision == "auto" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    return torch.bfloat16


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Convolutions and matrix products in `dtype` while it is entered."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def describe(device: torch.device) -> str:
    """The processor, in a few words."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} CPU ({capability}), {torch.get_num_threads()} threads"


class Clock:
    """How fast a run goes, and how long it will take.

    Args:
        samples: at which it starts.
        total: samples of the whole run.
        deadline_s: seconds from now at which it stops; None for never.
    """

    def __init__(self, samples: int, total: int, deadline_s: float | None) -> None:
        self.began = time.monotonic()
        self.begun_at, self.total, self.deadline_s = samples, total, deadline_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self.began

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline_s is not None and self.elapsed_s > self.deadline_s

    def line(self, samples: int) -> str:
        """Samples, speed, and an early look at the time left."""
        rate = max(1e-9, (samples - self.begun_at) / self.elapsed_s)
        text = f"{samples} of {self.total} samples, {rate:.2f}/s, "
        left_s = (self.total - samples) / rate
        if self.deadline_s is None or self.elapsed_s + left_s < self.deadline_s:
            return text + f"{spell(left_s)} left"
        remains = max(0.0, self.deadline_s - self.elapsed_s)
        reached = min(self.total, round(samples + rate * remains))
        return text + f"stops in {spell(remains)} at about {reached}, {spell(left_s)} short"


def spell(seconds: float) -> str:
    """A length of time in words: 2 h 05 min, 3 min, 40 s."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
