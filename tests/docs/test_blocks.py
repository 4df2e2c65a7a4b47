"""Every block of code in README.md, packages/*/README.md and docs/ runs, or says why not; see `doc_blocks`."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from doc_blocks import ROOT, Block, all_blocks, blocks_of, links, name_of, pages
from doc_sandbox import Sandbox
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.client import ClientConfigV1Alpha1
from jumpstarter.config.exporter import ExporterConfigV1Alpha1
from jumpstarter.config.user import UserConfigV1Alpha1

DEADLINE = 60
BLOCKS = all_blocks()
# What the tests cannot have, and how many blocks wait for it. Nothing is added here without need.
NOT_RUN = {
    "it is a drawing": 1,
    "there is no CI system": 1,
    "there is no labgrid": 1,
}


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages and not block.not_run]


def alone(language: str) -> list[Block]:
    """Those that mean something by themselves: what is below a directory is for the commands of its page."""
    return [block for block in of(language) if "/" not in (block.file or "")]


@pytest.mark.parametrize("block", alone("python"), ids=str)
def test_python_runs(block: Block, tmp_path: Path) -> None:
    write_files(block.page, tmp_path)
    path = tmp_path / (block.file or f"block_{block.line}.py")
    path.write_text(block.code)
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if path.name.startswith("test_") else []
    run = subprocess.run(
        [sys.executable, *runner, path.name],
        cwd=path.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert run.returncode == 0, f"{path.name}:\n{block.code}\n{run.stdout}{run.stderr}"


@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in of("console")), ids=name_of)
def test_terminal_shows(page: Path) -> None:
    with Sandbox() as sandbox:
        for block in blocks_of(page):
            if block.file:
                sandbox.write(block)
            elif block.language == "console" and not block.not_run:
                sandbox.run(block)


@pytest.mark.parametrize("block", alone("yaml"), ids=str)
def test_configuration_file_is_right(block: Block, page_modules: None) -> None:
    if "wrong" in block.notes:
        with pytest.raises(ConfigurationError, match=re.escape(block.notes["wrong"])):
            check_file(block.code)
    else:
        check_file(block.code)


def check_file(text: str) -> None:
    """ConfigurationError for what is wrong with a configuration file; an exporter's may be a part of one."""
    content = yaml.safe_load(text)
    if content.get("kind") == "ClientConfig":
        ClientConfigV1Alpha1.load_text(text)
    elif content.get("kind") == "UserConfig":
        UserConfigV1Alpha1.model_validate(content)
    else:
        part = "" if "metadata" in content else "metadata: {name: part}\n"
        ExporterConfigV1Alpha1.load_text(part + text).check()


@pytest.fixture
def page_modules(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of a page can be imported: its files may name drivers that it shows."""
    before = set(sys.modules)
    write_files(block.page, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write_files(page: Path, directory: Path) -> None:
    for block in blocks_of(page):
        if block.file and block.language == "python":
            (directory / block.file).parent.mkdir(parents=True, exist_ok=True)
            (directory / block.file).write_text(block.code)


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_toml_is_well_formed(block: Block) -> None:
    assert tomllib.loads(block.code)


@pytest.mark.parametrize("block", of("sh"), ids=str)
def test_script_is_well_formed_and_used(block: Block) -> None:
    assert block.file, f"{block}: name the file that this script stands for"
    subprocess.run(["sh", "-n"], input=block.code, text=True, timeout=DEADLINE, check=True)
    users = [other for other in blocks_of(block.page) if other is not block and block.file in other.code]
    assert users, f"{block}: no other block of the page uses {block.file}"


@pytest.mark.parametrize("block", of("ini"), ids=str)
def test_unit_is_well_formed(block: Block) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.code)
    assert {"Unit", "Service"} <= set(unit.sections())
    program, *_ = shlex.split(unit["Service"]["ExecStart"])
    assert program.startswith("/"), "systemd wants the whole path"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("block", of("ini"), ids=str)
def test_systemd_takes_the_unit(block: Block, tmp_path: Path) -> None:
    assert block.file
    unit = tmp_path / block.file
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", block.code))
    run = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_make_targets_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    shown = re.findall(r"^ *make ([a-z-]+)", "".join(block.code for block in of("")), re.M)
    assert shown
    assert set(shown) <= known


LANGUAGES: dict[str, Callable[..., None]] = {
    "": test_make_targets_exist,
    "console": test_terminal_shows,
    "ini": test_unit_is_well_formed,
    "python": test_python_runs,
    "sh": test_script_is_well_formed_and_used,
    "toml": test_toml_is_well_formed,
    "yaml": test_configuration_file_is_right,
}


def test_every_block_is_of_a_kind_that_a_test_looks_at() -> None:
    assert [str(block) for block in BLOCKS if not block.not_run and block.language not in LANGUAGES] == []
    assert [
        str(block) for block in BLOCKS if not block.language and not re.fullmatch(r"(make .*\n)+", block.code)
    ] == []


def test_what_does_not_run_is_counted() -> None:
    assert Counter(block.not_run for block in BLOCKS if block.not_run) == NOT_RUN


def test_every_readme_is_read() -> None:
    readmes = [page for page in pages() if page.name == "README.md"]
    assert len(readmes) == 1 + len([path for path in (ROOT / "packages").iterdir() if path.is_dir()])


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    files = [link.partition("#")[0] for link in links(page) if not link.startswith("https://")]
    assert [file for file in files if file and not (page.parent / file).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_code_fence_goes_unseen(page: Path) -> None:
    text = page.read_text()
    directives = len(re.findall(r"^ *```\{", text, re.M))
    fenced = [block for block in blocks_of(page) if block.language]
    assert len(re.findall(r"^ *```", text, re.M)) == 2 * (len(fenced) + directives)
