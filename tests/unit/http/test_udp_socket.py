"""Where HTTP/3 listens: one address, or all of both families."""

import socket

import pytest

from flyball.http.http3.listener import _udp_socket


def heard(listening, family, host):
    """What comes to a port from an address of its machine."""
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", (host, listening.getsockname()[1]))
        listening.settimeout(60)
        return listening.recv(100)


def test_one_address():
    with _udp_socket("127.0.0.1", 0, reuse_port=False) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert not listening.getblocking()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
def test_all_addresses_of_both_families():
    with _udp_socket("", 0, reuse_port=False) as listening:
        assert heard(listening, socket.AF_INET, "127.0.0.1") == b"hello"
        assert heard(listening, socket.AF_INET6, "::1") == b"hello"


def test_all_addresses_where_there_is_no_ipv6(monkeypatch):
    monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    with _udp_socket("", 0, reuse_port=False) as listening:
        assert listening.family == socket.AF_INET
        assert heard(listening, socket.AF_INET, "127.0.0.1") == b"hello"


def test_a_port_in_use_is_told():
    with (
        _udp_socket("127.0.0.1", 0, reuse_port=False) as taken,
        pytest.raises(OSError, match="in use"),
    ):
        _udp_socket("127.0.0.1", taken.getsockname()[1], reuse_port=False)
