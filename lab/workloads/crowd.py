"""A thousand connections at once, each verified."""

from __future__ import annotations

import asyncio
import time

from lab.workloads.base import CONNECT_BOUND_S, Failure, Session, verify
from lab.workloads.ramp import Ramp

CONNECTIONS = 1000
OPENING_AT_ONCE = 50


def many(session: Session) -> None:
    """Open 1,000 connections, then echo lines on each of them until the duration is over."""
    asyncio.run(_crowd(session))


async def _crowd(session: Session) -> None:
    opening = asyncio.Semaphore(OPENING_AT_ONCE)
    everyone = asyncio.Barrier(CONNECTIONS)
    members = [_member(session, number, opening, everyone) for number in range(CONNECTIONS)]
    async with asyncio.timeout(session.duration_s + 6 * session.bound_s + CONNECT_BOUND_S):
        results = await asyncio.gather(*members, return_exceptions=True)
    for failure in (r for r in results if isinstance(r, BaseException)):
        if not isinstance(failure, Failure):
            raise failure
        session.result.errors.append(str(failure))
    failures = [r for r in results if isinstance(r, Failure)]
    if failures:
        raise Failure(failures[0].kind, f"{len(failures)} of {CONNECTIONS}: {failures[0]}")


async def _member(
    session: Session, number: int, opening: asyncio.Semaphore, everyone: asyncio.Barrier
) -> None:
    """One connection; it reaches the barrier also when it fails, so that the others are not stopped."""
    label, ramp, offset = f"connection {number}", session.ramp(number * 777), 0
    reader, writer = None, None
    failure: Failure | None = None
    async with opening:
        try:
            async with asyncio.timeout(max(session.bound_s, CONNECT_BOUND_S)):
                reader, writer = await asyncio.open_connection(session.address, session.port)
                label = "{}:{}".format(*writer.get_extra_info("sockname")[:2])
                writer.write(b"echo\n")
        except OSError as error:  # TimeoutError is one
            failure = Failure("stall", f"{label}: cannot connect: {error!r}")
    await everyone.wait()
    if failure is not None or reader is None or writer is None:
        raise failure or Failure("stall", label)
    session.started()
    end, draw = time.monotonic() + session.duration_s, session.random.random
    try:
        while time.monotonic() < end:
            await asyncio.sleep(draw() * 2)
            offset = await _echo_once(session, reader, writer, ramp, offset, label)
        writer.write_eof()
        async with asyncio.timeout(session.bound_s):
            if extra := await reader.read(64):
                raise Failure("wrong", f"{label}: {len(extra)} bytes beyond the end")
    except (ConnectionResetError, BrokenPipeError) as error:
        raise Failure("reset", f"{label}: {error!r} at byte {offset}") from error
    except asyncio.IncompleteReadError as error:
        raise Failure("closed", f"{label}: closed by the server at byte {offset}") from error
    except TimeoutError as error:
        raise Failure("stall", f"{label}: nothing for {session.bound_s} s at byte {offset}") from error
    finally:
        writer.close()


async def _echo_once(
    session: Session,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ramp: Ramp,
    offset: int,
    label: str,
) -> int:
    length = session.random.randrange(1, 400)
    asked = time.monotonic()
    writer.write(bytes(ramp.chunk(offset, length)))
    async with asyncio.timeout(session.bound_s):
        data = await reader.readexactly(length)
    session.gap.largest_s = max(session.gap.largest_s, time.monotonic() - asked)
    verify(ramp, offset, data, label)
    session.result.bytes_up += length
    session.result.bytes_down += length
    session.result.requests += 1
    return offset + length
