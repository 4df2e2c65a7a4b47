"""Where the `client` of a test comes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jumpstarter.driver import Driver

OPTION = "--jumpstarter-exporter"
SETTING = "jumpstarter_exporter"
"""Of the ini file, and of the marker."""

_NOTHING_TO_SERVE = f"""\
this test has no device to talk to. Give it one:
  pytest {OPTION} FILE         serve an exporter file
  @pytest.mark.{SETTING}("FILE")  the same; the path is relative to the test's file
  {SETTING} = FILE                the same, in the pytest configuration; relative to that
  a fixture jumpstarter_driver               that returns a Driver (not for classes on JumpstarterTest)
  jmp shell ... -- pytest                    run pytest in the shell of an exporter"""


def exporter_file(request: pytest.FixtureRequest) -> Path | None:
    """The exporter file for a test: of the command line, else of its marker."""
    config = request.config
    option: str | None = config.getoption(OPTION)
    if option:
        return config.invocation_params.dir / Path(option).expanduser()
    if marker := request.node.get_closest_marker(SETTING):
        if len(marker.args) != 1 or marker.kwargs:
            pytest.fail(f"the marker {SETTING} takes one argument, the path of an exporter file", pytrace=False)
        return request.path.parent / Path(marker.args[0])
    return None


def configured_file(config: pytest.Config) -> Path | None:
    """The exporter file of the pytest configuration."""
    if name := config.getini(SETTING):
        return (config.inipath.parent if config.inipath else config.rootpath) / Path(name).expanduser()
    return None


@contextmanager
def open_client(request: pytest.FixtureRequest, driver: Driver | None = None) -> Iterator[Any]:
    """The client of the first of: command line, marker, `driver`, configuration, surrounding shell.

    Fails the test, with one clear message, if there is none or if the exporter file is wrong.
    """
    from jumpstarter.common.exceptions import JumpstarterException
    from jumpstarter.common.utils import env, serve
    from jumpstarter.config.env import JUMPSTARTER_HOST, environment

    file = exporter_file(request) or (None if driver else configured_file(request.config))
    if file is not None:
        driver = _build(file)
    if driver is None and environment().get(JUMPSTARTER_HOST) is None:
        pytest.fail(_NOTHING_TO_SERVE, pytrace=False)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(env() if driver is None else serve(driver))
        except JumpstarterException as e:
            pytest.fail(str(e), pytrace=False)
        yield client


def _build(file: Path) -> Driver:
    from jumpstarter.common.exceptions import ConfigurationError
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1

    try:
        return ExporterConfigV1Alpha1.load_path(file).build()
    except (ConfigurationError, OSError) as e:
        pytest.fail(f"cannot serve the exporter file {file}: {e}", pytrace=False)
