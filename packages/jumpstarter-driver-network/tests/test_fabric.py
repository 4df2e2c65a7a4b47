from __future__ import annotations

import socket
import threading

import paramiko
import pytest
from jumpstarter.common.utils import serve
from jumpstarter_driver_network.adapters import FabricAdapter
from jumpstarter_driver_network.driver import TcpNetwork


class OneCommand(paramiko.ServerInterface):
    """An SSH server for root with one password, which echoes each command."""

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if (username, password) == ("root", "board") else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self.run, args=(channel, command)).start()
        return True

    @staticmethod
    def run(channel: paramiko.Channel, command: bytes) -> None:
        # The answer of the client comes after the server has confirmed the request for this command.
        channel.get_transport().global_request("keepalive@openssh.com", wait=True)
        channel.sendall(b"ran " + command)
        channel.send_exit_status(7 if command == b"false" else 0)
        channel.close()


@pytest.fixture
def ssh_server(tcp_server):
    key = paramiko.ECDSAKey.generate()

    def serve_one(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport.add_server_key(key)
        transport.start_server(server=OneCommand())
        transport.join()

    return tcp_server(serve_one)


def test_fabric_runs_commands_on_the_board(ssh_server):
    host, port = ssh_server
    settings = {"password": "board", "allow_agent": False, "look_for_keys": False}
    with serve(TcpNetwork(host=host, port=port)) as client:
        with FabricAdapter(client=client, user="root", connect_kwargs=settings) as connection:
            result = connection.run("uname", hide=True, in_stream=False)
            assert result.stdout == "ran uname"
            assert connection.run("false", hide=True, warn=True, in_stream=False).exited == 7
        assert not connection.is_connected
