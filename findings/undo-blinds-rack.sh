#!/bin/sh
# A segment that Linux took for lost, and then did not because a repair looked spurious, is not found lost again by RACK:
# however many later segments are acknowledged, only the retransmission timer sends it again. What RACK marks leaves its
# list (net/ipv4/tcp_recovery.c, tcp_rack_detect_loss), an undo takes the mark away (net/ipv4/tcp_input.c,
# tcp_undo_cwnd_reduction), and nothing puts the segment back. Here nine segments are taken for lost, the first repair is
# acknowledged, with the time of the first copy (spurious: RFC 3522) or of the second, and the second segment is lost.
#
# Version: Linux 6.18.44, Scapy 2.5.0
# Seen: second copy's time: again by RACK; first copy's time: again by the timer
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
ip link add eth0 gso_max_segs 1 type veth peer name wire
ip link set eth0 address 02:00:00:00:00:01
ip addr add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip link set wire up
ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0
sysctl -qw net.ipv6.conf.all.disable_ipv6=1
repaired() { # which copy's time the acknowledgement of the first repair has
	"$2" - "$1" <<'P'
import logging, socket, sys, threading, time

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.all import IP, TCP, Ether, conf

which, MSS = sys.argv[1], 1000
wire = conf.L2socket(iface="wire")
client = socket.socket()
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

def heard(within=5.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        frame = wire.recv()
        if frame is not None and TCP in frame and frame[TCP].dport == 7000:
            return frame[TCP]
    return None

def stamp(segment):
    return dict(segment.options)["Timestamp"][0]

def say(flags, seq, ack, echo, sack=(), options=()):
    blocks = [("SAck", tuple(sack))] if sack else []
    wire.send(Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02") / IP(src="192.0.2.2", dst="192.0.2.1")
              / TCP(sport=7000, dport=port, flags=flags, seq=seq, ack=ack, window=65535,
                    options=[*options, ("Timestamp", (1, echo)), *blocks]))

threading.Thread(target=lambda: (client.connect(("192.0.2.2", 7000)), client.sendall(bytes(10 * MSS)))).start()
syn = heard()
port, begin = syn.sport, syn.seq + 1
time.sleep(0.3)  # the round trip: what RACK bears of reordering is a part of it, and the timer more than it
say("SA", 5000, begin, stamp(syn), options=[("MSS", MSS + 12), ("SAckOK", b"")])

def sent():
    while (segment := heard()) is not None:
        if len(segment.payload) == MSS:
            return (segment.seq - begin) // MSS, segment

first = [sent()[1] for _ in range(10)]
at = lambda n: begin + n * MSS
time.sleep(0.1)
say("A", 5001, at(0), stamp(first[0]), (at(9), at(10)))
number, again = sent()
assert number == 0, number
while stamp(again) == stamp(first[0]):
    pass
say("A", 5001, at(1), stamp(first[0] if which == "first" else again))
for last in range(3, 10):  # now all but the second segment arrive
    time.sleep(0.002)
    say("A", 5001, at(1), stamp(first[0]), (at(2), at(last)))
before = time.monotonic()
while True:
    number, segment = sent()
    if number == 1:
        break
print("RACK" if time.monotonic() - before < 0.3 else "the timer")
P
}
second=$(repaired second "$2")
first=$(repaired first "$2")
echo "second copy's time: again by $second; first copy's time: again by $first"
[ "$second" = RACK ] && [ "$first" = "the timer" ]
