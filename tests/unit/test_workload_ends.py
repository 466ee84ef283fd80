"""What a client with two threads says of a connection that was reset."""

import socket
import struct

import pytest

from lab.hosts import await_condition
from lab.workloads import stream
from lab.workloads.base import Failure, Session


def test_a_reset_that_the_sending_thread_was_told_of_is_no_end() -> None:
    """The kernel gives ECONNRESET to one of them; to the other the stream just ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        session = Session("127.0.0.1", listener.getsockname()[1], 1, bound_s=30)
        with session.connect() as connection:
            served, _ = listener.accept()
            served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

            def send_until_reset() -> None:
                while True:
                    connection.send(bytes(1 << 16))

            with pytest.raises(Failure) as raised, stream.Sender(connection, send_until_reset) as failed:
                served.close()
                await_condition(lambda: bool(failed), 30, "the sending thread is told")
                connection.exactly(1)
    assert raised.value.kind == "reset", raised.value
