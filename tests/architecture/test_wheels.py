"""Wheels: every package builds one, with its types and licence, and without its tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.name for path in (ROOT / "packages").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Distribution -> its wheel, built without the network."""
    output = tmp_path_factory.mktemp("wheels")
    uv = Path(sys.executable).with_name("uv")
    options = ["--quiet", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(output)]
    subprocess.run([uv, "build", "--all-packages", "--wheel", *options], cwd=ROOT, check=True)
    return {parse_wheel_filename(path.name)[0]: path for path in output.glob("*.whl")}


def test_every_package_builds(wheels: dict[str, Path]) -> None:
    assert sorted(wheels) == PACKAGES


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_holds_its_package_and_nothing_else(wheels: dict[str, Path], name: str) -> None:
    package, metadata = name.replace("-", "_"), f"{name.replace('-', '_')}-0.9.0+1.dist-info"
    files = set(ZipFile(wheels[name]).namelist())
    assert {file.split("/")[0] for file in files} == {package, metadata}
    assert {f"{package}/py.typed", f"{metadata}/licenses/LICENSE"} <= files


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_holds_no_tests(wheels: dict[str, Path], name: str) -> None:
    def is_test(path: Path) -> bool:
        return "tests" in path.parts or path.name.startswith(("test_", "conftest")) or path.stem.endswith("_test")

    assert [file for file in ZipFile(wheels[name]).namelist() if is_test(Path(file))] == []
