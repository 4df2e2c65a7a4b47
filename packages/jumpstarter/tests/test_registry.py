"""Finding drivers by name or import path, over real installed metadata."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.registry import ADAPTERS, DRIVERS, Offer, driver_class, load, offers
from jumpstarter.config.suggestions import nearest
from jumpstarter.driver import Driver

Install = Callable[..., str]

MODULE = """
from jumpstarter.driver import Driver
class Lamp(Driver):
    @classmethod
    def client(cls): return "lamps.client.LampClient"
class NoDriver: pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution, as far as Python can see: its metadata and one module, which is removed again."""

    def install(distribution: str, module: str, source: str, group: str = DRIVERS, **entries: str) -> str:
        site = tmp_path / distribution
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{attribute}" for name, attribute in entries.items()]
        info.joinpath("entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
        site.joinpath(f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return module

    return install


def test_found_by_name_without_importing_the_rest(install: Install) -> None:
    install("lamps", "lamps_driver", MODULE, Lamp="Lamp")
    install("broken", "broken_driver", "raise OSError('no such bus')", Broken="Driver")
    assert Offer("Broken", "broken_driver:Driver", "broken", "1.0") in offers()
    assert Offer("Lamp", "lamps_driver:Lamp", "lamps", "1.0") in offers()
    assert {"lamps_driver", "broken_driver"}.isdisjoint(sys.modules)
    found = driver_class("Lamp")
    assert issubclass(found, Driver)
    assert found is driver_class("lamps_driver.Lamp")
    assert "broken_driver" not in sys.modules


def test_a_broken_package_is_named_with_its_cause(install: Install) -> None:
    install("broken", "broken_driver", "raise OSError('no such bus')", Broken="Driver")
    with pytest.raises(ConfigurationError) as caught:
        driver_class("Broken")
    assert "broken 1.0" in str(caught.value)
    assert "OSError" in str(caught.value)
    assert "no such bus" in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"'broken_driver.Driver' cannot be imported: OSError"):
        driver_class("broken_driver.Driver")


def test_two_packages_with_one_name_are_both_named(install: Install) -> None:
    install("lamps", "lamps_driver", MODULE, Lamp="Lamp")
    install("lights", "lights_driver", MODULE, Lamp="Lamp")
    with pytest.raises(ConfigurationError, match=r"'Lamp' is offered by lamps 1\.0 .* and lights 1\.0 .*uninstall one"):
        driver_class("Lamp")
    assert driver_class("lights_driver.Lamp").__module__ == "lights_driver"


def test_two_packages_with_one_object_agree(install: Install) -> None:
    install("lamps", "lamps_driver", MODULE, Lamp="Lamp")
    install("alias", "lamps_driver", MODULE, Lamp="Lamp")
    assert driver_class("Lamp").__name__ == "Lamp"


def test_unknown_names_get_the_nearest_installed_one(install: Install) -> None:
    install("lamps", "lamps_driver", MODULE, FloodLamp="Lamp")
    with pytest.raises(ConfigurationError, match=r"Driver 'floodlmap' is not installed.*did you mean FloodLamp\?"):
        driver_class("floodlmap")


def test_published_drivers_get_their_package() -> None:
    with pytest.raises(ConfigurationError, match="pip install jumpstarter-driver-sdwire"):
        driver_class("SDWire")
    with pytest.raises(ConfigurationError, match=r"did you mean SDWire \(pip install jumpstarter-driver-sdwire\)"):
        driver_class("SDwier")
    with pytest.raises(ConfigurationError, match="Its package is missing: pip install jumpstarter-driver-zigbee-hub"):
        driver_class("jumpstarter_driver_zigbee_hub.driver.Hub")
    with pytest.raises(ConfigurationError, match="by convention: pip install jumpstarter-driver-zigzag"):
        driver_class("ZigZag")


def test_import_paths_that_lead_nowhere(install: Install) -> None:
    install("lamps", "lamps_driver", MODULE, Lamp="Lamp")
    with pytest.raises(ConfigurationError, match=r"no module 'lamp_driver'; did you mean lamps_driver\.Lamp\?"):
        driver_class("lamp_driver.Lamp")
    with pytest.raises(ConfigurationError, match=r"has no 'Lmap'; did you mean Lamp\?"):
        driver_class("lamps_driver.Lmap")
    with pytest.raises(ConfigurationError, match=r"'lamps_driver.NoDriver' is the class NoDriver, not a driver class"):
        driver_class("lamps_driver.NoDriver")


def test_a_missing_dependency_is_not_taken_for_the_driver(install: Install) -> None:
    install("needy", "needy_driver", "import a_library_that_is_absent", Needy="Driver")
    with pytest.raises(ConfigurationError, match=r"cannot be imported: ModuleNotFoundError.*a_library_that_is_absent"):
        driver_class("needy_driver.Driver")


def test_adapters_have_a_group_of_their_own(install: Install) -> None:
    install("plugs", "plugs_adapter", "def plug(*, client): return client", group=ADAPTERS, Plug="plug")
    assert load("Plug", ADAPTERS)(client=5) == 5
    with pytest.raises(ConfigurationError, match=r"Adapter 'Plgu' is not installed.*did you mean Plug\?"):
        load("Plgu", ADAPTERS)


def test_front_door(install: Install) -> None:
    import jumpstarter.drivers

    install("lamps", "lamps_driver", MODULE, FloodLamp="Lamp")
    try:
        assert "FloodLamp" in dir(jumpstarter.drivers)
        assert "lamps_driver" not in sys.modules
        assert jumpstarter.drivers.FloodLamp is driver_class("FloodLamp")
        with pytest.raises(AttributeError, match=r"did you mean FloodLamp\?"):
            _ = jumpstarter.drivers.FloodLmap
        with pytest.raises(ImportError):
            from jumpstarter.drivers import DoesNotExist  # noqa: F401
        assert not hasattr(jumpstarter.drivers, "__wrapped__")
    finally:
        vars(jumpstarter.drivers).pop("FloodLamp", None)


def test_nearest_ignores_case() -> None:
    assert nearest("mockpower", ["MockPower", "TcpNetwork"])[0] == "MockPower"
    assert nearest("xyz", ["MockPower", "TcpNetwork"]) == []
