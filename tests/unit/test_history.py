"""Histories: read as they were written, refused where they cannot be believed, and played to servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from fttcp.history.head import Head, build_of, decode, unlike
from fttcp.history.player import Played, Player, PlayError, look_through
from fttcp.history.reader import Ending, Flow, HistoryError, How, Kind, Reader
from fttcp.wire.errors import WireError
from tests.histories import HEAD, HistoryWriter

ONE = Flow("tcp", "127.0.0.1", 40001, "127.0.0.1", 80, 7)
TWO = Flow("tcp", "fd77::10", 40002, "fd77::100", 80, 8)


def a_history() -> HistoryWriter:
    written = HistoryWriter()
    written.open(ONE)
    written.open(TWO)
    written.output(TWO, 12)
    written.input(ONE, 0, b"hello ")
    written.input(ONE, 6, b"world", fin=True, after=3)
    written.output(ONE, b"HELLO WORLD")
    written.end(ONE)
    written.end(TWO, How.SERVER_RST)
    written.done()
    return written


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    reader = Reader(a_history().to(tmp_path / "x"))
    assert reader.head == HEAD and reader.ending is None
    events = list(reader.events())
    assert [(event.kind, event.flow) for event in events] == [
        (Kind.OPEN, ONE),
        (Kind.OPEN, TWO),
        (Kind.OUTPUT, TWO),
        (Kind.INPUT, ONE),
        (Kind.INPUT, ONE),
        (Kind.OUTPUT, ONE),
        (Kind.END, ONE),
        (Kind.END, TWO),
    ]
    assert (events[2].place, events[2].crc) == (12, None)
    assert (events[4].offset, events[4].data, events[4].fin) == (6, b"world", True)
    assert events[5].place == 11 and events[5].crc is not None
    assert [event.how for event in events[-2:]] == [How.CLOSED, How.SERVER_RST]
    assert reader.ending is Ending.DONE and reader.at == reader.size
    assert str(TWO) == "tcp [fd77::10]:40002 > [fd77::100]:80"


def test_what_is_cut_is_read_up_to_there(tmp_path: Path) -> None:
    frames = a_history().frames
    whole = b"".join(frames[:5])
    for more, ending in ((0, Ending.OPEN), (1, Ending.CUT), (len(frames[5]) - 1, Ending.CUT)):
        path = tmp_path / str(more)
        path.write_bytes(whole + frames[5][:more])
        reader = Reader(path)
        assert len(list(reader.events())) == 3
        assert reader.ending is ending and reader.at == len(whole)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "too short"),
        (b"GET / HTTP/1.0\r\n\r\n", "begins with something else"),
        (a_history().frames[0][:8] + (9).to_bytes(4, "big") + bytes(4), "of version 9"),
        (a_history().frames[0], "head is damaged"),
        (a_history().frames[0] + a_history().frames[2], "head is damaged"),
    ],
    ids=["empty", "other", "version", "headless", "other-first"],
)
def test_what_is_no_history_is_refused(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(HistoryError, match=word):
        Reader(path)


def test_what_is_damaged_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    frames = a_history().frames
    damaged = bytearray(b"".join(frames))
    damaged[-40] ^= 1
    path = tmp_path / "x"
    path.write_bytes(damaged)
    with pytest.raises(HistoryError, match="a sum is wrong"):
        look_through(Reader(path))
    path.write_bytes(b"".join(frames) + frames[2])
    with pytest.raises(HistoryError, match="goes on at byte"):
        look_through(Reader(path))
    path.write_bytes(b"".join([*frames[:2], *frames[3:]]))  # each frame is good by itself
    with pytest.raises(HistoryError, match="a sum is wrong"):
        look_through(Reader(path))


def test_a_directory_and_a_missing_file_are_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(HistoryError, match=str(path)):
            Reader(path)


def test_heads() -> None:
    assert decode(HEAD.encode()) == HEAD == decode(HEAD.encode() + b"of a later release")
    for length in range(len(HEAD.encode())):
        with pytest.raises(WireError, match="cut short"):
            decode(HEAD.encode()[:length])
    long = replace(HEAD, command="x" * 100_000)
    assert len(decode(long.encode()).command) == 4096


def test_a_history_of_another_server_is_not_this_one(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_bytes(b"one")
    head = Head(bytes(16), 0, "web", "alpha", "1", build_of(str(program)), f"{program} -x")
    assert unlike(head, head.command, build_of(str(program))) == ""
    assert unlike(replace(head, command="s ''"), 's ""', "") == ""
    assert "another command" in unlike(replace(head, command="s '"), "s", "")
    assert "another command" in unlike(head, f"{program} -y", build_of(str(program)))
    program.write_bytes(b"two")
    assert "another build" in unlike(head, head.command, build_of(str(program)))
    assert "start of the server" in unlike(head, head.command, head.build, "dump-7")
    assert build_of(str(tmp_path / "none")) == ""


# --- playing ---------------------------------------------------------------------------------------

Talk = Callable[[socket.socket], None]


@contextmanager
def a_server(talk: Talk) -> Iterator[int]:
    """Serve one connection after the other, each in a thread, on a port that is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def served(sock: socket.socket) -> None:
            with sock:
                talk(sock)

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=served, args=(sock,)))
                threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


def upper(sock: socket.socket) -> None:
    with suppress(ConnectionResetError):
        while data := sock.recv(65536):
            sock.sendall(data.upper())


def play(path: Path, written: HistoryWriter, alive: str = "", patience_s: float = 10.0) -> Played:
    written.to(path)
    player = Player(look_through(Reader(path)), lambda: alive, patience_s, lambda played, at: None)
    return player.play(Reader(path), 5.0)


def flow(port: int, number: int = 0) -> Flow:
    return Flow("tcp", "127.0.0.1", 40010 + number, "127.0.0.1", port, 7)


