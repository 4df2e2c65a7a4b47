"""Every error of this package.

JumpstarterException
|- ConfigurationError            a file, a setting or a driver's configuration is wrong
|- ArgumentError                 a command was given a wrong argument
|- EnvironmentVariableNotSetError
|- FileNotFoundError             a file that is needed is absent (also the built-in class)
|- ReauthenticationFailed
|- ConnectionError               a server cannot be reached or was lost (not the built-in class)
|  `- ExporterOfflineError
|- ExporterUnreachableError
`- DriverError                   a driver call failed
   |- DriverMethodNotImplemented also NotImplementedError
   |- DriverInvalidArgument      also ValueError
   |- DriverTimeout              also TimeoutError
   |- DriverConnectionError      also the built-in ConnectionError
   |- DriverOSError              also OSError
   |- ExporterNotReady           the exporter does not accept calls in its present status
   `- MessageTooLarge            one value or frame is above the message limit
"""

from __future__ import annotations

import builtins
import sys
from typing import Any


class JumpstarterException(Exception):
    """Root of this package's errors; `str()` gives the message and the causes behind it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self._config: Any = None

    def __str__(self) -> str:
        if self.__cause__ is None or self.__cause__ is self:
            return self.message
        return f"{self.message} (Caused by: {self.__cause__})"

    def set_config(self, config: Any) -> None:
        """Attach the client or exporter configuration in use when the error occurred."""
        self._config = config

    def get_config(self) -> Any:
        """The configuration attached by `set_config`, or None."""
        return self._config

    def print(self, message: str | None = None) -> None:
        """Write `message`, or the error's own, to stderr, in red on a terminal."""
        text = message if message is not None else str(self)
        red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
        sys.stderr.write(f"{red}{text}{plain}\n")


class ConfigurationError(JumpstarterException):
    """A configuration is wrong; the message names the place and what is expected."""


class ArgumentError(JumpstarterException):
    """A command was given an argument it cannot use."""


class EnvironmentVariableNotSetError(JumpstarterException):
    """An environment variable that is needed is absent."""


class FileNotFoundError(JumpstarterException, builtins.FileNotFoundError):
    """A file that is needed is absent; the message names it."""


class ReauthenticationFailed(JumpstarterException):
    """Logging in anew failed."""


class ConnectionError(JumpstarterException):
    """A server could not be reached, or the connection to it was lost. Not the built-in ConnectionError."""


class ExporterOfflineError(ConnectionError):
    """The connection to the exporter was lost during a lease."""


class ExporterUnreachableError(JumpstarterException):
    """The exporter did not answer the first probe."""


class DriverError(JumpstarterException):
    """A driver call failed.

    `remote_type`: qualified name of the exception class on the driver's side, None from a 0.9.0 exporter.
    `remote_traceback`: the traceback there, None unless the exporter allows it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.remote_type: str | None = None
        self.remote_traceback: str | None = None


class DriverMethodNotImplemented(DriverError, NotImplementedError):
    """The driver has no such method, or does not implement it."""


class DriverInvalidArgument(DriverError, ValueError):
    """The driver refused an argument."""


class DriverTimeout(DriverError, TimeoutError):
    """The driver, or the call itself, took too long."""


class DriverConnectionError(DriverError, builtins.ConnectionError):
    """The driver lost what it talks to, or the client lost the exporter."""


class DriverOSError(DriverError, OSError):
    """An operating system error on the exporter; `errno` is that of the exporter's side when known."""


class ExporterNotReady(DriverError):
    """The exporter does not accept driver calls in its present status."""


class MessageTooLarge(DriverError):
    """One value or frame is above the message limit of this side or the other."""
