"""Where the footage and golden vectors that live beside the checkout are."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared_path(relative: str) -> Path:
    """`../shared/<relative>`; skips the calling test, with the reason, where it is absent."""
    path = ROOT.parent / "shared" / relative
    if not path.exists():
        pytest.skip(f"needs shared/{relative} beside the checkout")
    return path
