"""Clients of the recipes that are more than one command: each prints as it goes on."""

from __future__ import annotations

DIALOGUE = """
import pathlib, socket, sys
put, get = (pathlib.Path(__file__).with_name(name).read_bytes() for name in ("put", "get"))
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as server:
    for said, left in [(put, STORED)] + COUNT * [(get, GOT)]:
        server.sendall(said)
        while left:
            heard = server.recv(min(left, 65536))
            if not heard:
                sys.exit("the server has ended the connection")
            left -= len(heard)
            sys.stdout.buffer.write(heard)
            sys.stdout.buffer.flush()
"""
"""Says the content of `put`, then COUNT times that of `get`, each behind the whole answer to what was said
before, and prints the answers: ADDRESS PORT."""

SMTP = """
import smtplib, socket, sys
server = smtplib.SMTP(sys.argv[1], local_hostname="client.example", timeout=60)
if sys.argv[3:] == ["tls"]:
    server.starttls()
server.ehlo()
server.mail("a@example")
server.rcpt("b@example")
assert server.docmd("DATA")[0] == 354
server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
with open(sys.argv[2], "rb") as mail:
    while piece := mail.read(20_000):
        server.sock.sendall(piece)
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
server.sock.sendall(b".\\r\\n")
sys.exit(server.getreply()[0] != 250)
"""
"""Sends a long mail, and prints what of it the network has taken: ADDRESS FILE [tls]."""

ISCSI = """
import ctypes, sys
lib = ctypes.CDLL("libiscsi.so.7")
class Buffer(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
lib.iscsi_create_context.restype = lib.iscsi_read10_iov_sync.restype = ctypes.c_void_p
session = ctypes.c_void_p(lib.iscsi_create_context(b"iqn.2026-01.example:client"))
lib.iscsi_set_targetname(session, b"iqn.2026-01.example:disk")
lib.iscsi_set_session_type(session, 2)
lib.iscsi_set_noautoreconnect(session, 1)
if lib.iscsi_full_connect_sync(session, sys.argv[1].encode() + b":3260", 1):
    sys.exit("no session")
at, end, most = 0, int(sys.argv[2]), 128
space = ctypes.create_string_buffer(most * 512)
whole = Buffer(ctypes.addressof(space), len(space))
while at < end:
    blocks = min(most, end - at)
    done = lib.iscsi_read10_iov_sync(session, 1, at, blocks * 512, 512, 0, 0, 0, 0, 0, ctypes.byref(whole), 1)
    if not done or ctypes.c_int.from_address(done).value:
        sys.exit(f"block {at} cannot be read")
    sys.stdout.buffer.write(space.raw[: blocks * 512])
    sys.stdout.buffer.flush()
    at += blocks
lib.iscsi_logout_sync(session)
"""
"""Reads the first blocks of an iSCSI target's disk in one session: ADDRESS BLOCKS."""

RSYNC_STREAM = (
    "d=$(mktemp -d); trap 'rm -r $d' EXIT; : > $d/out; "
    "rsync -q --inplace --whole-file --checksum-seed=1 rsync://$SERVICE4/files/payload $d/out & "
    "tail --pid=$! -s 0.1 -c +1 -f $d/out; wait $!"
)
GIT = (
    "d=$(mktemp -d); trap 'rm -r $d' EXIT; "
    "for i in 1 2 3 4 5; do git clone --quiet --bare URL/small $d/$i || exit 1; done"
)
GIT_STREAM = (
    "d=$(mktemp -d); trap 'rm -r $d' EXIT; git clone --quiet --bare URL/big $d/copy & "
    "until f=$(ls $d/copy/objects/pack/*TEMPORARY* 2>&-); do kill -0 $! || exit 1; sleep 0.01; done; "
    "tail --pid=$! -s 0.1 -c +1 -f $f; wait $!"
)
"""URL: of the repositories; TEMPORARY: in the name of a pack that is not whole yet."""


def git(script: str, url: str, temporary: str) -> str:
    """One of these."""
    return script.replace("URL", url).replace("TEMPORARY", temporary)
