"""The text forms of what only a live session is asked."""

from __future__ import annotations

import re

from tpvideo.pipeline.errors import ConfigError


def parse_delay(text: str) -> float:
    """Seconds from `150ms`, `1.5s` or `1.5`.

    Raises:
        ConfigError: it is no such time, or none at all.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(ms|s|)", text.strip())
    value = float(match[1]) * (0.001 if match[2] == "ms" else 1.0) if match else 0.0
    if not value:
        raise ConfigError(f"{text!r} is no delay; write 150ms or 0.15s")
    return value


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from `1280x720`.

    Raises:
        ConfigError: it is not written like this.
    """
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no size; write 1280x720")
    return int(match[1]), int(match[2])
