"""One function through our own door and through AWS Lambda's: what the second costs, in CPU a request.

The same echo, the same body, 8 connections, measured in turn, each after the bill of the one before is
written: that is done behind the calls, and would be counted to whoever comes next. Through Lambda's door an
answer is put into AWS's words and the call leaves START, END and REPORT in the log; a signature is verified
over head and body.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import load, progress
from benchmarks.echo import BODY, FUNCTION, KEEP_S, REPETITIONS, RUN_S, WARM_UP_S, Readings, Side
from benchmarks.figures import Aim, Line, Measured, Note, Sample, Sense, Unit
from benchmarks.http1 import Target
from benchmarks.load import Load
from benchmarks.server import Lambent, lambent

TOPIC: Final = "doors"
CONNECTIONS: Final = 8
PATH: Final = "/2015-03-31/functions/one/invocations"
OWN, BY_KEY, SIGNED = "our own door", "Lambda's door, by key", "Lambda's door, signed"
AIM: Final = Aim(Sense.AT_MOST, 1.15)
BILLED_S: Final = 8.0  # the ledger reads the journal every 5 s, and takes 1 s for what a run leaves


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    (folder / "echo.py").write_text(FUNCTION)
    with lambent(folder / "state") as server:
        server.deploy(folder / "echo.py:handler", "one", workers_max=1, keep_alive_s=KEEP_S)
        readings = Readings()
        for number in range(REPETITIONS):
            sides = [
                Side(OWN, server.pid, server.target("/invoke/one", BODY)),
                Side(BY_KEY, server.pid, server.target(PATH, BODY)),
                Side(SIGNED, server.pid, signed(server, now=dt.datetime.now(dt.UTC))),
            ]
            for side in sides if number == 0 else ():
                load.generate(Load(target=side.target, connections=CONNECTIONS, seconds=WARM_UP_S))
            for side in sides:
                time.sleep(BILLED_S)
                progress.say(f"doors: {side.name}, repetition {number + 1} of {REPETITIONS}")
                readings.take(side, CONNECTIONS, RUN_S)
    return list(_lines(readings))


def signed(server: Lambent, *, now: dt.datetime) -> Target:
    """The request as an AWS client signs it; good for a quarter of an hour."""
    about = json.loads((server.state_dir / "server.json").read_text())
    plain = server.target(PATH, BODY)
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    scope = f"{now:%Y%m%d}/us-east-1/lambda/aws4_request"
    head = f"POST\n{PATH}\n\nhost:{plain.host}:{plain.port}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n"
    canonical = head + hashlib.sha256(BODY).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + about["secret_access_key"].encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    digest = hmac.digest(key, to_sign.encode(), "sha256").hex()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={about['access_key_id']}/{scope}, "
        f"SignedHeaders=host;x-amz-date, Signature={digest}"
    )
    return msgspec.structs.replace(plain, headers={"X-Amz-Date": stamp, "Authorization": authorization})


def _lines(readings: Readings) -> Iterator[Measured]:
    own = Sample(tuple(readings.cpu_us[OWN, CONNECTIONS]), Unit.US)
    for name in (BY_KEY, SIGNED):
        yield Line(
            topic=TOPIC,
            what=f"{name}, CPU a request at {CONNECTIONS} connections",
            measured=Sample(tuple(readings.cpu_us[name, CONNECTIONS]), Unit.US),
            beside=OWN,
            against=own,
            aim=AIM,
        )
    if readings.failed:
        yield Note(topic=TOPIC, text=f"{readings.failed} requests failed; they are no throughput")
