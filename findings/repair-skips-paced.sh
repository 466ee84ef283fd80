#!/bin/sh
# Who only asks a socket for its sequence number by TCP_REPAIR can lose a segment of it. What pacing lets go while the send
# queue is chosen in repair mode counts as sent (SIOCOUTQNSD), and nothing leaves. The peer gets it when the retransmission
# timer has expired. BBR paces, so with it each look is such a moment.
#
# Version: Linux 6.18.44
# Seen: 3000 bytes written, 0 heard, 0 unsent, 0 retransmitted; later 3000 heard, 1 retransmitted
set -eu
unshare -n sh -c 'ip link set lo up; python3 -' <<'P'
import fcntl, socket, struct, termios
TCP_REPAIR, TCP_REPAIR_QUEUE, SEND_QUEUE, SO_MAX_PACING_RATE, SIOCOUTQNSD, RETRANSMITTED = 19, 20, 2, 47, 0x894B, 100
TCP = socket.IPPROTO_TCP

def number(sock, request):
    return struct.unpack("i", fcntl.ioctl(sock, request, bytes(4)))[0]

def retransmitted():
    return struct.unpack_from("I", sender.getsockopt(TCP, socket.TCP_INFO, 104), RETRANSMITTED)[0]

listener = socket.create_server(("127.0.0.1", 0))
sender = socket.create_connection(listener.getsockname())
heard, _ = listener.accept()
sender.setsockopt(TCP, socket.TCP_NODELAY, 1)
sender.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 10000)  # bytes/s
for _ in range(10):  # the first ten segments are not paced
    sender.send(b"x")
    heard.recv(1)
for _ in range(3):
    sender.send(bytes(1000))
sender.setsockopt(TCP, TCP_REPAIR, 1)
sender.setsockopt(TCP, TCP_REPAIR_QUEUE, SEND_QUEUE)
while number(sender, SIOCOUTQNSD):
    pass
sender.setsockopt(TCP, TCP_REPAIR, -1)
first = number(heard, termios.FIONREAD), number(sender, SIOCOUTQNSD), retransmitted()
print(f"3000 bytes written, {first[0]} heard, {first[1]} unsent, {first[2]} retransmitted", end="; ")
heard.settimeout(30)
got = len(heard.recv(3000, socket.MSG_WAITALL))
print(f"later {got} heard, {retransmitted()} retransmitted")
assert first[0] < 3000 and first[1:] == (0, 0) and got == 3000 and retransmitted() > 0
P
