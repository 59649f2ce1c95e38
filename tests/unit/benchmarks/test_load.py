"""The load generator counts what came back, and nothing else."""

import socket
import threading
from collections.abc import Iterator

import pytest

from benchmarks import open_loop
from benchmarks.http1 import Target, ask
from benchmarks.load import Load, run
from benchmarks.open_loop import OpenLoad
from tests.support.patience import PATIENT_S

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"


class Server:
    """Answers each request of each connection with the next of `answers`, over and over."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.served = 0
        self.counting = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.target = Target(host="127.0.0.1", port=self.socket.getsockname()[1], path="/", body=b"{}")
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(65536):
                    with self.counting:  # before the answer can be counted at the other end
                        answer = self.answers[self.served % len(self.answers)]
                        self.served += 1
                    connection.sendall(answer)
            except OSError:  # the client is done
                return


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(request.param)
    yield server
    server.socket.shutdown(socket.SHUT_RDWR)
    server.acceptor.join(PATIENT_S)
    server.socket.close()


@pytest.mark.parametrize("server", [[OK]], indirect=True)
def test_every_answer_is_counted_once(server: Server) -> None:
    result = run(Load(target=server.target, connections=3, seconds=1.0))
    assert result.failed == 0
    assert 0 < result.answered <= server.served
    assert server.served - result.answered <= 3  # in flight at the end, one a connection
    assert result.p50_us > 0


@pytest.mark.parametrize("server", [[OK, REFUSED]], indirect=True)
def test_an_answer_other_than_200_is_no_throughput(server: Server) -> None:
    result = run(Load(target=server.target, connections=1, seconds=0.2))
    assert abs(result.answered - result.failed) <= 1


@pytest.mark.parametrize("server", [[b""]], indirect=True)
def test_a_server_that_never_answers_ends_the_run_in_time(server: Server) -> None:
    result = run(Load(target=server.target, connections=2, seconds=0.1))
    assert result.answered == 0
    assert 0.1 <= result.seconds < PATIENT_S


@pytest.mark.parametrize(
    "server",
    [[b"HTTP/1.1 200 OK\r\nLambent-Temperature: primed\r\ncontent-length: 2\r\n\r\n{}"]],
    indirect=True,
)
def test_the_first_byte_is_timed_and_the_headers_kept(server: Server) -> None:
    reply = ask(server.target)
    assert (reply.status, reply.body, reply.headers["lambent-temperature"]) == (200, b"{}", "primed")
    assert reply.first_byte_ms > 0


@pytest.mark.parametrize("server", [[OK, REFUSED]], indirect=True)
def test_callers_who_do_not_wait_are_answered_in_time_refused_or_late(server: Server) -> None:
    asked = OpenLoad(target=server.target, rate=100, seconds=1.0, within_s=PATIENT_S)
    count = open_loop.run(asked)
    assert count.due == count.in_time + count.refused + count.late
    assert count.due > 40
    assert abs(count.in_time - count.refused) <= count.due / 4
    hurried = OpenLoad(target=server.target, rate=100, seconds=1.0, within_s=0.0)
    assert open_loop.run(hurried).in_time == 0
