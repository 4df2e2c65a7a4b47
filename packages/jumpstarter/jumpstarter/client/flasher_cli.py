"""The click commands of a flasher's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jumpstarter.streams.encoding import Compression

from .decorators import driver_click_group

if TYPE_CHECKING:
    from .flasher import FlasherClientInterface

_COMPRESSION = click.option(
    "--compression", type=click.Choice([one.value for one in Compression]), help="compression of a local file"
)


def flasher_group(client: FlasherClientInterface) -> click.Group:
    """`flash [FILE] [-t NAME:FILE]...` and `dump FILE`."""

    @driver_click_group(client)  # type: ignore[arg-type]
    def base() -> None:
        """Generic flasher interface"""

    @base.command()
    @click.argument("file", required=False)
    @click.option(
        "-t", "--target", "targets", multiple=True, metavar="NAME:FILE", help="image for one target; may be repeated"
    )
    @_COMPRESSION
    def flash(file: str | None, targets: tuple[str, ...], compression: str | None) -> None:
        """Write an image, a local file or an http(s) URL, to the device"""
        client.flash(_images(file, targets), compression=_known(compression))

    @base.command()
    @click.argument("file")
    @click.option("--target", help="part of the device to read")
    @_COMPRESSION
    def dump(file: str, target: str | None, compression: str | None) -> None:
        """Read the device's image into a local file, or have it sent to an http(s) URL"""
        client.dump(file, target=target, compression=_known(compression))

    return base


def _known(compression: str | None) -> Compression | None:
    return None if compression is None else Compression(compression)


def _images(file: str | None, targets: tuple[str, ...]) -> Any:
    """The image, or the images by target."""
    if file is not None and targets:
        raise click.ClickException("give either FILE or --target NAME:FILE, not both")
    if not targets:
        if file is None:
            raise click.ClickException("FILE is required unless --target/-t is given")
        return file
    images = {}
    for spec in targets:
        name, separator, image = spec.partition(":")
        if not (name and separator and image):
            raise click.ClickException(f"Invalid target spec {spec!r}, expected name:file")
        images[name] = image
    return images
