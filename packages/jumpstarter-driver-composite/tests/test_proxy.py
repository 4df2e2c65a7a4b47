"""Proxy: one driver under several names."""

from dataclasses import dataclass, field

import pytest
from jumpstarter.client import DriverClient
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export
from jumpstarter_driver_composite.driver import Composite, Proxy

NAME = "jumpstarter.dev/name"


@dataclass(kw_only=True)
class Counter(Driver):
    """Counts calls, closes and resets."""

    calls: int = field(init=False, default=0)
    closed: int = field(init=False, default=0)
    resets: int = field(init=False, default=0)

    @classmethod
    def client(cls) -> str:
        return f"{__name__}.CounterClient"

    def close(self) -> None:
        self.closed += 1
        super().close()

    def reset(self) -> None:
        self.resets += 1
        super().reset()

    @export
    def count(self) -> int:
        self.calls += 1
        return self.calls


class CounterClient(DriverClient):
    def count(self) -> int:
        return int(self.call("count"))


@dataclass(kw_only=True)
class Parent(Driver):
    """A driver that uses its child."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_composite.client.CompositeClient"

    @export
    def count_below(self) -> int:
        below: Counter = self.children["counter"]  # type: ignore[assignment]
        return below.count()


def test_proxy_is_its_target_under_a_second_name() -> None:
    counter = Counter()
    tree = Composite(
        children={
            "before": Proxy(ref="board.counter"),
            "board": Composite(children={"counter": counter}),
            "after": Proxy(ref="board.counter"),
        }
    )
    with serve(tree) as client:
        assert client.before.count() == 1
        assert client.board.counter.count() == 2
        assert client.after.count() == 3
        clients = {"before": client.before, "counter": client.board.counter, "after": client.after}
        assert {one.uuid for one in clients.values()} == {counter.uuid}
        assert {name: one.labels[NAME] for name, one in clients.items()} == {name: name for name in clients}
    assert counter.calls == 3


def test_report_has_the_target_once_per_parent() -> None:
    counter = Counter(description="counts")
    group = Composite(children={"second": Proxy(ref="counter")})
    root = Composite(children={"counter": counter, "group": group})
    nodes = [(uuid, parent, name) for uuid, parent, name, _ in root.enumerate()]
    assert nodes == [
        (root.uuid, None, None),
        (counter.uuid, root, "counter"),
        (group.uuid, root, "group"),
        (counter.uuid, group, "second"),
    ]
    report = group.children["second"].report(parent=group, name="second")
    assert (report.uuid, report.parent_uuid) == (str(counter.uuid), str(group.uuid))
    assert report.labels[NAME] == "second"
    assert report.description == "counts"


@pytest.mark.parametrize("order", ["proxy first", "target first"])
def test_proxy_of_a_tree_brings_the_whole_tree(order: str) -> None:
    counter = Counter()
    board = Composite(children={"inner": Composite(children={"counter": counter}), "other": Counter()})
    children: dict[str, Driver] = {"board": board, "dut": Proxy(ref="board")}
    if order == "proxy first":
        children = dict(reversed(children.items()))
    with serve(Composite(children=children)) as client:
        assert list(client.dut.children) == list(client.board.children) == ["inner", "other"]
        assert client.dut.inner.counter.count() == 1
        assert client.board.inner.counter.count() == 2


def test_proxies_of_proxies() -> None:
    counter = Counter()
    tree = Composite(
        children={
            "a": Proxy(ref="group.b"),
            "group": Composite(children={"b": Proxy(ref="board.counter")}),
            "through": Proxy(ref="dut.counter"),
            "dut": Proxy(ref="board"),
            "board": Composite(children={"counter": counter, "twin": Proxy(ref="dut.counter")}),
        }
    )
    with serve(tree) as client:
        paths = [client.a, client.group.b, client.through, client.dut.counter, client.dut.twin, client.board.twin]
        assert [one.count() for one in paths] == [1, 2, 3, 4, 5, 6]
    assert counter.calls == 6


def test_a_driver_uses_its_child_through_a_proxy() -> None:
    counter = Counter()
    tree = Composite(children={"counter": counter, "parent": Parent(children={"counter": Proxy(ref="counter")})})
    with serve(tree) as client:
        assert client.parent.call("count_below") == 1
        assert client.parent.counter.count() == 2


def test_target_is_closed_and_reset_once() -> None:
    counter = Counter()
    tree = Composite(
        children={"a": Proxy(ref="counter"), "counter": counter, "b": Proxy(ref="counter"), "c": Proxy(ref="a")}
    )
    with serve(tree) as client:
        client.c.count()
        resets = counter.resets
        assert resets <= 1
        tree.reset()
        assert counter.resets == resets + 1
    assert counter.closed == 1


def test_attributes_before_the_tree_was_listed() -> None:
    proxy = Proxy(ref="counter")
    with pytest.raises(AttributeError, match="proxy for 'counter': not resolved yet"):
        proxy.count()
    assert not hasattr(proxy, "count")


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ({"p": "conter"}, r"proxy 'p': ref 'conter': the root has no child 'conter'; did you mean 'counter'\?"),
        ({"p": "board.lamp"}, r"ref 'board.lamp': 'board' has no child 'lamp' \(children: 'counter', 'inner'\)"),
        ({"p": "board.inner.x"}, r"ref 'board.inner.x': 'board.inner' has no child 'x' \(children: none\)"),
        ({"p": "counter.x"}, r"ref 'counter.x': 'counter' has no child 'x' \(children: none\)"),
        ({"p": "q", "q": "gone"}, r"proxy 'q': ref 'gone': the root has no child 'gone'"),
        ({"p": "p"}, r"proxy 'p': ref 'p' leads back to the proxy itself: p -> p"),
        ({"a": "b", "b": "a"}, r"proxy 'a': ref 'b' leads back to the proxy itself: b -> a -> b"),
        ({"a": "b", "b": "c.x", "c": "a"}, r"proxy 'a': ref 'b' leads back to the proxy itself: b -> c.x -> a -> b"),
    ],
)
def test_refs_that_lead_nowhere(children: dict[str, str], expected: str) -> None:
    real = {"counter": Counter(), "board": Composite(children={"counter": Counter(), "inner": Composite()})}
    tree = Composite(children={**real, **{name: Proxy(ref=ref) for name, ref in children.items()}})
    with pytest.raises(ConfigurationError, match=expected), serve(tree):
        pass


def test_proxy_of_what_contains_it() -> None:
    tree = Composite(children={"board": Composite(children={"counter": Counter(), "up": Proxy(ref="board")})})
    with pytest.raises(ConfigurationError, match="proxy 'up': ref 'board' leads back to the proxy itself"), serve(tree):
        pass


def test_proxy_as_the_root() -> None:
    with pytest.raises(ConfigurationError, match="the root of a tree cannot be a proxy"), serve(Proxy(ref="a")):
        pass


@pytest.mark.parametrize("ref", ["", ".", "a..b", ".a", "a.", 1, None])
def test_refs_that_are_no_path(ref: object) -> None:
    with pytest.raises(ConfigurationError, match="ref must be a dotted path"):
        Proxy(ref=ref)  # type: ignore[arg-type]


def test_proxy_takes_no_children() -> None:
    with pytest.raises(ConfigurationError, match="no children of its own"):
        Proxy(ref="counter", children={"x": Counter()})
