"""Judges what a job has made, where the code that says how is: in the job's own process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from lambent.core.gating import GATE, IN_CODE, Accept, Judges, Verdict, expression, judged
from lambent.runtimes.awaiting import Awaiter
from lambent.runtimes.entry import resolve
from lambent.runtimes.faults import Fault
from lambent.runtimes.model import ModelFiles
from lambent.runtimes.news import numbers
from lambent.runtimes.outputs import say
from lambent.wire.oneshot import Gate

NOT_NUMBERS: Final = "evaluate(model, run) returned no metrics: return a dict of names and numbers"


class Made(Protocol):
    """The run whose model is judged, as user code sees it."""

    @property
    def model_dir(self) -> Path: ...


class Judgement(msgspec.Struct, frozen=True):
    """What came of judging a model: its metrics, with those that evaluating it gave, and the verdict."""

    metrics: dict[str, float]
    verdict: Verdict


class Judge:
    """Asks one gate, for a job whose code is in `code_dir`."""

    def __init__(self, gate: Gate, code_dir: str) -> None:
        """Find the model class. Raises `Fault` where it is not in the job's code."""
        self._gate: Final = gate
        self._owner: Final = resolve(gate.entrypoint, code_dir) if gate.entrypoint else None
        self._judges: Final[Judges] = getattr(self._owner, GATE, None) or Judges()
        self._awaiter: Final = Awaiter()

    def judge(self, run: Made, metrics: Mapping[str, float]) -> Judgement:
        """Judge what is in `run.model_dir`, of which the job reported `metrics`.

        Where its class says how a model is evaluated, the new one and the champion both are, on the same
        data. Raises what evaluating the new one raises.
        """
        gate, champion = self._gate, self._gate.champion if self._gate.champion_dir else None
        found = dict(metrics)
        if self._judges.evaluate is not None:
            found.update(self._evaluated(run, run.model_dir))
            champion = self._evaluated_champion(run) if gate.champion_dir else None
        return Judgement(found, judged(self._accept(), found, champion))

    def _evaluated_champion(self, run: Made) -> dict[str, float] | None:
        """Its metrics on the same data; one that this code cannot load any more is no obstacle."""
        try:
            return self._evaluated(run, Path(self._gate.champion_dir))
        except Exception as error:  # noqa: BLE001 - around user code, with a model that it was not written for
            say(f"the champion could not be evaluated, and is not compared with: {error!r}\n")
            return None

    def _evaluated(self, run: Made, folder: Path) -> dict[str, float]:
        instance = self._owner() if isinstance(self._owner, type) else self._owner
        if callable(load := getattr(instance, "load", None)):
            self._awaiter.settled(load(ModelFiles(folder)))
        assert self._judges.evaluate is not None
        told = self._awaiter.settled(self._judges.evaluate(instance, run))
        if not isinstance(told, Mapping) or not told:
            raise Fault("Runtime.BadMetrics", NOT_NUMBERS)
        return numbers(told)

    def _accept(self) -> Accept:
        text = self._gate.accept
        if not text.startswith(IN_CODE):
            return expression(text)
        if self._judges.accept is None and self._judges.evaluate is None:
            raise Fault(
                "Runtime.NoGate",
                f"the job's code has no accept= at {self._gate.entrypoint}, and the deployed model has one: "
                "deploy both together",
            )
        return self._judges.accept or _anything


def _anything(_: object) -> bool:
    return True
