"""Composite: children as attributes and as nested commands."""

import logging
from dataclasses import dataclass, field

import click
import pytest
from click.testing import CliRunner
from jumpstarter.client import DriverClient
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export
from jumpstarter_driver_composite.client import CompositeClient
from jumpstarter_driver_composite.driver import Composite


@dataclass(kw_only=True)
class Lamp(Driver):
    """A driver whose client has commands."""

    lit: bool = field(init=False, default=False)

    @classmethod
    def client(cls) -> str:
        return f"{__name__}.LampClient"

    @export
    def light(self) -> None:
        self.lit = True


class LampClient(DriverClient):
    def light(self) -> None:
        self.call("light")

    def cli(self) -> click.Command:
        @click.group()
        def base() -> None:
            """A lamp"""

        @base.command()
        def light() -> int:
            """Light it"""
            self.light()
            return 7

        return base


@dataclass(kw_only=True)
class Mute(Driver):
    """A driver whose client has no commands."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"


@dataclass(kw_only=True)
class Foreign(Driver):
    """A driver whose client is not installed here."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_not_installed.client.ForeignClient"


def test_children_are_attributes() -> None:
    lamp = Lamp()
    with serve(Composite(children={"board": Composite(children={"lamp": lamp})})) as client:
        assert isinstance(client, CompositeClient)
        assert client.board is client.children["board"]
        client.board.lamp.light()
        assert "board" in dir(client)
        assert "lamp" in dir(client.board)
    assert lamp.lit


def test_unknown_attribute_names_the_children_and_the_nearest() -> None:
    with serve(Composite(children={"power": Lamp(), "serial": Lamp()})) as client:
        with pytest.raises(AttributeError, match=r"'powr'; did you mean 'power'\? \(children: 'power', 'serial'\)"):
            client.powr  # noqa: B018
        assert not hasattr(client, "storage")


def test_empty_composite_says_so() -> None:
    with serve(Composite()) as client, pytest.raises(AttributeError, match=r"'lamp' \(children: none\)"):
        client.lamp  # noqa: B018


def test_commands_nest_under_the_names_of_children() -> None:
    lamp = Lamp()
    with serve(Composite(children={"board": Composite(children={"front_lamp": lamp})})) as client:
        assert CliRunner().invoke(client.cli(), ["board", "front_lamp", "light"]).exit_code == 0
        assert lamp.lit
        result = client.cli().main(["board", "front_lamp", "light"], standalone_mode=False)
    assert result == 7


def test_children_without_commands_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    children = {"lamp": Lamp(), "mute": Mute(), "foreign": Foreign()}
    with serve(Composite(children=children)) as client:
        assert list(client.children) == ["lamp", "mute", "foreign"]
        assert list(client.cli().commands) == ["lamp"]
        assert CliRunner().invoke(client.cli(), ["foreign"]).exit_code == 2


def test_description_of_the_exporter_is_the_help() -> None:
    with serve(Composite(description="The board under the desk", children={"lamp": Lamp()})) as client:
        output = CliRunner().invoke(client.cli(), ["--help"]).output
    assert "The board under the desk" in output
    assert "A lamp" in output


@pytest.mark.parametrize("level", ["DEBUG", "error"])
def test_log_level_option(level: str) -> None:
    root = logging.getLogger()
    before = root.level
    try:
        with serve(Composite(children={"lamp": Lamp()})) as client:
            assert CliRunner().invoke(client.cli(), ["--log-level", level, "lamp", "light"]).exit_code == 0
        assert root.level == logging.getLevelName(level.upper())
    finally:
        root.setLevel(before)


def test_unknown_log_level_is_a_usage_error() -> None:
    with serve(Composite(children={"lamp": Lamp()})) as client:
        result = CliRunner().invoke(client.cli(), ["--log-level", "LOUD", "lamp", "light"])
    assert result.exit_code == 2
    assert "LOUD" in result.output
