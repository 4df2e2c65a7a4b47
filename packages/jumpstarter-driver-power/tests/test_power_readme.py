"""The exporter file in the README is one."""

import re
from pathlib import Path

from jumpstarter.config.exporter import ExporterConfigV1Alpha1

README = Path(__file__).parents[1] / "README.md"


def test_exporter_file() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", README.read_text(), re.M | re.S)
    tree = ExporterConfigV1Alpha1.load_text(text).build()
    try:
        names = [name for _, _, name, _ in tree.enumerate()]
    finally:
        tree.close()
    assert names == [None, "board", "power", "camera"]
