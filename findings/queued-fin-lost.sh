#!/bin/sh
# A FIN that waits in an NFQUEUE at INPUT is lost, without a word, if the acknowledgement of the server's FIN waits there
# before it. Early demux ties a packet to a socket before INPUT. The acknowledgement turns a closed server's socket in
# FIN_WAIT_1 into one of TIME_WAIT; the FIN still goes to the old one, which is closed and drops it. The client's timer
# (200 ms) sends it again. With net.ipv4.ip_early_demux=0 the socket is looked for when the packet gets there.
#
# Version: Linux 6.18.44, iptables 1.8.9 (nf_tables), NetfilterQueue 1.1.0
# Seen: FINs of 20 connections: 40 with early demux, 20 without
set -eu
[ "${1:-}" = inside ] || {
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	python3 -m venv "$work/venv"
	"$work/venv/bin/pip" install --quiet NetfilterQueue==1.1.0
	unshare -n sh "$0" inside "$work/venv/bin/python"
	exit
}
unshare -n sleep infinity &
client=$!
trap 'kill $client' EXIT
while [ "$(readlink /proc/$client/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add eth0 type veth peer name eth0 netns $client
ip addr add 192.0.2.1/24 dev eth0
ip link set eth0 up
nsenter -t $client -n sh -c 'ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up; ip route change 192.0.2.0/24 dev eth0 quickack 1'
iptables -A INPUT -p tcp --dport 7000 -j NFQUEUE --queue-num 0
fins() {
	sysctl -qw net.ipv4.ip_early_demux="$1"
	"$2" - $client <<'P'
import socket, subprocess, sys, threading
from netfilterqueue import NetfilterQueue

CONNECTIONS, FIN = 20, 1
CLIENT = """
import socket
for _ in range(20):
    with socket.create_connection(("192.0.2.1", 7000)) as client:
        client.sendall(b"?")
        client.recv(1)
"""
fins, held, closing = 0, [], False

def decide(packet):
    global fins, closing
    segment = packet.get_payload()[(packet.get_payload()[0] & 15) * 4 :]
    held.append(packet)
    packet.retain()
    fins += segment[13] & FIN
    if closing and not segment[13] & FIN:
        return
    closing = False
    while held:
        held.pop(0).accept()  # the acknowledgement, then the FIN

queue = NetfilterQueue()
queue.bind(0, decide)
threading.Thread(target=queue.run, daemon=True).start()
listener = socket.create_server(("192.0.2.1", 7000))
client = subprocess.Popen(["nsenter", "-t", sys.argv[1], "-n", sys.executable, "-c", CLIENT])
for _ in range(CONNECTIONS):
    server, _ = listener.accept()
    server.recv(1)
    closing = True
    server.close()
    while True:  # until the client's last FIN is acknowledged
        told = open(f"/proc/{sys.argv[1]}/net/tcp").read().splitlines()[1:]
        if not any(line.split()[3] == "09" for line in told) and not closing:
            break
client.wait()
print(fins)
P
}
with=$(fins 1 "$2")
without=$(fins 0 "$2")
echo "FINs of 20 connections: $with with early demux, $without without"
[ "$with" -gt 20 ] && [ "$without" -eq 20 ]
