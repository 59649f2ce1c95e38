"""Every test that the specification names as the one that enforces a promise is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`")


def named() -> list[tuple[str, str]]:
    return NAMED.findall((ROOT / "SPECIFICATION.md").read_text())


def test_the_specification_names_tests() -> None:
    assert len(named()) > 50


def test_every_named_test_exists() -> None:
    missing = []
    for path, function in named():
        if not (ROOT / path).exists():
            missing.append(path)
        elif function:
            tree = ast.parse((ROOT / path).read_text())
            if not any(
                isinstance(node, ast.FunctionDef) and node.name == function for node in ast.walk(tree)
            ):
                missing.append(f"{path}::{function}")
    assert not missing, "\n".join(missing)
