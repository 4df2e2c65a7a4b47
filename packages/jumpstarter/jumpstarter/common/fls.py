"""The `fls` flashing tool: found, or fetched once and kept."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from jumpstarter.config.env import environment

logger = logging.getLogger(__name__)

FLS_GITHUB_REPO = "jumpstarter-dev/fls"
_DOWNLOAD_LIMIT = 600.0  # seconds for a whole download
_PIECE = 1 << 20


def get_fls_github_url(version: str, arch: str | None = None) -> str:
    """Download URL of a release for a machine type, by default this machine's."""
    machine = (arch or platform.machine()).lower()
    build = "fls-x86_64-linux" if machine in ("x86_64", "amd64") else "fls-aarch64-linux-musl"
    return f"https://github.com/{FLS_GITHUB_REPO}/releases/download/{version}/{build}"


def get_fls_binary(
    fls_version: str | None = None, fls_binary_url: str | None = None, allow_custom_binaries: bool = False
) -> str:
    """Path of the tool: from the URL, else that release, else plain `fls`, to be found on PATH.

    Blocks while it downloads. Raises RuntimeError where a download fails, or where a URL is given but not allowed.
    A release is fetched once; what a URL names may change, so it is fetched every time.
    """
    if fls_binary_url:
        if not allow_custom_binaries:
            raise RuntimeError(
                "Custom FLS binary URLs are disabled for security. "
                "Set allow_custom_binaries=True in driver configuration to enable."
            )
        logger.warning("downloading a custom fls binary, to be run on this machine, from %s", fls_binary_url)
        return download_fls(fls_binary_url)
    if fls_version:
        url = get_fls_github_url(fls_version)
        kept = _kept(url)
        return str(kept) if os.access(kept, os.X_OK) else download_fls(url)
    return "fls"


def download_fls(url: str, timeout: float = 30.0) -> str:
    """Fetch an executable into the cache, all of it or nothing, and give its path.

    `timeout`: seconds without any answer. Raises RuntimeError naming the URL.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise RuntimeError(f"Failed to download FLS from {url}: only http and https URLs are fetched")
    target = _kept(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=timeout) as response:
            _replace(target, lambda file: _copy(response, file))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"Failed to download FLS from {url}: {error}") from error
    return str(target)


def _kept(url: str) -> Path:
    return environment().cache_directory / "fls" / hashlib.sha256(url.encode()).hexdigest()[:16] / "fls"


def _replace(target: Path, fill: Callable[[IO[bytes]], None]) -> None:
    """Put an executable in place at once, so that no one runs half of it."""
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        try:
            fill(file)
            file.close()
            os.chmod(file.name, 0o755)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _copy(response: HTTPResponse, file: IO[bytes]) -> None:
    deadline = time.monotonic() + _DOWNLOAD_LIMIT
    while piece := response.read(_PIECE):
        file.write(piece)
        if time.monotonic() > deadline:
            raise TimeoutError(f"not complete after {_DOWNLOAD_LIMIT:.0f} seconds")
    if response.length:
        raise ConnectionError(f"the connection ended {response.length} bytes early")
