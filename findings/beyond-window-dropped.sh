#!/bin/sh
# A segment that begins in the receive window and ends one byte beyond it is dropped whole, as long as the application has
# something unread; with nothing unread it is taken whole. Before Linux 6.17 it was taken in both cases. A segment may be
# 64 KiB here (GRO), and TcpExtBeyondWindow is all that tells of it. Who rewrites windows on the way must not round up.
#
# Version: Linux 6.18.44
# Seen: 1 unread; 1 byte too many: 0 of 20000 taken, 1 beyond the window; what fits: 19999 of 19999 taken
#       0 unread; 1 byte too many: 20000 of 20000 taken, 0 beyond the window
set -eu
unshare -n sh -c 'ip link set lo up; sysctl -qw net.ipv4.tcp_timestamps=0; python3 -' <<'P'
import array, fcntl, pathlib, socket, struct, termios
TCP, REPAIR, QUEUE, QUEUE_SEQ, WINDOW, RECV, SEND = socket.IPPROTO_TCP, 19, 20, 21, 29, 1, 2
HOST = "127.0.0.1"

def places(sock):
    """Its rcv_nxt, snd_nxt, and the right edge of its window."""
    sock.setsockopt(TCP, REPAIR, 1)
    at = []
    for queue in (RECV, SEND):
        sock.setsockopt(TCP, QUEUE, queue)
        at.append(struct.unpack("I", sock.getsockopt(TCP, QUEUE_SEQ, 4))[0])
    *_, wnd, wup = struct.unpack("5I", sock.getsockopt(TCP, WINDOW, 20))
    sock.setsockopt(TCP, REPAIR, -1)
    return at[0], at[1], wup + wnd

def unread(sock):
    return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]

def beyond():
    names, values = (line.split() for line in pathlib.Path("/proc/net/netstat").read_text().splitlines()[:2])
    return int(dict(zip(names, values))["BeyondWindow"])

def say(sock, more):
    """Send all that its window has room for, and `more` bytes; return how many it took, and how many there were."""
    rcv_nxt, snd_nxt, edge = places(sock)
    payload = bytes(edge - rcv_nxt + more)
    head = struct.pack("!HHIIBBHHH", sender.getsockname()[1], sock.getsockname()[1], rcv_nxt, snd_nxt, 80, 0x10, 1000, 0, 0)
    pseudo = socket.inet_aton(HOST) * 2 + struct.pack("!BBH", 0, TCP, len(head) + len(payload))
    whole = pseudo + head + payload
    total = sum(array.array("H", whole + bytes(len(whole) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    before = unread(sock)
    raw.sendto(head[:16] + struct.pack("=H", ~total & 0xffff) + head[18:] + payload, (HOST, 0))  # over lo: done on return
    return unread(sock) - before, len(payload)

raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, TCP)
seen = []
for waits in (1, 0):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
    listener.bind((HOST, 0))
    listener.listen()
    sender = socket.create_connection(listener.getsockname())
    sock, _ = listener.accept()
    sender.send(b"x")
    if not waits:
        sock.recv(1)
    before = beyond()
    taken, of = say(sock, 1)
    print(f"{waits} unread; 1 byte too many: {taken} of {of} taken, {beyond() - before} beyond the window", end="")
    seen += [taken == of, beyond() - before]
    if waits:
        taken, of = say(sock, 0)
        print(f"; what fits: {taken} of {of} taken", end="")
        seen.append(taken == of)
    print()
assert seen == [False, 1, True, True, 0], seen
P
