"""`uninas view`: the page of a run that goes on, for this computer alone, and without a way to write."""

import http.client
import json
import socket
import struct
import sys
import threading
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from helpers.reports import Markup, data, searched, texts_of

from uninas.cli.report import opens, report, view
from uninas.errors import UninasError
from uninas.report import write_page
from uninas.report.server import Server


@contextmanager
def serving(folder):
    """A server in a thread of its own, until the block ends."""
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def run(tmp_path):
    return searched(tmp_path / "first")


@pytest.fixture
def server(run):
    with serving(run) as server:
        yield server


def ask(server, path, method="GET", host=None):
    """Status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.putrequest(method, path, skip_host=True)
    for name in [f"127.0.0.1:{server.server_port}"] if host is None else host:
        connection.putheader("Host", name)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read().decode()
    connection.close()
    return found


def test_the_served_page_is_the_same_without_its_data(server, run):
    status, headers, text = ask(server, "/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert 'id="part-data"' not in text and "connect-src 'self'" in text
    written = [found.get("id") for _, found in Markup(write_page(run).read_text()).elements]
    assert [found.get("id") for _, found in Markup(text).elements] == [name for name in written if name != "part-data"]


def test_what_it_tells_is_what_the_page_has(server, run):
    told = json.loads(ask(server, "/run.json?after=0")[2])
    kept = data(write_page(run).read_text())
    assert told["columns"] == kept["columns"] and told["changes"] == kept["changes"]
    assert {**told["about"], "written": 0} == {**kept["about"], "written": 0}


def test_it_follows_a_run_that_grows(tmp_path):
    folder = searched(tmp_path / "first", iterations=4)
    with serving(folder) as server:
        first = json.loads(ask(server, "/run.json?after=0")[2])
        again = json.loads(ask(server, f"/run.json?after={first['arrived']}")[2])
        searched(folder, iterations=9)
        rest = json.loads(ask(server, f"/run.json?after={first['arrived']}")[2])
        whole = json.loads(ask(server, "/run.json?after=0")[2])
    assert first["columns"]["number"] == [0, 1, 2, 3, 4] and first["about"]["goal"] == 4
    assert again["changes"] == [] and again["arrived"] == first["arrived"]
    assert rest["columns"]["number"] == [5, 6, 7, 8, 9] and rest["about"]["goal"] == 9
    assert whole["columns"] == data(write_page(folder).read_text())["columns"]
    assert len(texts_of(whole)) == 10


def test_it_draws_every_candidate_when_asked(server):
    status, headers, light = ask(server, "/diagram?number=7&level=network&theme=light")
    assert status == 200 and headers["Content-Type"].startswith("image/svg+xml") and light.startswith("<svg")
    assert "sandbox" in headers["Content-Security-Policy"]
    assert ask(server, "/diagram?number=7&level=network&theme=dark")[2] != light
    for path in ("number=99", "number=7&level=full", "number=7&theme=pink", "number=x", "", "number=-1"):
        assert ask(server, f"/diagram?{path}")[0] == 404, path


@pytest.mark.parametrize(
    "path", ["/run.sqlite", "/../tiny.uni", "/%2e%2e/tiny.uni", "//etc/passwd", "/run.json?after=x"]
)
def test_there_is_nothing_else(server, path):
    assert ask(server, path)[0] == 404


def test_a_foreign_name_is_refused(server):
    port = server.server_port
    foreign = ["evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.1", "",
               f"127.0.0.1:{port + 1}", f"127.0.0.1:{port}@evil"]  # fmt: skip
    for host in ([], [f"localhost:{port}", "evil.example"], *([name] for name in foreign)):
        status, _, text = ask(server, "/run.json?after=0", host=host)
        assert (status, "columns" in text) == (403, False), host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert ask(server, "/run.json?after=0", host=[host])[0] == 200, host


def test_it_answers_questions_alone_and_leaves_the_run_as_it_was(server, run):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"):
        assert ask(server, "/", method)[0] == 501, method
    assert ask(server, "/run.json?after=0", "HEAD")[2] == ""
    ask(server, "/run.json?after=0")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_no_other_page_may_read_or_frame_it(server):
    headers = ask(server, "/")[1]
    assert "Access-Control-Allow-Origin" not in headers
    assert (headers["X-Frame-Options"], headers["Cross-Origin-Resource-Policy"]) == ("DENY", "same-origin")
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")


def test_it_serves_this_computer_alone_unless_told(server, run):
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"


def test_a_port_that_is_taken_is_a_message(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UninasError) as caught:
            Server(run, port=taken.getsockname()[1])
    assert caught.value.code == "UNI120"


def test_a_run_that_breaks_while_it_is_served_is_a_message(server, run):
    (run / "run.sqlite").write_bytes(b"nothing of the kind")
    status, _, text = ask(server, "/run.json?after=0")
    assert status == 503 and text.startswith("cannot use")


def test_the_commands_say_what_they_do_and_what_is_wrong(run, tmp_path):
    written = CliRunner().invoke(report, [str(run), "-o", str(tmp_path / "page.html")])
    assert written.output == f"wrote {tmp_path / 'page.html'}\n" and (tmp_path / "page.html").is_file()
    for command in (report, view):
        failed = CliRunner().invoke(command, [str(tmp_path / "nothing")])
        assert isinstance(failed.exception, UninasError) and failed.exception.code == "UNI070"


def test_a_client_that_leaves_is_no_mistake(server, capfd):
    for question in (
        b"",
        b"GET",
        b"GET / HTTP/1.1\r\n",
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode(),
    ):
        for _ in range(3):
            client = socket.create_connection(("127.0.0.1", server.server_port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by a reset
            client.sendall(question)
            client.close()
    assert ask(server, "/")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_many_diagrams_at_once_are_all_drawn(server):
    """Sixteen threads need facts of the same graphs in different orders."""
    numbers = json.loads(ask(server, "/run.json")[2])["columns"]["number"][:4]
    asked = [(number, level) for number in numbers for level in ("network", "block")] * 4
    found = []

    def draw(number: int, level: str) -> None:
        found.append(ask(server, f"/diagram?number={number}&level={level}")[0])

    threads = [threading.Thread(target=draw, args=one, daemon=True) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == len(asked) and set(found) <= {200, 404}


@pytest.mark.parametrize(("host", "exposed"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])  # noqa: S104
def test_a_host_that_others_can_reach_is_told(run, host, exposed):
    with Server(run, host) as server:
        assert server.exposed is exposed


@pytest.mark.skipif(sys.platform != "linux", reason="others have no xdg-open")
@pytest.mark.parametrize(("screen", "code", "opened"), [("", 0, False), (":0", 0, True), (":0", 3, False)])
def test_what_opens_a_browser_prints_nothing(screen, code, opened, tmp_path, monkeypatch, capfd):
    program = tmp_path / "xdg-open"
    program.write_text(f"#!/bin/sh\necho words about browsers; echo more >&2; exit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", screen)
    assert opens("http://127.0.0.1:1") is opened
    assert capfd.readouterr() == ("", "")
