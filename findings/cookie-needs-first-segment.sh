#!/bin/sh
# With SYN cookies, a connection is reset if its data overtakes the acknowledgement that ends the handshake. A cookie is a
# function of the client's initial sequence number, which nobody has kept: Linux takes the number before that of the
# first segment for it (net/ipv4/syncookies.c, __cookie_v4_check). Any other segment of the window makes the cookie wrong,
# and gets a reset, which the client believes. Without cookies such a segment ends the handshake as well.
#
# Version: Linux 6.18.44, Scapy 2.5.0
# Seen: without cookies: 110 bytes, 0 resets; with cookies: 0 bytes, 1 resets
set -eu
[ "${1:-}" = inside ] || {
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	python3 -m venv "$work/venv"
	"$work/venv/bin/pip" install --quiet scapy==2.5.0
	unshare -n sh "$0" inside "$work/venv/bin/python"
	exit
}
ip link set lo up
ip link add eth0 type veth peer name wire
ip link set eth0 address 02:00:00:00:00:01
ip addr add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip link set wire up
ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0
sysctl -qw net.ipv6.conf.all.disable_ipv6=1
connect() { # the cookies setting, the client's port
	sysctl -qw net.ipv4.tcp_syncookies="$1"
	"$2" - "$3" <<'P'
import logging, socket, sys

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.all import IP, TCP, Ether, conf

port, isn = int(sys.argv[1]), 1000
listener = socket.create_server(("192.0.2.1", 7000))
wire = conf.L2socket(iface="wire")

def send(flags, seq, ack=0, data=b""):
    wire.send(Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02") / IP(src="192.0.2.2", dst="192.0.2.1")
              / TCP(sport=port, dport=7000, flags=flags, seq=seq, ack=ack, window=65535) / data)

def answer():
    while True:
        frame = wire.recv()
        if frame is not None and TCP in frame and frame[TCP].sport == 7000 and frame[TCP].dport == port:
            return frame[TCP]

send("S", isn)
synack = answer()
ack = synack.seq + 1
send("PA", isn + 101, ack, b"b" * 10)  # it overtakes
first = answer()
resets, got = int(first.flags.R), 0
if not resets:
    send("A", isn + 1, ack, b"a" * 100)
    server, _ = listener.accept()
    while got < 110:
        got += len(server.recv(200))
    server.close()
print(f"{got} bytes, {resets} resets")
P
}
without=$(connect 1 "$2" 40001)
with=$(connect 2 "$2" 40002)
echo "without cookies: $without; with cookies: $with"
[ "$without" = "110 bytes, 0 resets" ] && [ "$with" = "0 bytes, 1 resets" ]
