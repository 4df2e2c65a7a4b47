"""Images written to a device and read back: files, compressed files, URLs, and the command line."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jumpstarter.client import FlasherClient
from jumpstarter.client.flasher import FlasherClientInterface, PathBuf
from jumpstarter.common.exceptions import ArgumentError, DriverError
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, FlasherInterface, export
from jumpstarter.rpc.limits import Limits
from jumpstarter.streams.encoding import Compression

IMAGE = Random(1).randbytes(3_000_001)


@dataclass(kw_only=True)
class Flash(FlasherInterface, Driver):
    """A flash in memory, one image for each target."""

    images: dict[str | None, bytes] = field(init=False, default_factory=dict)

    @export
    async def flash(self, source: Any, target: str | None = None) -> str:
        async with self.resource(source) as stream:
            self.images[target] = b"".join([piece async for piece in stream])
        return hashlib.sha256(self.images[target]).hexdigest()

    @export
    async def dump(self, target: Any, partition: str | None = None) -> None:
        async with self.resource(target) as stream:
            image = self.images[partition]
            for start in range(0, len(image), 70_000):
                await stream.send(image[start : start + 70_000])


class Web(BaseHTTPRequestHandler):
    """GET gives the image, PUT takes one."""

    taken: bytes = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/image?sig=a%2Fb" else 404)
        self.send_header("Content-Length", str(len(IMAGE)))
        self.end_headers()
        self.wfile.write(IMAGE)

    def do_PUT(self) -> None:
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        type(self).taken = b"".join(pieces)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def driver() -> Flash:
    return Flash()


@pytest.fixture
def client(driver: Flash) -> Iterator[FlasherClient]:
    with serve(driver, limits=Limits(local_urls=True)) as client:
        assert isinstance(client, FlasherClient)
        yield client


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(IMAGE)
    return path


def run(client: FlasherClient, *args: PathBuf) -> Result:
    return CliRunner().invoke(client.cli(), [str(arg) for arg in args])


@pytest.mark.parametrize("kind", [str, Path])
def test_there_and_back(client: FlasherClient, driver: Flash, image: Path, tmp_path: Path, kind: type) -> None:
    assert client.flash(kind(image), target="emmc") == hashlib.sha256(IMAGE).hexdigest()
    assert driver.images == {"emmc": IMAGE}
    client.dump(kind(tmp_path / "out"), target="emmc")
    assert (tmp_path / "out").read_bytes() == IMAGE


def test_several_images_in_order(client: FlasherClient, driver: Flash, image: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.write_bytes(b"boot")
    results = client.flash({"root": image, "boot": second})
    assert list(results) == ["root", "boot"]
    assert driver.images == {"root": IMAGE, "boot": b"boot"}
    assert client.flash({}) == {}
    with pytest.raises(ArgumentError, match="several images"):
        client.flash({"root": image}, target="boot")


def test_an_empty_image(client: FlasherClient, driver: Flash, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    client.flash(tmp_path / "empty")
    assert driver.images == {None: b""}
    client.dump(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""


def test_compressed_files(client: FlasherClient, driver: Flash, tmp_path: Path) -> None:
    packed = tmp_path / "image.gz"
    packed.write_bytes(gzip.compress(IMAGE, 1))
    client.flash(packed, compression=Compression.GZIP)
    assert driver.images == {None: IMAGE}
    client.dump(tmp_path / "out.gz", compression=Compression.GZIP)
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == IMAGE


def test_urls_are_the_exporters(client: FlasherClient, driver: Flash, web: str) -> None:
    client.flash(f"{web}/image?sig=a%2Fb", target="emmc")
    assert driver.images == {"emmc": IMAGE}
    client.dump(f"{web}/upload", target="emmc")
    assert Web.taken == IMAGE
    with pytest.raises(OSError, match="404"):
        client.flash(f"{web}/absent")
    with pytest.warns(UserWarning, match="compression is ignored"):
        client.flash(f"{web}/image?sig=a%2Fb", compression=Compression.XZ)


def test_files_that_cannot_be_opened(client: FlasherClient, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        client.flash(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        client.dump(tmp_path)


def test_what_the_driver_says_reaches_the_caller(client: FlasherClient, tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="nowhere"):
        client.dump(tmp_path / "out", target="nowhere")


def test_command_line(client: FlasherClient, driver: Flash, image: Path, tmp_path: Path) -> None:
    assert run(client, "flash", image).exit_code == 0
    assert run(client, "flash", "-t", f"boot:{image}", "--target", f"root:{image}").exit_code == 0
    assert driver.images == {None: IMAGE, "boot": IMAGE, "root": IMAGE}
    result = run(client, "dump", tmp_path / "out.bz2", "--target", "boot", "--compression", "bz2")
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "out.bz2").read_bytes().startswith(b"BZh")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "FILE is required"),
        (("-t", "boot"), "Invalid target spec 'boot', expected name:file"),
        (("image", "-t", "boot:image"), "not both"),
    ],
)
def test_command_line_misused(client: FlasherClient, args: tuple[str, ...], message: str) -> None:
    result = run(client, "flash", *args)
    assert result.exit_code == 1
    assert message in result.output


def test_the_interfaces_are_complete() -> None:
    assert FlasherInterface.client() == "jumpstarter.client.FlasherClient"
    assert issubclass(FlasherClient, FlasherClientInterface)
    with pytest.raises(TypeError, match="abstract"):
        FlasherClientInterface()  # type: ignore[abstract]
