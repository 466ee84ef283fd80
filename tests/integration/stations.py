"""Other stations on the service network of a lab: what they know, what they claim."""

from __future__ import annotations

import json
import sys
from ipaddress import ip_address

from lab.faults import make_fault
from lab.hosts import Host, await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4, SERVICE6
from tests.integration.traffic import traffic

SERVICES = (SERVICE4, SERVICE6)

CLAIM = """
import socket, sys
from ipaddress import ip_address
address, mac = ip_address(sys.argv[1]), bytes.fromhex(sys.argv[2].replace(":", ""))
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("eth0", 0))
    if address.version == 4:
        arp = b"\\0\\1\\x08\\0\\6\\4\\0\\2" + mac + address.packed + mac + address.packed
        sock.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + arp)
    else:
        body = b"\\x88\\0\\0\\0\\x20\\0\\0\\0" + address.packed + b"\\2\\1" + mac
        ends = address.packed + ip_address("ff02::1").packed
        summed = ends + len(body).to_bytes(4, "big") + b"\\0\\0\\0\\x3a" + body
        total = sum(int.from_bytes(summed[at:at + 2], "big") for at in range(0, len(summed), 2))
        while total >> 16:
            total = (total & 0xffff) + (total >> 16)
        body = body[:2] + (~total & 0xffff).to_bytes(2, "big") + body[4:]
        head = b"\\x60\\0\\0\\0" + len(body).to_bytes(2, "big") + b"\\x3a\\xff" + ends
        sock.send(b"\\x33\\x33\\0\\0\\0\\1" + mac + b"\\x86\\xdd" + head + body)
"""


ASK = """
import select, socket, struct, sys, time
from ipaddress import ip_address
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
own4, own6 = ip_address(sys.argv[2]), ip_address(sys.argv[3])
def checksum(data):
    total = sum(int.from_bytes(data[at:at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return (~total & 0xffff).to_bytes(2, "big")
def question(address):
    if address.version == 4:
        arp = b"\\0\\1\\x08\\0\\6\\4\\0\\1" + mac + own4.packed + bytes(6) + address.packed
        return b"\\xff" * 6 + mac + b"\\x08\\x06" + arp
    group = ip_address("ff02::1:ff00:0").packed[:13] + address.packed[13:]
    body = b"\\x87\\0\\0\\0" + bytes(4) + address.packed + b"\\1\\1" + mac
    ends = own6.packed + group
    body = body[:2] + checksum(ends + len(body).to_bytes(4, "big") + b"\\0\\0\\0\\x3a" + body) + body[4:]
    head = b"\\x60\\0\\0\\0" + len(body).to_bytes(2, "big") + b"\\x3a\\xff" + ends
    return b"\\x33\\x33" + group[12:] + mac + b"\\x86\\xdd" + head + body
def answer(frame):
    if frame[12:14] == b"\\x08\\x06" and frame[20:22] == b"\\0\\2":
        return str(ip_address(frame[28:32])), frame[22:28].hex(":")
    if frame[12:14] == b"\\x86\\xdd" and frame[20] == 58 and frame[54] == 136:
        return str(ip_address(frame[62:78])), frame[6:12].hex(":")
    return None
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)) as sock:
    sock.bind(("eth0", 3))
    last = {str(ip_address(text)) for text in sys.argv[4:]}
    asked, end = [ip_address(text) for text in (sys.argv[4], *sys.argv[5:])], time.monotonic() + 10
    for address in asked:
        sock.send(question(address))
    again = time.monotonic() + 0.2
    while last and time.monotonic() < end:
        if select.select([sock], [], [], max(0, again - time.monotonic()))[0]:
            found = answer(sock.recv(2048))
            if found is not None:
                print(*found)
                last.discard(found[0])
        else:
            again = time.monotonic() + 0.2
            for address in asked:
                sock.send(question(address))
    sys.exit(len(last))
"""


def answerers(lab: Lab, service: str, others: list[str]) -> set[str]:
    """The MAC addresses that answer the client's question for a service address. ``others`` are asked after
    it, and answer: by then the kernels that have them have seen that question, too."""
    own4, own6 = "10.77.0.10", "fd77::10"
    words = [sys.executable, "-I", "-c", ASK, mac_of(lab, CLIENT, "eth0"), own4, own6, service, *others]
    lines = lab.host(CLIENT).run(words).splitlines()
    return {mac for address, mac in map(str.split, lines) if address == service}


def claim(host: Host, address: str, mac: str) -> None:
    """A gratuitous ARP reply, or an unsolicited advertisement, to all."""
    host.run([sys.executable, "-I", "-c", CLAIM, address, mac])


def known_mac(lab: Lab, host: str, address: str, interface: str = "eth0") -> str:
    """Where a host takes an address to be; '' if it does not know."""
    version = "-6" if ip_address(address).version == 6 else "-4"
    shown = lab.host(host).run(["ip", "-j", version, "neigh", "show", address, "dev", interface])
    return next((str(entry.get("lladdr", "")) for entry in json.loads(shown or "[]")), "")


def await_mac(lab: Lab, host: str, mac: str, interface: str = "eth0") -> None:
    """Wait until a host takes both service addresses to be there."""
    for service in SERVICES:
        await_condition(
            lambda service=service: known_mac(lab, host, service, interface) == mac,  # type: ignore[misc]
            30,
            f"{host} to learn that {service} is at {mac}",
        )


def only_svc0_answers(lab: Lab, others: list[str], target: str) -> None:
    """With a daemon on both nodes, and when that of ``target`` ("backup" or "primary") is dead; ``others``:
    the addresses of the nodes' other interfaces."""
    old = lab.node_in_role("primary")
    (new,) = set(lab.nodes()) - {old}
    dead, lives = (new, old) if target == "backup" else (old, new)
    with traffic(lab) as connections:
        connections.goes_on("the start")
        for service in SERVICES:
            assert answerers(lab, service, others) == {mac_of(lab, old, "svc0")}
        make_fault(lab, "kill-node", dead)
        connections.goes_on("the kill", silent=True)
        for service in SERVICES:
            assert answerers(lab, service, others) == {mac_of(lab, lives, "svc0")}
        lab.host(CLIENT).run(["ip", "neigh", "flush", "all"])
        connections.goes_on("all neighbours are asked for anew", silent=True)


def mac_of(lab: Lab, host: str, interface: str) -> str:
    """The MAC address of an interface."""
    (link,) = json.loads(lab.host(host).run(["ip", "-j", "link", "show", interface]))
    return str(link["address"])


def events(lab: Lab, host: str, kind: str) -> list[dict[str, object]]:
    """What the daemon of a host told, of a kind."""
    answer = lab.ask(lab.host(host).name, {"op": "events", "since": 0}, timeout_s=5.0)
    return [event for event in answer["events"] if event["event"] == kind]
