"""The whole story in a terminal: deploy, train on demand, answer, sleep, wake, grow, bill (`make demo`).

Every line that it prints is measured in this run. `KEEP=1` leaves the server running.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent
LAMBENT = [sys.executable, "-m", "lambent.cli.main"]
BAR_WIDTH = 30
BURST_CLIENTS, BURST_S = 6, 2
PHOTOGRAPH_SIDE = 2000
PATIENCE_S = 30
QUIET_S = 3


class Server:
    """A server of our own on a free port with a fresh state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.log = (state_dir / "server.log").open("wb")
        self.process = subprocess.Popen(
            [*LAMBENT, "up", "--state-dir", str(state_dir), "--port", "0"], stdout=self.log, stderr=self.log
        )
        self.about = self._wait_until_it_listens()
        self.url = self.about["url"]
        self.environ = {**os.environ, "LAMBENT_STATE_DIR": str(state_dir)}
        self.environ.pop("LAMBENT_URL", None)
        self.environ.pop("LAMBENT_API_KEY", None)

    def _wait_until_it_listens(self) -> dict:
        about = self.state_dir / "server.json"
        for _ in range(300):
            if self.process.poll() is not None:
                raise SystemExit(f"the server did not start:\n{(self.state_dir / 'server.log').read_text()}")
            if about.exists():
                return json.loads(about.read_text())
            time.sleep(0.05)
        raise SystemExit("the server did not listen within 15 s")

    def lambent(self, *words: str) -> str:
        """Run one command of the CLI and return what it printed."""
        done = subprocess.run(
            [*LAMBENT, *words], env=self.environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"`lambent {' '.join(words)}` failed: {done.stderr or done.stdout}")
        return done.stdout

    def get(self, path: str) -> object:
        """One GET of the control API."""
        return json.loads(self._open(urllib.request.Request(self.url + path))[1])

    def invoke(self, name: str, body: bytes) -> tuple[float, dict, dict]:
        """POST to a deployment: milliseconds, response headers, answer."""
        request = urllib.request.Request(
            self.url + f"/invoke/{name}", body, {"Content-Type": "application/json"}
        )
        started = time.perf_counter()
        headers, answer = self._open(request)
        return (time.perf_counter() - started) * 1e3, headers, json.loads(answer)

    def _open(self, request: urllib.request.Request) -> tuple[dict, bytes]:
        request.add_header("Authorization", f"Bearer {self.about['api_key']}")
        try:
            with urllib.request.urlopen(request, timeout=900) as response:
                return response.headers, response.read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{request.full_url}: {error.code} {error.read().decode()}") from None

    def stop(self) -> None:
        """End it as an operator would."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def title(number: int, text: str) -> None:
    print(f"\n\033[1m{number}. {text}\033[0m" if sys.stdout.isatty() else f"\n{number}. {text}", flush=True)


def say(text: str) -> None:
    for line in text.splitlines():
        print(f"   {line}", flush=True)


def digit(event: Path) -> bytes:
    return event.read_bytes()


def show(milliseconds: float, headers: dict, answer: dict) -> None:
    best = max(answer["predictions"][0])
    say(
        f"class {answer['class']} ({best:.1%} sure) in {milliseconds:.1f} ms   "
        f"[it was {headers['Lambent-Temperature']}; billed {headers['Lambent-Billed-Ms']} ms; "
        f"{headers['Server-Timing']}]"
    )


def processes(server: Server) -> list[dict]:
    rows = server.get("/api/v1/processes")
    for row in rows:
        say(
            f"  {row['role']:<12} pid {row['pid']:<8} {row['deployment']:<8} "
            f"{row['pss_bytes'] / 2**20:7.1f} MiB"
        )
    return rows


def watch_training(server: Server, done: threading.Event) -> None:
    """Draw the run's own progress until the held request is answered."""
    last = ""
    while not done.wait(0.25):
        runs = server.get("/api/v1/runs?deployment=digits")
        if not runs:
            continue
        run = runs[0]
        filled = int(run["progress"] * BAR_WIDTH)
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in sorted(run["metrics"].items()))
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        line = f"   [{bar}] {run['progress']:4.0%}  {run['message']}  {numbers}"
        if sys.stdout.isatty():
            print(f"\r\033[K{line[: os.get_terminal_size().columns - 1]}", end="", flush=True)
        elif run["message"] != last:
            print(line, flush=True)
        last = run["message"]
    if sys.stdout.isatty():
        print()


def first_request(server: Server, event: bytes) -> None:
    say("posting a handwritten 7 to a deployment that has no model; the request is held while one is trained")
    done = threading.Event()
    watcher = threading.Thread(target=watch_training, args=(server, done), daemon=True)
    watcher.start()
    try:
        milliseconds, headers, answer = server.invoke("digits", event)
    finally:
        done.set()
        watcher.join()
    model = server.get("/api/v1/models?name=digits")[0]
    accuracy = model["metrics"]["held_out_accuracy"]
    if accuracy < 0.97:
        raise SystemExit(f"held-out accuracy {accuracy} is below 0.97")
    say(f"model {model['number']} registered: accuracy {accuracy:.4f} on 10,000 held-out digits")
    show(milliseconds, headers, answer)


