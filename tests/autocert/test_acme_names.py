"""Names, schedule and cache files."""

import os
import stat
import sys
import threading

import pytest
from acme_certs import DAY, pair
from hypothesis import given
from hypothesis import strategies as st

from flyball.server.acme.cache import FolderCache, MemoryCache
from flyball.server.acme.certificate import Certificate, challenge_pem, new_key
from flyball.server.acme.names import normal_host, split_address
from flyball.server.acme.schedule import renewal_time, retry_delay

HOUR = 3600.0


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("example.org", "example.org"),
        ("  WWW.Example.ORG. ", "www.example.org"),
        ("localhost", "localhost"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("a_b.example", "a_b.example"),
    ],
)
def test_names(name, host):
    assert normal_host(name) == host


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "not a host name"),
        ("*.example.org", "wildcards"),
        ("192.0.2.1", "IP address"),
        ("[2001:db8::1]", "IP address"),
        ("https://example.org", "the name alone"),
        ("example.org:443", "the name alone"),
        ("a..b", "not a host name"),
        ("-a.example", "not a host name"),
        ("../../etc/passwd", "the name alone"),
        (".draft", "not a host name"),
        ("a+token", "not a host name"),
        ("x" * 64 + ".example", "not a host name"),
        ("\N{SNOWMAN}\N{COMBINING ENCLOSING KEYCAP}.example", "not a host name"),
    ],
)
def test_what_is_no_name(name, why):
    with pytest.raises(ValueError, match=why):
        normal_host(name)


@given(st.text(max_size=40))
def test_a_name_is_safe_as_a_file_name(text):
    try:
        host = normal_host(text)
    except ValueError:
        return
    assert "/" not in host
    assert "+" not in host
    assert not host.startswith(".")
    assert normal_host(host) == host


def test_addresses():
    assert split_address(":80") == ("", 80)
    assert split_address("127.0.0.1:8080") == ("127.0.0.1", 8080)
    assert split_address("[::1]:80") == ("::1", 80)
    for wrong in ("", "80", ":", "localhost", "::1:80", ":http", ":65536"):
        with pytest.raises(ValueError, match="host:port"):
            split_address(wrong)


def test_renewal_times():
    assert renewal_time(0, 90 * DAY, 0) == pytest.approx(60 * DAY)
    assert renewal_time(0, 90 * DAY, 1) == pytest.approx(59.1 * DAY)
    assert renewal_time(0, 6 * DAY, 0) == pytest.approx(3 * DAY)
    assert renewal_time(100, 50, 1) == 100


def test_retry_delays():
    delays = [retry_delay(failures, 0) for failures in range(1, 9)]
    assert delays == [60, 180, 540, 1620, 4860, 14580, 21600, 21600]
    # Let's Encrypt allows five failures an hour.
    assert sum(delays[:4]) < HOUR < sum(delays[:5])
    assert retry_delay(1, 1) == pytest.approx(66)
    assert retry_delay(1, 0, asked=86400) == 86400
    assert retry_delay(10**9, 0) == 21600


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_certificates_are_read(kind):
    pem = pair("a.test", "B.test", start=1000, end=2000, kind=kind)
    for host in ("a.test", "b.test"):
        found = Certificate.parse(pem, host)
        assert (found.pem, found.not_before, found.not_after) == (pem, 1000, 2000)
    assert not found.is_valid(999)
    assert found.is_valid(1000)
    assert not found.is_valid(2000)


def test_certificates_of_no_use():
    key, certificate = pair("a.test", start=0, end=1).split(b"-----BEGIN CERT", 1)
    certificate = b"-----BEGIN CERT" + certificate
    for pem, why in (
        (b"", "no private key"),
        (certificate, "no private key"),
        (key, "no certificate"),
        (new_key() + certificate, "belongs to another"),
        (key + certificate, "not for c.test"),
        (b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "no private"),
    ):
        with pytest.raises(ValueError, match=why):
            Certificate.parse(pem, "c.test")


def test_keys_are_of_the_kind_that_the_original_reads():
    assert new_key().startswith(b"-----BEGIN EC PRIVATE KEY-----\n")
    assert challenge_pem("a.test", "x").startswith(b"-----BEGIN EC PRIVATE KEY-----\n")


def test_files_are_private(tmp_path):
    folder = tmp_path / "deep" / "cache"
    cache = FolderCache(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert cache.get("a.test") is None
    cache.put("a.test", b"one")
    assert cache.get("a.test") == b"one"
    assert stat.S_IMODE((folder / "a.test").stat().st_mode) == 0o600
    FolderCache(folder).put("a.test", b"two")
    assert (folder / "a.test").read_bytes() == b"two"
    cache.delete("a.test")
    cache.delete("a.test")
    assert list(folder.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    cache = FolderCache(tmp_path)
    cache.put("a.test", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        cache.put("a.test", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.test"]
    assert cache.get("a.test") == b"old"


def test_a_cache_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        FolderCache(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        FolderCache(tmp_path / "file" / "below")


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_one_process_at_a_time(tmp_path):
    ours, theirs = FolderCache(tmp_path), FolderCache(tmp_path)
    with ours.exclusively() as first, theirs.exclusively() as second:
        assert (first, second) == (True, False)
    with theirs.exclusively() as third:
        assert third


def test_memory_cache():
    cache = MemoryCache()
    cache.put("x", b"1")
    assert cache.get("x") == b"1"
    cache.delete("x")
    cache.delete("x")
    assert cache.get("x") is None
    with cache.exclusively() as first:
        assert first
        inside = []

        def other():
            with cache.exclusively() as second:
                inside.append(second)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert inside == [False]
