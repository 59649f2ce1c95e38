"""How SageMaker lays out a `model.tar.gz`: the model's files, and `code/` with what serves them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

WHOLE: Final = "."  # the target of a deploy that means all of an artifact, laid out so
SUFFIXES: Final = (".tar.gz", ".tgz")
CODE: Final = "code"
REQUIREMENTS: Final = "requirements.txt"
PROGRAM: Final = "SAGEMAKER_PROGRAM"  # the variable that names the file with the functions
PROGRAM_DEFAULT: Final = "inference.py"
MODULE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


def module_of(env: Mapping[str, str]) -> str:
    """The module's dotted name below `code/`; empty where the variable names none that can be imported."""
    name = (env.get(PROGRAM) or PROGRAM_DEFAULT).removesuffix(".py")
    return name if MODULE.fullmatch(name) else ""


def program_of(env: Mapping[str, str]) -> str:
    """The path of that module's file in the archive; empty as above."""
    module = module_of(env)
    return f"{CODE}/{module.replace('.', '/')}.py" if module else ""
