"""What a generated client says, by the port of the service."""

from __future__ import annotations

TLS_PORTS = frozenset({443, 465, 636, 853, 993, 995, 8443})
_HTTP_PORTS = frozenset({80, 81, 443, 3000, 5000, 8000, 8008, 8080, 8081, 8443, 8888})

Turns = list[bytes]
"""What a client says, one after the other; behind each it waits for the answer."""


def _http(number: int) -> Turns:
    asked = [("GET", "/"), ("GET", "/"), ("HEAD", "/"), ("GET", f"/no-such-page-{number}"), ("GET", "/")]
    lines = [f"{method} {path} HTTP/1.1\r\nHost: probe.test\r\nAccept: */*\r\n" for method, path in asked]
    return [
        f"{line}{'Connection: close' if line is lines[-1] else 'X: y'}\r\n\r\n".encode() for line in lines
    ]


def _lines(*texts: str) -> Turns:
    return [f"{text}\r\n".encode() for text in texts]


def _memcached(number: int) -> Turns:
    name = f"probe-{number}"
    return _lines(
        f"set {name} 0 0 5\r\nhello", f"get {name}", f"incr {name} 1", "version", f"delete {name}", "quit"
    )


def _redis(number: int) -> Turns:
    name = f"probe-{number}"
    return _lines("PING", f"SET {name} hello", f"GET {name}", f"DEL {name}", "QUIT")


def turns(port: int, number: int) -> Turns:
    """What connection `number` says to the service at `port`."""
    if port in _HTTP_PORTS:
        return _http(number)
    match port:
        case 11211:
            return _memcached(number)
        case 6379:
            return _redis(number)
        case 21 | 990:
            return _lines("USER anonymous", "PASS probe@probe.test", "SYST", "PWD", "PASV", "QUIT")
        case 25 | 465 | 587:
            return _lines("EHLO probe.test", "NOOP", "MAIL FROM:<probe@probe.test>", "RSET", "QUIT")
        case 110 | 995:
            return _lines("CAPA", "NOOP", "QUIT")
        case 143 | 993:
            return _lines("a CAPABILITY", "b NOOP", "c LOGOUT")
    return _lines("hello", f"probe {number}", "help", "", "quit")


def is_known(port: int) -> bool:
    """Whether what is said is made for what usually serves this port."""
    return port in _HTTP_PORTS or port in (21, 25, 110, 143, 465, 587, 990, 993, 995, 6379, 11211)
