"""A port is one program's: nobody else gets it, and who else listens on it is not taken for the program."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from lambent.runtimes.proxying import ports
from lambent.runtimes.proxying.ports import Port, is_theirs, listener


def test_no_other_worker_gets_a_port_until_it_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PORTS", range(32_000, 32_700))  # nobody else on this machine draws from these
    one = Port()
    monkeypatch.setattr(ports, "PORTS", range(one.number, one.number + 1))
    monkeypatch.setattr(ports, "TRIES_MAX", 1)
    with pytest.raises(ports.Fault, match="none of 1 ports"):
        Port()
    one.close()
    again = Port()
    assert again.number == one.number
    again.close()


def test_a_port_that_somebody_listens_on_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        monkeypatch.setattr(ports, "PORTS", range(number, number + 1))
        monkeypatch.setattr(ports, "TRIES_MAX", 1)
        with pytest.raises(ports.Fault):
            Port()


def test_who_listens_is_known() -> None:
    port = Port()
    assert listener(port.number) == ""
    with socket.create_server(("127.0.0.1", port.number)):
        assert listener(port.number) == "127.0.0.1"
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            assert is_theirs(port.number, [other.pid, os.getpid()])
            assert not is_theirs(port.number, [other.pid])
    port.close()
