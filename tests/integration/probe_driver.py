"""Run inside a namespace: probe as told on the command line; prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from ipaddress import ip_address

from fttcp.arbiter.probe import Prober


async def main(interface: str, what: str, window_s: str, *addresses: str) -> None:
    places = [interface]
    prober = Prober(lambda: places[0])
    asked = [ip_address(text) for text in addresses]
    print("ready", file=sys.stderr, flush=True)
    began = time.monotonic()
    if what == "claimed":
        answer: object = await prober.claimed(asked, float(window_s))
    elif what == "watch":
        answer = await prober.watch(asked, 2 * float(window_s)).claimed(float(window_s))
    elif what == "anew":
        await asyncio.to_thread(sys.stdin.readline)
        answer = await prober.claimed(asked, float(window_s))
    elif what == "ended":
        watch = prober.watch(asked, 0.001)
        await asyncio.sleep(float(window_s))
        answer = await watch.claimed(0.001)
    elif what == "moved":
        watch = prober.watch(asked[:1], 2 * float(window_s))
        await asyncio.sleep(float(window_s))
        places[0] = "lo"
        answer = [await watch.claimed(float(window_s)), await prober.claimed(asked, float(window_s))]
        places[0] = interface
        answer.append(await prober.claimed(asked, 20))
    else:
        answer = await prober.reachable(asked, float(window_s))
    print(json.dumps({"answer": answer, "took_ms": (time.monotonic() - began) * 1000}))
    prober.close()


asyncio.run(main(*sys.argv[1:]))
