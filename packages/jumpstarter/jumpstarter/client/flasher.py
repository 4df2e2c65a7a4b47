"""Clients of drivers that write images to a device and read them back."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jumpstarter.common.exceptions import ArgumentError
from jumpstarter.streams.portal import Entered

from .base import DriverClient, refuse_running_loop
from .files import Mode, PathBuf, open_path

if TYPE_CHECKING:
    import click

    from jumpstarter.streams.encoding import Compression

__all__ = ["FlasherClient", "FlasherClientInterface", "PathBuf"]


class FlasherClientInterface(metaclass=ABCMeta):
    """What every flasher's client offers, and a click group over it."""

    @abstractmethod
    def flash(
        self,
        path: PathBuf | dict[str, PathBuf],
        *,
        target: str | None = None,
        compression: Compression | None = None,
    ) -> Any:
        """Write an image, a local file or an http(s) URL, to the device; or several, given as target: image."""

    @abstractmethod
    def dump(self, path: PathBuf, *, target: str | None = None, compression: Compression | None = None) -> Any:
        """Read the device's image into a local file, or have it sent to an http(s) URL."""

    def cli(self) -> click.Group:
        """The commands `flash` and `dump`."""
        from .flasher_cli import flasher_group

        return flasher_group(self)


@dataclass(kw_only=True, eq=False)
class FlasherClient(FlasherClientInterface, DriverClient):
    """Client of a driver with the exports `flash(source, target)` and `dump(target, partition)`."""

    def flash(
        self,
        path: PathBuf | dict[str, PathBuf],
        *,
        target: str | None = None,
        compression: Compression | None = None,
    ) -> Any:
        """Write an image to the device. With a dict of images: all of them in order, and a dict of the results.

        `compression`: that of a local file, which the exporter undoes.
        """
        if not isinstance(path, Mapping):
            return self._pass("flash", path, "rb", target, compression)
        if target is not None:
            raise ArgumentError("'target' is not valid with several images: each of them names its own")
        return {name: self._pass("flash", image, "rb", name, compression) for name, image in path.items()}

    def dump(self, path: PathBuf, *, target: str | None = None, compression: Compression | None = None) -> Any:
        """Read the device's image, or that of its part `target`.

        `compression`: to be done by the exporter on the way to a local file.
        """
        return self._pass("dump", path, "wb", target, compression)

    def _pass(self, method: str, path: PathBuf, mode: Mode, target: str | None, compression: Compression | None) -> Any:
        refuse_running_loop(method)
        with Entered(self.portal, method, open_path(self, path, mode, compression)) as handle:
            return self.call(method, handle, target)
