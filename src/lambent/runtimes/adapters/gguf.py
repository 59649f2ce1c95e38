"""GGUF models by llama.cpp: its server's slots, in this process, share each step of decoding.

llama.cpp runs in threads of its own, which no fork would have: a template that loaded one is found unsafe and
is not forked, so a worker loads by itself. The weights are mapped from their file, and workers share them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from lambent.runtimes.adapters.gguf_header import Value, read_header
from lambent.runtimes.adapters.llama import Llama
from lambent.runtimes.adapters.predictor import BadModel
from lambent.wire.oneshot import Serving

NAME: Final = "gguf"
# How long a conversation may be where nobody says: models are trained for more than most machines can hold.
CONTEXT_TOKENS: Final = 4096
SPEAKS: Final = ("chat", "complete")
EMBEDS: Final = ("embed",)
# Variables of a deployment, named as llama.cpp's own server names them.
CONTEXT: Final = "LLAMA_ARG_CTX_SIZE"  # of all slots together
EMBEDDINGS: Final = "LLAMA_ARG_EMBEDDINGS"
POOLING: Final = "LLAMA_ARG_POOLING"
NUMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        CONTEXT: "n_ctx",
        "LLAMA_ARG_BATCH": "n_batch",
        "LLAMA_ARG_UBATCH": "n_ubatch",
        "LLAMA_ARG_N_GPU_LAYERS": "n_gpu_layers",
    }
)
TEXTS: Final[Mapping[str, str]] = MappingProxyType({"LLAMA_ARG_CHAT_TEMPLATE": "chat_template"})
POOLINGS: Final = ("none", "mean", "cls", "last", "rank")
MISSING: Final = "GGUF models are served by llama.cpp, which is not installed: pip install 'lambent[gguf]'"


def warm_up() -> None:
    """Nothing of llama.cpp outlives a model."""


def prepare(folder: Path, file: str) -> Serving:
    """Read what the file says of itself; it is served as it is. Raises `BadModel`."""
    _library()
    header = read_header(folder / file)
    return Serving(
        adapter=NAME,
        file=file,
        served_by=NAME,
        served_file=file,
        mapped_bytes=(folder / file).stat().st_size,
        skills=EMBEDS if _pooling(header) else SPEAKS,
    )


def open_file(path: Path, *, slots: int = 1, environ: Mapping[str, str] = os.environ) -> Llama:
    """The model in `path`, for `slots` calls at once. Raises `BadModel`.

    As many threads compute as `OMP_NUM_THREADS` grants this process.
    """
    library, header = _library(), read_header(path)
    home = tempfile.mkdtemp(prefix="llama-")
    try:
        server = library.Server(_parameters(library, path, header, slots, environ, home))
    except (RuntimeError, ValueError) as error:
        raise BadModel(
            f"llama.cpp cannot serve {path.name} to {slots} calls at once: {error}. If it is for want of "
            f"memory, set more memory, less concurrency, or fewer tokens by env.{CONTEXT}"
        ) from error
    finally:
        shutil.rmtree(home)  # the server also listens, and nobody shall find it
    return Llama(server, slots)


def _parameters(
    library: Any, path: Path, header: Mapping[str, Value], slots: int, environ: Mapping[str, str], home: str
) -> Any:
    threads = int(environ.get("OMP_NUM_THREADS") or 1)
    found = library.CommonParams()
    found.model.path = str(path)
    found.n_parallel = slots
    found.n_ctx = slots * _context_tokens(header)
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = threads
    found.n_threads_http = 1
    found.hostnames = [f"{home}/llama.sock"]
    found.use_jinja = True
    found.warmup = found.fit_params = False
    found.cache_ram_mib = 0  # it would keep prompts of gigabytes
    found.verbosity = -1
    pooling = environ.get(POOLING, "") or POOLINGS[_pooling(header)] * bool(_pooling(header))
    if pooling or environ.get(EMBEDDINGS):
        found.embedding = True
        found.pooling_type = _named(library, pooling or "mean")
    _overridden(found, environ)
    return found


def _overridden(found: Any, environ: Mapping[str, str]) -> None:
    for variable, name in NUMBERS.items():
        if text := environ.get(variable):
            if not text.isdecimal():
                raise BadModel(f"{variable}={text!r} is no number")
            setattr(found, name, int(text))
    for variable, name in TEXTS.items():
        if text := environ.get(variable):
            setattr(found, name, text)


def _context_tokens(header: Mapping[str, Value]) -> int:
    trained = header.get(f"{header.get('general.architecture')}.context_length", CONTEXT_TOKENS)
    return min(int(trained), CONTEXT_TOKENS)


def _pooling(header: Mapping[str, Value]) -> int:
    """How vectors of tokens become one, as a model for embeddings says it: 0 where it is none."""
    said = header.get(f"{header.get('general.architecture')}.pooling_type", 0)
    return int(said) if int(said) in range(len(POOLINGS)) else 0


def _named(library: Any, pooling: str) -> Any:
    if pooling not in POOLINGS:
        raise BadModel(f"{POOLING}={pooling!r} is none of {', '.join(POOLINGS)}")
    return getattr(library.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")


def _library() -> Any:
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        raise BadModel(MISSING) from error
    return xllamacpp
