"""What the demo reads of its follower while that may be killed at any moment."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from exchange.demo.play import read_json

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
BODY = b'{"fills": 7}\n'


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Answer one request with these bytes and hang up; gives the page's address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65_536)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/summary.json"
        finally:
            thread.join(10)
            assert not thread.is_alive()


def test_a_whole_page_is_read() -> None:
    with answering(HEAD % len(BODY) + BODY) as url:
        assert read_json(url) == {"fills": 7}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        HEAD[:9],
        HEAD % len(BODY),
        HEAD % len(BODY) + BODY[:5],
        HEAD % 5 + BODY[:5],
        HEAD % 2 + b"[]",
        HEAD % 2 + b"\xff\xff",
        b"not HTTP at all\r\n",
    ],
    ids=[
        "nothing",
        "part of the head",
        "the head alone",
        "part of the body",
        "no JSON",
        "no object",
        "no text",
        "no HTTP",
    ],
)
def test_an_answer_that_breaks_off_anywhere_is_an_oserror(answer: bytes) -> None:
    """Goal: a follower killed in the middle of an answer ends nobody."""
    with answering(answer) as url, pytest.raises(OSError):  # noqa: PT011 -- its caller asks no more
        read_json(url)
