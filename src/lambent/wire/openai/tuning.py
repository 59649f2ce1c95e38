"""Fine-tuning jobs as OpenAI's API has them: what is sent, and what is kept of one beside its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lambent.wire.openai.batches import check_metadata
from lambent.wire.skills import Json
from lambent.wire.speech import Refused

PURPOSE: Final = "fine-tune"
AUTO: Final = "auto"
SUPERVISED: Final = "supervised"
HYPERPARAMETERS_MAX: Final = 32
NAME_CHARACTERS_MAX: Final = 64
TEXT_CHARACTERS_MAX: Final = 1000
SUFFIX_CHARACTERS_MAX: Final = 64
SEED_MAX: Final = 2**31 - 1
NUMBER_MAX: Final = 2**53  # JSON has no whole number above it that every reader reads alike
WHOLE: Final = frozenset({"n_epochs", "batch_size"})
RATE: Final = "learning_rate_multiplier"
TAKEN: Final = frozenset({"training_file", "validation_file", "suffix", "seed"})


class Supervised(msgspec.Struct, frozen=True):
    """What OpenAI's newer clients send inside of `method`."""

    hyperparameters: dict[str, Any] | None = None


class Method(msgspec.Struct, frozen=True):
    """How to train."""

    type: str = SUPERVISED
    supervised: Supervised | None = None


class TuningBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/fine_tuning/jobs`."""

    model: str
    training_file: str
    validation_file: str | None = None
    hyperparameters: dict[str, Any] | None = None
    method: Method | None = None
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    integrations: list[Any] | None = None

    def check(self) -> dict[str, Any]:
        """Its hyperparameters. Raises `Refused` for what is wrong in any field."""
        if self.method is not None and self.method.type != SUPERVISED:
            raise _wrong("method.type", f"'{self.method.type[:40]}' is not '{SUPERVISED}', the only one here")
        if self.integrations:
            raise _wrong("integrations", "nothing is sent to other services from here")
        if self.suffix is not None and not 1 <= len(self.suffix) <= SUFFIX_CHARACTERS_MAX:
            raise _wrong("suffix", f"it has 1 to {SUFFIX_CHARACTERS_MAX} characters")
        if self.seed is not None and not 0 <= self.seed <= SEED_MAX:
            raise _wrong("seed", f"it is a number from 0 to {SEED_MAX}")
        check_metadata(self.metadata)
        newer = self.method.supervised if self.method else None
        return checked({**(self.hyperparameters or {}), **((newer and newer.hyperparameters) or {})})


class TuningJob(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one beside its run; `model` is as it was asked for, `deployment` what that names."""

    id: str
    project: str
    run: str
    model: str
    deployment: str
    training_file: str
    created_unix_ms: int
    seed: int
    validation_file: str | None = None
    hyperparameters: dict[str, Any] = {}
    suffix: str | None = None
    metadata: dict[str, str] | None = None

    def shown(self) -> Json:
        """`fine_tuning.job`, as far as it follows from what was asked."""
        return {
            "id": self.id,
            "object": "fine_tuning.job",
            "created_at": self.created_unix_ms // 1000,
            "model": self.model,
            "organization_id": self.project,
            "training_file": self.training_file,
            "validation_file": self.validation_file,
            "hyperparameters": self.hyperparameters,
            "method": {"type": SUPERVISED, SUPERVISED: {"hyperparameters": self.hyperparameters}},
            "seed": self.seed,
            "user_provided_suffix": self.suffix,
            "metadata": self.metadata,
            "integrations": [],
            "result_files": [],
            "estimated_finish": None,
        }


def job_id(run: str) -> str:
    """Under which id a run is a fine-tuning job."""
    return "ftjob-" + run.replace("-", "")


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as they came. OpenAI's own have its bounds, others are texts and numbers."""
    if len(given) > HYPERPARAMETERS_MAX:
        raise _wrong("hyperparameters", f"there are {HYPERPARAMETERS_MAX} at most")
    for name, value in given.items():
        where = f"hyperparameters.{name[:NAME_CHARACTERS_MAX]}"
        if not (name.isidentifier() and len(name) <= NAME_CHARACTERS_MAX) or name in TAKEN:
            raise _wrong(where, "no hyperparameter can be called so")
        if value != AUTO and (reason := _amiss(name, value)):
            raise _wrong(where, reason)
    return dict(given)


def _amiss(name: str, value: object) -> str:
    if name in WHOLE:
        is_fine = type(value) is int and 0 < value <= SEED_MAX
        return "" if is_fine else "it is a whole number from 1 on, or 'auto'"
    if isinstance(value, str):
        return _amiss_in_text(name, value)
    if not isinstance(value, int | float) or (name == RATE and isinstance(value, bool)):
        return "it is a text, a number, true or false"
    if not abs(value) <= NUMBER_MAX:
        return "it is too large a number"
    return "it is a number above 0, or 'auto'" if name == RATE and value <= 0 else ""


def _amiss_in_text(name: str, value: str) -> str:
    if name == RATE:
        return "it is a number above 0, or 'auto'"
    return "" if len(value) <= TEXT_CHARACTERS_MAX else f"a text has {TEXT_CHARACTERS_MAX} characters at most"


def _wrong(field: str, reason: str) -> Refused:
    return Refused(f"Invalid value for '{field}': {reason}.", code="invalid_value", param=field)
