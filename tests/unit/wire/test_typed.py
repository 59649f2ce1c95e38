"""Types that several threads meet first at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.wire import typed
from tests.support.patience import PATIENT_S

# msgspec by itself ends this process by a segmentation fault at one of the first hundred types.
MEETING = """
import sys, threading, types
from lambent.wire.typed import from_fields, from_json, unpacker

sys.setswitchinterval(1e-6)
code = (
    "from __future__ import annotations\\nimport msgspec\\nclass Inner(msgspec.Struct):\\n a: int\\n"
    "class Outer(msgspec.Struct):\\n" + "".join(f" a{i}: int | None\\n" for i in range(30)) + " b: Inner\\n"
)
fields = {**{f"a{i}": i for i in range(30)}, "b": {"a": 1}}
text = str(fields).replace("'", '"')
for number in range(400):
    module = sys.modules[f"m{number}"] = types.ModuleType(f"m{number}")
    exec(code, module.__dict__)
    together = threading.Barrier(3)
    ways = (
        lambda: from_fields(fields, module.Outer), lambda: from_json(text, module.Outer),
        lambda: unpacker(module.Outer | None),
    )
    threads = [threading.Thread(target=lambda way=way: (together.wait(), way())) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("alive")
"""


def test_threads_that_meet_a_type_at_the_same_moment_live() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", MEETING],
        capture_output=True, text=True, timeout=PATIENT_S, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr


@pytest.mark.parametrize("body", [b'{"a": "\xff"}', b'{"\xff": 1}', b'{"a": ' + b"[" * 100_000, b"{"])
def test_what_cannot_be_read_is_an_error_of_decoding(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        typed.from_json(body, dict[str, Any])


def test_types_are_met_in_one_place() -> None:
    """Or while a module is imported, by one thread: in a line without indentation."""
    ways = ("msgspec.convert(", "msgspec.json.Decoder(", "msgspec.msgpack.Decoder(", "type=")
    source = Path(typed.__file__).parents[1]
    elsewhere = [
        f"{path.relative_to(source)}: {line.strip()}"
        for path in sorted(source.rglob("*.py"))
        if path not in (Path(typed.__file__), source / "settings.py")
        for line in path.read_text().splitlines()
        if (line.startswith(" ") and any(f"= {way}" in line or f"return {way}" in line for way in ways[:3]))
        or ("msgspec.json.decode(" in line and ways[3] in line)
    ]
    assert elsewhere == []
