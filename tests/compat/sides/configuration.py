"""Loads all configuration files below a home and says what is in them; saves them again. Runs under ours and 0.9.0."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jumpstarter.config.client import ClientConfigV1Alpha1
from jumpstarter.config.exporter import ExporterConfigV1Alpha1
from jumpstarter.config.user import UserConfigV1Alpha1

# Keys of ours, and those that say where a file is.
OWN = ("motd", "clientLost", "alias", "path")


def content(config: Any) -> Any:
    """What a configuration says, without what is as if it were not there."""
    return stripped(
        {key: value for key, value in config.model_dump(mode="json", by_alias=True).items() if key not in OWN}
    )


def stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: inner for key, inner in ((key, stripped(inner)) for key, inner in value.items()) if inner or inner == 0
        }
    return value


def main() -> None:
    home = Path(os.environ["JMP_CLIENT_CONFIG_HOME"])
    found: dict[str, Any] = {}
    for alias in sorted(path.stem for path in (home / "clients").glob("*.yaml")):
        client = ClientConfigV1Alpha1.load(alias)
        found[f"client {alias}"] = content(client) | {"dial_timeout": client.leases.dial_timeout}
        found[f"client {alias}"].get("leases", {}).pop("dial_timeout", None)
        ClientConfigV1Alpha1.save(client)
    for path in sorted((home / "exporters").glob("*.yaml")):
        exporter = ExporterConfigV1Alpha1.load(path.stem)
        found[f"exporter {path.stem}"] = content(exporter)
        ExporterConfigV1Alpha1.save(exporter)
    user = UserConfigV1Alpha1.load_or_create()
    current = user.config.current_client
    found["current"] = None if current is None else current.alias
    found["listed"] = sorted(one.alias for one in ClientConfigV1Alpha1.list().items)
    UserConfigV1Alpha1.save(user)
    print(json.dumps(found, sort_keys=True))


main()
