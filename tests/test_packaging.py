"""The folder map in pyproject.toml ships every package on disk and each file a package needs."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def folder_of(package: str) -> Path:
    """The folder that the longest matching entry of package-dir gives a package."""
    folders: dict[str, str] = SETUPTOOLS["package-dir"]
    head = max((name for name in folders if f"{package}.".startswith(f"{name}.")), key=len)
    return ROOT / folders[head] / package[len(head) :].strip(".").replace(".", "/")


def test_every_package_folder_is_shipped() -> None:
    on_disk = {
        "tpvideo." + ".".join(init.parent.relative_to(ROOT).parts)
        for top in ("pipeline", "stages", "weights")
        for init in (ROOT / top).rglob("__init__.py")
        if "_root" not in init.parts
    }
    assert set(SETUPTOOLS["packages"]) == on_disk | {"tpvideo"}


def test_every_shipped_package_has_its_folder() -> None:
    missing = [
        name for name in SETUPTOOLS["packages"] if not (folder_of(name) / "__init__.py").exists()
    ]
    assert not missing


def test_every_file_beside_the_code_is_shipped_or_is_documentation() -> None:
    stray = [
        str(path.relative_to(ROOT))
        for package in SETUPTOOLS["packages"]
        for path in folder_of(package).iterdir()
        if path.is_file()
        and path.suffix not in {".py", ".pyc", ".md"}
        and not any(
            fnmatch(path.name, pattern) for pattern in SETUPTOOLS["package-data"].get(package, [])
        )
    ]
    assert not stray
