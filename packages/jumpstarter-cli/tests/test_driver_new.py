"""`jmp driver new`: what it makes is a package that works, and what it cannot make it refuses."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
LONGEST = "a-name-of-twenty-eight-chars"
NAMES = {
    "my-relay": ("jumpstarter-driver-my-relay", "jumpstarter_driver_my_relay", "MyRelay"),
    "my_relay2": ("jumpstarter-driver-my-relay2", "jumpstarter_driver_my_relay2", "MyRelay2"),
}


class Place:
    """A Python environment of its own, with what this one has, and a directory for packages."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "packages"
        self._bin = directory / "venv" / "bin"
        venv.create(directory / "venv", with_pip=True)
        purelib = self.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        Path(purelib, "workspace.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        for program in ("jmp", "j", "pytest", "ruff", "mypy"):
            text = (BIN / program).read_bytes()
            # A script runs in the Python that is named in its first line, a binary is the same anywhere.
            script = text.startswith(b"#!") or b"'''exec'" in text[:100]
            (self._bin / program).write_bytes(
                text.replace(sys.executable.encode(), bytes(self._bin / "python"), 1) if script else text
            )
            (self._bin / program).chmod(0o755)

    def run(self, *command: str, where: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A program of the environment, run to its end, with nothing to download from."""
        ours = ("JMP_", "JUMPSTARTER_", "PYTHON")
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
        # pip reads the last one as "no build isolation".
        offline = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        return subprocess.run(
            command,
            cwd=where,
            env=inherited | offline | {"PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def check(self, *command: str, where: Path | None = None) -> str:
        """The output of a program that must succeed."""
        done = self.run(*command, where=where)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("scaffold"))


@pytest.fixture(scope="module", params=NAMES)
def package(request: pytest.FixtureRequest, place: Place) -> Path:
    """A package that was made and installed, as its README says; nothing in it was touched."""
    made = place.check("jmp", "driver", "new", request.param, "--directory", str(place.directory)).strip()
    assert Path(made) == place.directory / NAMES[request.param][0]
    place.check("pip", "install", "--quiet", "--editable", ".[test]", where=Path(made))
    return Path(made)


def commands(readme: Path) -> list[str]:
    return re.findall(r"^\$ (.*)$", readme.read_text(), re.M)


def test_its_tests_pass(place: Place, package: Path) -> None:
    output = place.check("pytest", "-W", "error", "-p", "no:cacheprovider", where=package)
    assert re.search(r"\b\d+ passed", output)
    assert "skipped" not in output


def test_linters_have_nothing_to_say(place: Place, package: Path) -> None:
    for configuration in ([], ["--isolated"], ["--config", str(ROOT / "pyproject.toml")]):
        place.check("ruff", "check", "--no-cache", *configuration, ".", where=package)
        place.check("ruff", "format", "--no-cache", "--check", *configuration, ".", where=package)
    place.check("mypy", "--strict", "--cache-dir", str(place.directory / "mypy"), ".", where=package)


def test_every_command_of_its_readme_works(place: Place, package: Path) -> None:
    [install, *others] = commands(package / "README.md")
    assert install == "pip install --editable '.[test]'"
    assert len(others) == 8
    outputs = {line: place.check(*shlex.split(line), where=package) for line in others if not line.startswith("mypy")}
    name = package.name.removeprefix("jumpstarter-driver-").replace("-", "_")
    assert outputs[f"jmp shell --exporter-config exporter.yaml -- j {name} state --json"] == "false\n"
    class_name = next(one[2] for one in NAMES.values() if one[0] == package.name)
    assert re.search(rf"^Mock{class_name} +jumpstarter_driver_{name}\.mock\.Mock", outputs["jmp driver list"], re.M)
    assert "path: str (required)" in outputs[f"jmp driver show {class_name}"]


def test_the_code_of_its_readme_runs(place: Place, package: Path) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", (package / "README.md").read_text(), re.M | re.S)
    place.check("python", "-W", "error", "-c", code, where=package)


def test_j_drives_the_real_one(place: Place, package: Path, tmp_path: Path) -> None:
    gpio = tmp_path / "value"
    gpio.write_text("0\n")
    [text] = re.findall(r"^```yaml\n(.*?)^```", (package / "README.md").read_text(), re.M | re.S)
    exporter = tmp_path / "exporter.yaml"
    exporter.write_text("metadata: {name: lab}\n" + text.replace("/sys/class/gpio/gpio17/value", str(gpio)))
    name = package.name.removeprefix("jumpstarter-driver-").replace("-", "_")
    script = f"j {name} on && j {name} state && j {name} state --json"
    output = place.check("jmp", "shell", "--exporter-config", str(exporter), "--", "sh", "-c", script)
    assert output == "on\ntrue\n"
    assert gpio.read_text() == "1"
    probed = place.check("jmp", "exporter", "check", "--probe", str(exporter)).splitlines()[1].split()
    assert probed[-2:] == ["ok", "on"]
    gpio.unlink()
    assert "there is no file" in place.run("jmp", "exporter", "check", "--probe", str(exporter)).stdout


def test_in_a_workspace_like_this_one(jmp: Run, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert jmp("driver", "new", "my-relay", "--directory", "packages").returncode == 0
    package = "packages/jumpstarter-driver-my-relay"
    paths = {"PYTHONPATH": str(tmp_path / package), "MYPYPATH": package}
    for command in (
        ["ruff", "check", "--no-cache", "packages"],
        ["ruff", "format", "--no-cache", "--check", "packages"],
        ["mypy", "--strict", f"{package}/jumpstarter_driver_my_relay"],
        ["pytest", "-p", "no:cacheprovider", "-c", "pyproject.toml", package],
    ):
        program = [str(BIN / command[0]), *command[1:]]
        environment = {**os.environ, **paths}
        done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_template_is_in_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "packages" / "jumpstarter-cli", check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    there = {name for name in ZipFile(wheel).namelist() if "/template/" in name}
    template = ROOT / "packages/jumpstarter-cli/jumpstarter_cli/driver/template"
    assert there == {f"jumpstarter_cli/driver/template/{path.name}" for path in template.iterdir()}


def test_names_and_files(jmp: Run, tmp_path: Path) -> None:
    for number, (given, names) in enumerate(NAMES.items()):
        done = jmp("driver", "new", given, "--directory", f"deep/{number}")
        assert (done.returncode, done.stdout) == (0, f"deep/{number}/{names[0]}\n")
        assert f"cd deep/{number}/{names[0]}" in done.stderr
        directory = tmp_path / "deep" / str(number) / names[0]
        files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
        modules = {f"{names[1]}/{name}.py" for name in ("__init__", "interface", "driver", "mock", "client")}
        others = {"pyproject.toml", "README.md", "exporter.yaml", f"{names[1]}/py.typed"}
        assert files == modules | others | {f"tests/test_{names[1].removeprefix('jumpstarter_driver_')}.py"}
        assert f"class {names[2]}(" in (directory / names[1] / "driver.py").read_text()
        assert not any("$" in path.read_text().replace("\n$ ", "") for path in directory.rglob("*") if path.is_file())


def test_here_by_default(jmp: Run, tmp_path: Path) -> None:
    assert jmp("driver", "new", "OvenDoor").stdout == "jumpstarter-driver-oven-door\n"
    assert (
        "class OvenDoor("
        in (tmp_path / "jumpstarter-driver-oven-door/jumpstarter_driver_oven_door/driver.py").read_text()
    )


def test_the_way_there_can_be_pasted(jmp: Run) -> None:
    assert (
        "\n  cd 'two words/jumpstarter-driver-lamp'\n"
        in jmp("driver", "new", "lamp", "--directory", "two words").stderr
    )


def test_lines_fit_for_the_longest_name(jmp: Run, tmp_path: Path) -> None:
    directory = tmp_path / jmp("driver", "new", LONGEST).stdout.strip()
    ruff = partial(subprocess.run, cwd=directory, capture_output=True, text=True, check=False)
    for configuration in ([], ["--isolated"], ["--config", str(ROOT / "pyproject.toml")]):
        for command in (["check"], ["format", "--check"]):
            done = ruff([str(BIN / "ruff"), *command, "--no-cache", *configuration, "."])
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("class", "a keyword of Python"),
        ("None", "a keyword of Python"),
        ("2relays", "a letter at the start"),
        ("my relay", "with - or _ between words"),
        ("my--relay", "with - or _ between words"),
        ("relay-", "with - or _ between words"),
        ("../relay", "with - or _ between words"),
        ("rélay", "with - or _ between words"),
        ("", "with - or _ between words"),
        (f"{LONGEST}s", "more than 28 characters"),
        ("on", "YAML does not take it for text"),
        ("driver", "has a Driver already"),
        ("timeout-error", "has a TimeoutError already"),
        ("MockPower", "jumpstarter-driver-power 0.9.0+1 has a driver MockPower"),
        ("power", "jumpstarter-driver-power 0.9.0+1 is installed"),
        ("jumpstarter-driver-tasmota", "is a published package"),
    ],
)
def test_names_that_are_refused(jmp: Run, tmp_path: Path, name: str, reason: str) -> None:
    done = jmp("driver", "new", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.iterdir() if path.name.startswith("jumpstarter")] == []


def test_places_that_are_refused(jmp: Run, tmp_path: Path) -> None:
    assert jmp("driver", "new", "my-relay").returncode == 0
    readme = tmp_path / "jumpstarter-driver-my-relay" / "README.md"
    readme.write_text("mine")
    again = jmp("driver", "new", "my-relay")
    assert (again.returncode, again.stdout) == (1, "")
    assert "jumpstarter-driver-my-relay exists already" in again.stderr
    assert readme.read_text() == "mine"
    (tmp_path / "file").write_text("")
    assert jmp("driver", "new", "other", "--directory", "file").returncode == 2
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.geteuid() != 0:
        assert jmp("driver", "new", "other", "--directory", "locked").returncode == 1
