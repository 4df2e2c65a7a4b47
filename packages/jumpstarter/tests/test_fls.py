"""The fls tool, fetched from a real server."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jumpstarter.common.fls import download_fls, get_fls_binary, get_fls_github_url

RELEASE = "https://github.com/jumpstarter-dev/fls/releases/download/0.1.9"


class Release(BaseHTTPRequestHandler):
    """Serves a program that prints the path it was fetched by; `/short` breaks off early."""

    def do_GET(self) -> None:
        body = f"#!/bin/sh\necho {self.path} $#\n".encode()
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (100 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Release) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("arch", ["x86_64", "amd64", "AMD64"])
def test_release_for_x86(arch: str) -> None:
    assert get_fls_github_url("0.1.9", arch) == f"{RELEASE}/fls-x86_64-linux"


@pytest.mark.parametrize("arch", ["aarch64", "arm64"])
def test_release_for_arm(arch: str) -> None:
    assert get_fls_github_url("0.1.9", arch) == f"{RELEASE}/fls-aarch64-linux-musl"


def test_release_for_this_machine() -> None:
    assert get_fls_github_url("v1") in (get_fls_github_url("v1", "x86_64"), get_fls_github_url("v1", "arm64"))


def test_from_the_path_by_default() -> None:
    assert get_fls_binary() == "fls"


def test_custom_urls_are_off_by_default(server: str) -> None:
    with pytest.raises(RuntimeError, match="allow_custom_binaries"):
        get_fls_binary(fls_binary_url=f"{server}/fls")


def test_custom_url(server: str) -> None:
    path = get_fls_binary(fls_binary_url=f"{server}/fls", allow_custom_binaries=True)
    assert subprocess.run([path, "x"], capture_output=True, text=True, check=True).stdout == "/fls 1\n"
    assert get_fls_binary(fls_binary_url=f"{server}/fls", allow_custom_binaries=True) == path


def test_a_release_that_is_there_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match=f"Failed to download FLS from {RELEASE}"):
        get_fls_binary("0.1.9")
    [directory] = (tmp_path / "jumpstarter" / "fls").iterdir()
    kept = directory / "fls"
    kept.write_text("#!/bin/sh\n")
    kept.chmod(0o755)
    assert get_fls_binary("0.1.9") == str(kept)


@pytest.mark.parametrize(("path", "reason"), [("/absent", "404"), ("/short", "100 bytes early")])
def test_failed_downloads_leave_nothing(server: str, tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(RuntimeError, match=f"Failed to download FLS from {server}{path}: .*{reason}"):
        download_fls(f"{server}{path}")
    assert [name for _, _, files in os.walk(tmp_path) for name in files] == []


def test_only_http(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="only http and https"):
        download_fls((tmp_path / "fls").as_uri())
