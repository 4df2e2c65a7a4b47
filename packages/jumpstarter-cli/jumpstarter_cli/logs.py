"""Log records on stderr: lines for people, or JSON for a collector."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Literal

from jumpstarter.config.env import JMP_QUIET, environment

Format = Literal["text", "json"]


def set_quiet() -> None:
    """From here on no progress, notices or warnings, neither here nor in commands that this one starts."""
    os.environ[JMP_QUIET] = "1"


def configure_logging(level: str | None = None, format: Format = "text") -> None:
    """Send records from `level` on to stderr, by default INFO, when quiet ERROR. A second call replaces the first."""
    level = level or ("ERROR" if environment().quiet else "INFO")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")


class _Json(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)
