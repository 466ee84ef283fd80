"""A commit channel that carries nothing back is told."""

from __future__ import annotations

from fttcp.group.commits import LEAST, ChannelWatch


def counters(sent: int, received: int) -> dict[str, int]:
    return {"channel_datagrams_sent": sent, "channel_datagrams_received": received}


def test_many_datagrams_without_an_answer_are_a_dead_channel() -> None:
    watch = ChannelWatch()
    assert not watch.look(True, counters(100, 90))
    assert not watch.look(True, counters(99 + LEAST, 90)), "there is little to be answered"
    assert [reason.why for reason in watch.look(True, counters(100 + LEAST, 90))] == ["channel"]
    assert watch.look(True, counters(100 + LEAST, 90)), "nothing new is known"
    assert not watch.look(True, counters(100 + LEAST, 91))
    assert not watch.look(True, counters(99 + 2 * LEAST, 91))


def test_only_a_primary_in_step_is_answered() -> None:
    watch = ChannelWatch()
    assert not watch.look(False, counters(0, 0))
    assert not watch.look(False, counters(10 * LEAST, 0))
    assert not watch.look(True, counters(11 * LEAST - 1, 0))
    assert watch.look(True, counters(12 * LEAST, 0))
    assert not watch.look(False, counters(13 * LEAST, 0))