def test_a_server_that_says_the_same_is_told_so(tmp_path: Path) -> None:
    with a_server(upper) as port:
        written, one, two = HistoryWriter(), flow(port), flow(port, 1)
        written.open(one)
        written.open(two)
        written.input(one, 0, b"hello")
        written.output(one, b"HELLO")
        written.input(two, 8, b"rder", after=0)  # behind a hole, which the next one fills
        written.input(two, 0, b"out of ordXX")
        written.output(two, b"OUT OF OXX"[:8] + b"ORDXX"[1:])
        written.input(one, 3, b"lo again", fin=True)  # it laps over what is there
        written.output(one, b"HELLO AGAIN")
        written.end(one)
        written.end(two, How.CLIENT_RST)
        written.done()
        played = play(tmp_path / "x", written)
    assert (played.connections, played.differences) == (2, [])
    assert (played.bytes_in, played.bytes_out, played.compared) == (23, 23, 3)


def test_where_output_differs_is_told_once(tmp_path: Path) -> None:
    with a_server(upper) as port:
        written, one = HistoryWriter(), flow(port)
        written.open(one)
        said = b""
        for word, wanted in ((b"same ", b"SAME "), (b"time ", b"12:00"), (b"same again", b"SAME AGAIN")):
            written.input(one, len(said), word)
            said += wanted
            written.output(one, said)
        played = play(tmp_path / "x", written)
    (difference,) = played.differences
    assert (difference.flow, difference.equal, difference.until) == (one, 5, 10)
    assert played.compared == 3


def test_no_event_comes_before_the_server_has_said_as_much(tmp_path: Path) -> None:
    """What one client says answers what another one was told."""
    order: list[bytes] = []
    asked = threading.Event()

    def late(sock: socket.socket) -> None:
        while data := sock.recv(100):
            order.append(data)
            if data == b"slow":
                asked.wait(0.2)  # the answer is late: long enough to be overtaken
            order.append(b"answered " + data)
            sock.sendall(data)

    with a_server(late) as port:
        written, one, two = HistoryWriter(), flow(port), flow(port, 1)
        written.open(one)
        written.open(two)
        written.input(one, 0, b"slow")
        written.output(one, b"slow")
        written.input(two, 0, b"next")
        written.output(two, b"next")
        assert not play(tmp_path / "x", written).differences
    assert order.index(b"next") > order.index(b"slow")
    assert order == [b"slow", b"answered slow", b"next", b"answered next"]


def test_a_server_that_closes_too_early_differs(tmp_path: Path) -> None:
    def short(sock: socket.socket) -> None:
        sock.sendall(sock.recv(100)[:3])

    with a_server(short) as port:
        written, one = HistoryWriter(), flow(port)
        written.open(one)
        written.input(one, 0, b"hello")
        written.output(one, b"hello")
        written.input(one, 5, b"more")
        written.output(one, b"hellomore")
        written.end(one)
        (difference,) = play(tmp_path / "x", written).differences
    assert (difference.equal, difference.until, difference.what) == (0, 9, "closed after 3 bytes")


def test_a_client_goes_on_when_the_server_has_said_its_last(tmp_path: Path) -> None:
    """Each side ends its own direction."""
    heard = bytearray()
    order, ended = count(), threading.Event()

    def one_of_them(sock: socket.socket) -> None:
        if next(order):
            ended.wait()
            upper(sock)
            return
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        ended.set()
        while data := sock.recv(100):
            heard.extend(data)

    with a_server(one_of_them) as port:
        written, one, two = HistoryWriter(), flow(port), flow(port, 1)
        written.open(one)
        written.output(one, b"bye")
        written.open(two)
        written.input(two, 0, b"so")
        written.output(two, b"SO")  # by then the end of the first one is there
        for at in range(0, 40, 4):
            written.input(one, at, b"more", fin=at == 36, after=4)
        written.end(one)
        played = play(tmp_path / "x", written)
    assert (played.bytes_in, played.bytes_out, played.differences) == (42, 5, [])
    assert bytes(heard) == b"more" * 10


def test_what_the_server_says_beyond_is_no_difference(tmp_path: Path) -> None:
    with a_server(upper) as port:
        written, one = HistoryWriter(), flow(port)
        written.open(one)
        written.input(one, 0, b"hello")
        written.output(one, b"HEL")
        played = play(tmp_path / "x", written)
    assert not played.differences and played.beyond == 2


def test_a_server_that_says_nothing_is_told(tmp_path: Path) -> None:
    with a_server(lambda sock: sock.recv(100) and None) as port:
        written, one = HistoryWriter(), flow(port)
        written.open(one)
        written.output(one, 5)
        with pytest.raises(PlayError, match=r"says nothing for 0\.3 s, after 0 of 5 bytes"):
            play(tmp_path / "x", written, patience_s=0.3)


def test_a_server_that_died_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    written = HistoryWriter()
    written.open(flow(port))
    with pytest.raises(PlayError, match="no connection: it ended"):
        play(tmp_path / "x", written, alive="it ended")


def test_a_connection_without_its_beginning_is_refused(tmp_path: Path) -> None:
    written = HistoryWriter()
    written.input(ONE, 0, b"hello")
    with pytest.raises(PlayError, match="from its beginning on"):
        look_through(Reader(written.to(tmp_path / "x")))


def test_what_is_added_while_it_is_read_is_not_looked_at(tmp_path: Path) -> None:
    """Nor is it missed when the file is cut short."""
    path = a_history().to(tmp_path / "x")
    reader = Reader(path)
    contents = look_through(reader.again())
    for text in (path.read_bytes() * 2, b""):
        path.write_bytes(text)
        assert sum(1 for _ in reader.again().events()) == contents.events
