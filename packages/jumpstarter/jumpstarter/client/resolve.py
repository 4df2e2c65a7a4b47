"""From the import path in a driver's report to its client class: only what the user allows, and never in another
thread.

The importing happens in the caller's thread: a module that is still being imported by its own main thread could
otherwise wait
for itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os.path
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from types import ModuleType

from jumpstarter.common.exceptions import ConfigurationError

logger = logging.getLogger(__name__)


class ClientUnavailable(Exception):
    """The client class cannot be had; the text says why and what to do."""


def resolve_client(path: str, allow: Sequence[str], unsafe: bool) -> type:
    """The class at `path` (`package.module.Class`).

    `allow`: patterns, as in fnmatch, of paths that may be imported; `unsafe` allows all. ClientUnavailable says why
    not.
    """
    module_name, separator, class_name = path.rpartition(".")
    if not separator:
        raise ClientUnavailable(f"{path!r} is not an import path: it needs the form package.module.Class")
    if not unsafe and not any(fnmatchcase(path, pattern) for pattern in allow):
        raise ClientUnavailable(
            f"client class {path} is not on the allow list ({', '.join(allow) or 'which is empty'}): "
            f"add {module_name.partition('.')[0]}.* to `drivers.allow` of your client configuration, "
            "or to JMP_DRIVERS_ALLOW"
        )
    module = _import(module_name, path)
    found = getattr(module, class_name, None)
    if found is None:
        raise ClientUnavailable(f"module {module_name} has no class {class_name}: is its version that of the exporter?")
    if not isinstance(found, type):
        raise ClientUnavailable(f"{path} is no class but {type(found).__name__}")
    return found


def install_hint(path: str) -> str:
    """What to install for the class at `path`."""
    package = path.partition(".")[0]
    distribution = package.replace("_", "-")
    if re.fullmatch(r"jumpstarter_driver_\w+", package):
        return f"pip install {distribution}"
    return f"install the package that holds the module {package}"


def _import(module_name: str, path: str) -> ModuleType:
    script = _running_script(module_name)
    if script is not None:
        return script
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ClientUnavailable(f"client class {path} is not installed: {install_hint(path)}") from None
        raise ClientUnavailable(f"client class {path} needs a module that is not installed: {error.name}") from error
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise ClientUnavailable(f"client class {path} cannot be imported: {type(error).__name__}: {error}") from error


def _running_script(module_name: str) -> ModuleType | None:
    """`__main__`, when importing `module_name` would run the script that is running already a second time."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    name = module_name.rpartition(".")[2]
    if main is None or file is None or module_name in sys.modules or _stem(file) != name:
        return None
    if main.__spec__ is not None and main.__spec__.name == module_name:
        return main
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not os.path.exists(spec.origin) or not os.path.exists(file):
        return None
    return main if os.path.samefile(spec.origin, file) else None


def _stem(file: str) -> str:
    return os.path.splitext(os.path.basename(file))[0]