def sleep_and_wake(server: Server, event: bytes) -> None:
    say("before (each process and its proportional share of memory):")
    before = processes(server)
    say(f"nobody asks for {QUIET_S} s (keep_alive_s={QUIET_S - 1}) ...")
    wait_for("zero workers", lambda: workers(server) == 0)
    wait_for("the worker's process to be gone", lambda: not serving(server))
    say("after:")
    after = processes(server)
    total = [sum(row["pss_bytes"] for row in rows) / 2**20 for rows in (before, after)]
    say(
        f"{len(before)} processes, {total[0]:.0f} MiB → "
        f"{len(after)} processes, {total[1]:.0f} MiB; zero workers"
    )
    show(*server.invoke("digits", event))


def photograph(event: bytes) -> bytes:
    """The same digit as a camera would send it: to unpack four million pixels is work worth two workers."""
    asked = json.loads(event)
    small = Image.open(io.BytesIO(base64.b64decode(asked["body"])))
    large = io.BytesIO()
    small.resize((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE)).save(large, "JPEG")
    return json.dumps({**asked, "body": base64.b64encode(large.getvalue()).decode()}).encode()


def burst(server: Server, event: bytes) -> None:
    size = f"{len(event) // 1024} KiB"
    say(f"{BURST_CLIENTS} clients send photographs of {size} for {BURST_S} s, as fast as they can")
    most, done = [1], threading.Event()

    def count_workers() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], workers(server))

    def client(until: float) -> list[tuple[float, dict, dict]]:
        answers = []
        while time.monotonic() < until:
            answers.append(server.invoke("digits", event))
        return answers

    counter = threading.Thread(target=count_workers, daemon=True)
    counter.start()
    with ThreadPoolExecutor(BURST_CLIENTS) as clients:
        each = clients.map(client, [time.monotonic() + BURST_S] * BURST_CLIENTS)
        answers = [answer for one in each for answer in one]
    done.set()
    counter.join()
    wrong = sum(answer["class"] != 7 for _, _, answer in answers)
    slowest = max(milliseconds for milliseconds, _, _ in answers)
    say(
        f"{len(answers)} answers, {wrong} wrong, none failed; "
        f"slowest {slowest:.0f} ms; {most[0]} workers at the most"
    )
    if wrong or most[0] < 2:
        raise SystemExit("the burst should have been answered rightly by two workers or more")
    wait_for("the second worker to go", lambda: workers(server) <= 1)
    say(f"workers now: {workers(server)}")


def serving(server: Server) -> list[dict]:
    """The processes of workers."""
    return [row for row in server.get("/api/v1/processes") if row["role"] == "worker"]


def workers(server: Server) -> int:
    return server.get("/api/v1/deployments/digits")["deployment"]["workers"]


def wait_for(what: str, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE_S} s for {what}")
        time.sleep(0.05)


def lambda_clients(server: Server) -> None:
    import boto3

    say(
        server.lambent(
            "deploy",
            str(EXAMPLES / "aws_lambda" / "lambda_function.py") + ":lambda_handler",
            "--name",
            "greeter",
        ).strip()
    )
    client = boto3.client(
        "lambda",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=server.about["access_key_id"],
        aws_secret_access_key=server.about["secret_access_key"],
    )
    event = json.dumps({"queryStringParameters": {"name": "Ada"}})
    reply = client.invoke(FunctionName="greeter", Payload=event)
    say(f"boto3 invoke, RequestResponse: {reply['StatusCode']} {reply['Payload'].read().decode()}")
    accepted = client.invoke(FunctionName="greeter", InvocationType="Event", Payload=event)
    ticket = accepted["ResponseMetadata"]["RequestId"]
    say(f"boto3 invoke, Event: {accepted['StatusCode']}, request {ticket}")
    request = urllib.request.Request(
        f"{server.url}/invocations/{ticket}", headers={"Authorization": f"Bearer {server.about['api_key']}"}
    )
    for _ in range(100):
        with urllib.request.urlopen(request, timeout=10) as response:
            if response.status == 200:
                say(f"  its result, a moment later: {response.read().decode()}")
                return
        time.sleep(0.05)
    raise SystemExit("the Event invocation did not end within 5 s")


def main() -> None:
    keep = os.environ.get("KEEP") == "1"
    event = digit(EXAMPLES / "digits" / "event.json")
    state_dir = Path(tempfile.mkdtemp(prefix="lambent-demo-"))
    started = time.monotonic()
    title(1, "A server, and one deploy")
    server = Server(state_dir)
    try:
        say(f"listening on {server.url}, state in {state_dir}")
        say(
            server.lambent("deploy", str(EXAMPLES / "digits"), "--set", f"keep_alive_s={QUIET_S - 1}").strip()
        )
        title(2, "No model yet: the first request has one trained")
        first_request(server, event)
        title(3, "Again")
        for _ in range(3):
            show(*server.invoke("digits", event))
        title(4, "Quiet, then again")
        sleep_and_wake(server, event)
        title(5, "A burst")
        burst(server, photograph(event))
        title(6, "An unmodified AWS Lambda handler, called by boto3")
        lambda_clients(server)
        title(7, "The bill")
        say(server.lambent("usage"))
        say(f"the whole story took {time.monotonic() - started:.0f} s")
        if keep:
            say(
                f"the server goes on (KEEP=1): pid {server.process.pid}; use it with\n"
                f"export LAMBENT_STATE_DIR={state_dir}"
            )
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            server.stop()
            import shutil

            shutil.rmtree(state_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
