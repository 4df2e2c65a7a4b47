"""What `jmp shell` is told on its command line, and what it tells."""

from __future__ import annotations

from typing import Any

import pytest

LOCAL = ["--exporter-config", "x.yaml"]
DIRECT = ["--tls-grpc", "localhost:1"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name an exporter with --exporter ALIAS, --exporter-config PATH or --tls-grpc HOST:PORT"),
        (["--client", "lab"], 2, "leases from a lab service are not supported yet"),
        ([*LOCAL, *DIRECT], 2, "--tls-grpc excludes --exporter and --exporter-config"),
        ([*LOCAL, "--tls-grpc-insecure"], 2, "--tls-grpc-insecure needs --tls-grpc"),
        ([*LOCAL, "--allow", "x.*"], 2, "--allow needs --tls-grpc"),
        ([*DIRECT, "--tls-grpc-insecure", "--tls-ca", "ca.pem"], 2, "--tls-grpc-insecure excludes --tls-ca"),
        ([*DIRECT, "--tls-key", "k.pem"], 1, "k.pem: a private key needs its certificate beside it"),
        ([*DIRECT, "--tls-ca", "absent.pem"], 1, "absent.pem: No such file or directory"),
        (["--tls-grpc", "localhost"], 2, "'localhost' is not HOST:PORT"),
        (["--tls-grpc", "localhost:1", "--tls-grpc-insecure"], 1, "localhost:1"),
        (["--exporter-config", "absent.yaml"], 1, "absent.yaml: there is no such file"),
        (["--exporter", "absent"], 1, "absent"),
        (["--exporter-config", "bad.yaml"], 1, "bad.yaml:8:1: exprot: unknown key; did you mean export?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(arguments: list[str], code: int, message: str, bench: Any) -> None:
    bench.file()
    bench.file("exprot: {}\n", "bad.yaml")
    process = bench.shell(arguments, "true")
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out == ""
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_what_the_exporter_logs(mode: str, bench: Any) -> None:
    _, way = bench.reach(mode, bench.file())
    silent, loud = (bench.shell([*more, *way], "j", "power", "on") for more in ([], ["--exporter-logs"]))
    assert silent.communicate(timeout=60) == ("", "")
    out, err = loud.communicate(timeout=60)
    assert out == ""
    assert "power on" in err


def test_the_message_of_the_day_is_for_shells(mode: str, bench: Any) -> None:
    _, way = bench.reach(mode, bench.file())
    shell = bench.shell(way, stdin=-1)
    out, err = shell.communicate("j power on && echo powered; exit 5\n", timeout=60)
    assert (out, err, shell.returncode) == ("powered\n", "The bench by the window\n", 5)


def test_what_the_child_finds(bench: Any) -> None:
    """Of an outer session nothing is left."""
    _, way = bench.reach("direct with passphrase", bench.file())
    outer = {"JMP_LEASE": "outer", "JMP_GRPC_CA": "/outer", "JMP_GRPC_PASSPHRASE": "outer", "JMP_EXPORTER": "outer"}
    process = bench.shell([*way, "--allow", "jumpstarter_driver_*"], "sh", "-c", "env | grep J.*MP_ | sort", env=outer)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines() == [
        "JMP_DRIVERS_ALLOW=jumpstarter_driver_*",
        f"JMP_EXPORTER={way[1]}",
        "JMP_GRPC_INSECURE=1",
        "JMP_GRPC_PASSPHRASE=open sesame",
        "_JMP_SUPPRESS_DRIVER_WARNINGS=1",
    ]


def test_only_allowed_clients_are_imported(bench: Any) -> None:
    _, way = bench.reach("direct", bench.file())
    refused = bench.shell([*way, "--allow", "elsewhere.*"], "j", "power", "on")
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert "power" in err


def test_a_shell_inside_a_shell(bench: Any) -> None:
    inner = "jmp shell --exporter-config x.yaml -- sh -c 'echo $JUMPSTARTER_HOST; j power on; exit 3'"
    bench.file()
    process = bench.shell(LOCAL, "sh", "-c", f"echo $JUMPSTARTER_HOST; {inner}")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (3, "")
    outside, inside = out.splitlines()
    assert outside != inside


def test_quiet_is_quiet(bench: Any) -> None:
    bench.file(
        """
        hooks:
          beforeLease: {script: "echo before; exit 3", onFailure: warn}
        """
    )
    process = bench.start("jmp", "--quiet", "shell", *LOCAL, "--", "true")
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@pytest.mark.peer("script")
def test_the_users_start_up_files(bench: Any) -> None:
    """Where the user's current client says so."""
    (bench.home / ".bashrc").write_text("OWN=mine\n")
    client = {"--namespace": "default", "--name": "me", "--endpoint": "localhost:1", "--token": "t", "--allow": "*"}
    settings = [word for pair in client.items() for word in pair]
    made = bench.start("jmp", "config", "client", "create", "me", "--nointeractive", *settings)
    assert made.communicate(timeout=60)[1] == ""
    path = bench.home / ".config/jumpstarter/clients/me.yaml"
    path.write_text(path.read_text().replace("use_profiles: false", "use_profiles: true"))
    bench.file()
    shell = bench.start("script", "-qec", "jmp shell --exporter-config x.yaml", "/dev/null", stdin=-1)
    out, _ = shell.communicate('echo "own=$OWN."\nexit\n', timeout=60)
    assert "own=mine." in out
