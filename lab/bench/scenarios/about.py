"""What each family of scenarios measures, as `fttcp bench --list` tells it."""

ABOUT = {
    "throughput": (
        "one connection down, up, one each way, for 2 s; link of 1 or 2.5 Gbit/s, or unshaped; by "
        "sendfile, and iperf3"
    ),
    "echo": "round trips of 64 bytes and 16 KiB, one after the other for 1.5 s",
    "http": (
        "wrk (32 connections) and nginx, 1 KiB, keep-alive and a connection per request; connections:"
        " connect, echo, close, 16 at a time"
    ),
    "flows": (
        "1 to 50,000 connections, 64 of them asking for 64 bytes or 64 KiB; opened: how fast they were"
    ),
    "cpu": (
        "processor seconds per GB, and per million packets of small echoes, by host. machine has soft"
        " interrupts in it, which belong to no host"
    ),
    "memory": "RssAnon of the daemon for each idle protected connection, less that of a fresh one",
    "renewal": "from a new backup's first connection to its last; log: memory of what each client has sent",
    "flood": (
        "a download or echoes met by 200,000 SYNs, 50,000 in a second or as fast as the machine can "
        '(sent). "flows detached: open-timeout" are its own handshakes'
    ),
    "gap": (
        "the longest silence of a client after a fault, 1 Gbit/s; 7 faults x download, upload, idle, "
        "request x heartbeats of 5 to 100 ms (3 misses). The client opens a broken connection again, "
        "at once when told, or after a second of nothing, and starts over; the row says so. quiet: "
        "the longest silence before the fault; steps: the takeover as the new primary tells it"
    ),
    "stall": "the longest silence of a client when the backup fails",
    "takeover": (
        "1 to 10,000 connections that all ask at the moment of the fault; times since the last sign "
        "of life, or since the cause was noticed"
    ),
    "cost": "pairs with one setting changed, up at the same time",
    "lockstep": (
        "echo, HTTP, HTTPS with it and without. Without, HTTPS is detached at once, and served by one"
        " node: half of the work. detached: with it, servers that differ"
    ),
}
