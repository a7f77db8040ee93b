"""Where HTTP/3 listens: one address, or all of both families."""

import os
import socket
import sys

import pytest
from ports import free_port

from flyball.http.http3.shared_port import marked_id, open_group, udp_socket


def heard(listening, family, host):
    """What comes to a port from an address of its machine."""
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", (host, listening.getsockname()[1]))
        listening.settimeout(60)
        return listening.recv(100)


def test_one_address():
    with udp_socket("127.0.0.1", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert not listening.getblocking()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
def test_all_addresses_of_both_families():
    with udp_socket("", 0) as listening:
        assert heard(listening, socket.AF_INET, "127.0.0.1") == b"hello"
        assert heard(listening, socket.AF_INET6, "::1") == b"hello"


def test_all_addresses_where_there_is_no_ipv6(monkeypatch):
    monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    with udp_socket("", 0) as listening:
        assert listening.family == socket.AF_INET
        assert heard(listening, socket.AF_INET, "127.0.0.1") == b"hello"


def test_a_port_in_use_is_told():
    with (
        udp_socket("127.0.0.1", 0) as taken,
        pytest.raises(OSError, match="in use"),
    ):
        udp_socket("127.0.0.1", taken.getsockname()[1])


def test_connection_ids_tell_the_process():
    for count in (1, 2, 3, 7, 128):
        for first in (0, 1, 127, 128, 254, 255):
            for place in {0, count // 2, count - 1}:
                marked = marked_id(bytes((first, 1, 2)), place, count)
                assert marked[0] % count == place
                assert marked[1:] == b"\x01\x02"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux spreads packets by ids")
def test_the_kernel_sends_packets_where_their_ids_lead():
    group = open_group("127.0.0.1", free_port(), 3)
    try:
        address = group[0].getsockname()
        for place in range(3):
            for _ in range(8):  # from any address
                packet = b"\x40" + marked_id(os.urandom(8), place, 3)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.sendto(packet, address)
                group[place].settimeout(60)
                assert group[place].recv(100) == packet
        for each in group:
            each.setblocking(False)
            with pytest.raises(BlockingIOError):
                each.recv(100)
    finally:
        for each in group:
            each.close()


def test_a_group_does_not_join_another():
    group = open_group("127.0.0.1", free_port(), 2)
    with pytest.raises(OSError, match="in use"):
        open_group("127.0.0.1", group[0].getsockname()[1], 2)
    for each in group:
        each.close()
