"""What an interface of this network namespace is like, asked of the kernel by ioctl."""

import errno
import fcntl
import socket
import struct
from contextlib import suppress
from pathlib import Path

_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927
_IFF_UP, _IFF_RUNNING, _IFF_SLAVE = 0x1, 0x40, 0x800
_ARPHRD_ETHER = 1
_SYSFS = Path("/sys/class/net")
_NAME_MAX = 15


def has_carrier(name: str) -> bool:
    """Whether the interface is up and has a carrier. One that does not exist has none. Raises OSError."""
    try:
        flags: int = struct.unpack_from("=H", _ask(name, _SIOCGIFFLAGS), 16)[0]
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise
    return flags & (_IFF_UP | _IFF_RUNNING) == _IFF_UP | _IFF_RUNNING


def hardware_address(name: str) -> str:
    """The MAC address of an Ethernet interface, as `aa:bb:cc:dd:ee:ff`. Raises OSError."""
    return _ask(name, _SIOCGIFHWADDR)[18:24].hex(":")


def obstacle(name: str) -> str:
    """Why an interface cannot be a standby adapter, whatever its carrier; '' if it can. Waits for no lock of
    the kernel's. Raises OSError."""
    try:
        flags: int = struct.unpack_from("=H", _ask(name, _SIOCGIFFLAGS), 16)[0]
        kind: int = struct.unpack_from("=H", _ask(name, _SIOCGIFHWADDR), 16)[0]
        index = socket.if_nametoindex(name)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return f"there is no interface {name}"
        raise
    if kind != _ARPHRD_ETHER:
        return f"{name} is no Ethernet"
    if flags & _IFF_SLAVE:
        return f"{name} is a port of a bond"
    shown = _SYSFS / name
    with suppress(FileNotFoundError):  # sysfs may show another network namespace
        if int((shown / "ifindex").read_text()) == index and (shown / "brport").exists():
            return f"{name} is a port of a bridge"
    return ""


def _ask(name: str, request: int) -> bytes:
    """The struct ifreq that the kernel fills for an interface. Raises OSError with the name in it."""
    if len(name.encode()) > _NAME_MAX:
        raise ValueError(f"interface {name}: longer than {_NAME_MAX} bytes")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            return fcntl.ioctl(sock, request, struct.pack("=16s24x", name.encode()))
        except OSError as error:
            raise OSError(error.errno, error.strerror, name) from error
