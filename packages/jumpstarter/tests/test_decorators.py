"""Click commands of clients, whose help the exporter's owner can override."""

from __future__ import annotations

from dataclasses import dataclass

import click
from click.testing import CliRunner
from jumpstarter.client import DriverClient
from jumpstarter.client.decorators import driver_click_command, driver_click_group
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export

OWN = {"set_dtr": "text 1", "renamed": "text 2", "bare": "text 3", "sub": "text 4", "explicit": "text 5"}


class Client(DriverClient):
    def cli(self) -> click.Group:
        @driver_click_group(self)
        def base() -> None:
            """The group's own text"""

        @base.command()
        def set_dtr() -> None:
            """own 1"""
            click.echo(self.call("echo", "dtr"))

        @base.command("renamed")
        def off() -> None:
            """own 2"""

        @base.command
        def bare() -> None:
            """own 3"""

        @base.group()
        def sub() -> None:
            """own 4"""

        @base.command(help="own 5", short_help="own 5")
        @click.option("--times", default=1)
        def explicit(times: int) -> None:
            click.echo(times)

        return base

    def single(self) -> click.Command:
        @driver_click_command(self, name="ssh")
        @click.argument("args", nargs=-1)
        def run(args: tuple[str, ...]) -> int:
            """The command's own text"""
            return len(args)

        return run


@dataclass(kw_only=True)
class Device(Driver):
    @classmethod
    def client(cls) -> str:
        return f"{__name__}.Client"

    @export
    def echo(self, text: str) -> str:
        return text


def shown(command: click.Command, *args: str) -> str:
    result = CliRunner().invoke(command, args)
    assert result.exit_code == 0, result.output
    return result.output


def test_own_texts_by_default() -> None:
    with serve(Device()) as client:
        text = shown(client.cli(), "--help")
        assert "The group's own text" in text
        for number in range(1, 6):
            assert f"own {number}" in text
        assert "The command's own text" in shown(client.single(), "--help")


def test_the_exporters_texts_win() -> None:
    with serve(Device(description="The owner's text", methods_description=OWN)) as client:
        text = shown(client.cli(), "--help")
        assert "The owner's text" in text
        for number in range(1, 6):
            assert f"text {number}" in text
            assert f"own {number}" not in text
        assert "text 5" in shown(client.cli(), "explicit", "--help")
        assert "The owner's text" in shown(client.single(), "--help")


def test_commands_still_run() -> None:
    with serve(Device(methods_description=OWN)) as client:
        assert shown(client.cli(), "set-dtr") == "dtr\n"
        assert shown(client.cli(), "explicit", "--times", "3") == "3\n"
        assert client.single().main(["a", "b"], standalone_mode=False) == 2
        assert client.single().name == "ssh"
