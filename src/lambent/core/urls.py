"""Which URLs the server may be asked to call, and which addresses it may call for whom."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit

from lambent.core.errors import InvalidSpec

URL_CHARACTERS_MAX: Final = 2000
PORTS: Final = {"http": 80, "https": 443}


def checked_url(url: str) -> str:
    """`url` itself. Raises `InvalidSpec` unless it is http or https, with a host and without credentials."""
    parts = _split(url)
    flaw = ""
    if len(url) > URL_CHARACTERS_MAX:
        flaw = f"has more than {URL_CHARACTERS_MAX} characters"
    elif not (url.isascii() and url.isprintable()) or " " in url:
        flaw = "holds characters that a URL cannot"
    elif parts is None or parts.scheme not in PORTS or not parts.hostname:
        flaw = "is not of the form http://host/path or https://host/path"
    elif parts.username is not None or parts.password is not None:
        flaw = "holds a name or a password: the signature proves who sends, nothing else is sent"
    if flaw:
        shown = url if len(url) <= 60 else f"{url[:59]}…"
        raise InvalidSpec(f"the webhook {shown!r} {flaw}")
    return url


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: no loopback, private, link-local or special one.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged by both.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    return all(one.is_global and not one.is_multicast for one in (ip, *_inside(ip)))


def _inside(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    found = [one for one in (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())) if one is not None]
    if ip in ipaddress.IPv6Network("64:ff9b::/96"):
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return found


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is none raises here
    except ValueError:
        return None
    return parts
