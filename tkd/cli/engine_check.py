"""The engine check of `tkd-export`: each file runs on the phones' engine, under emulation, before it is written.

Where that is not possible the export goes on and one line says why (`auto`), or it is an error (`require`).
Composes `tkd.export` and `android_bench.engine_check`, which know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from android_bench.engine import cache_folder
from android_bench.errors import GoldenMismatchError, MissingToolError, RunnerError
from tkd.errors import TkdError

if TYPE_CHECKING:
    from android_bench.engine_check import EmulatedEngine, EngineAnswer, Proof
    from converters.bundle_contents import BundleContents
    from converters.request import Conversion
    from converters.runners import Array

Mode = Literal["auto", "require", "off"]
MODES: tuple[Mode, ...] = ("auto", "require", "off")


class EngineRefusedError(TkdError):
    """The phones' engine cannot load a file, or computes another function than this computer's: nothing is written."""


@dataclass(slots=True)
class EngineCheck:
    """The check of one export.

    Attributes:
        mode: whether it is made.
        answers: by the file's precision, as they come.
        why_not: why there are none, "" where there are or none are wanted.
    """

    mode: Mode
    answers: dict[str, EngineAnswer] = field(default_factory=dict)
    why_not: str = ""
    _engine: EmulatedEngine | None = None

    def prove(self, contents: BundleContents) -> Mapping[str, Any]:
        """What a bundle says of the phones' engine.

        Raises:
            EngineRefusedError: that engine refused the file, or computes another function.
            MissingToolError: it does not run here, and the check is required.
        """
        from android_bench.engine_check import Proof

        return self._prove(
            Proof(
                name=contents.name,
                precision=contents.precision,
                model=contents.model,
                inputs=contents.inputs,
                outputs=contents.outputs,
                golden_input=contents.golden_input,
                golden_output=contents.golden_output,
            )
        )

    def prove_all(self, conversion: Conversion, title: str, examples: Array) -> None:
        """Proves the files of a conversion on inputs of shape (examples, *axes); raises as `prove` does."""
        from android_bench.engine_check import Proof
        from converters.runners import TfliteModel

        for file in conversion.files.values():
            fed = file.input.quantize(examples.astype(np.float32))
            self._prove(
                Proof(
                    name=f"{title}-{file.precision}",
                    precision=file.precision,
                    model=file.content,
                    inputs=(file.input,),
                    outputs=(file.output,),
                    golden_input=fed,
                    golden_output=TfliteModel(file.content).run_stored(fed),
                )
            )

    def sentence(self) -> str:
        """One line for people, "" where the check is off."""
        if self.mode == "off":
            return ""
        if not self.answers:
            return f"not tried on the phones' engine: {self.why_not}"
        engine = next(iter(self.answers.values())).engine
        seen = ", ".join(f"{precision} {_words(answer)}" for precision, answer in self.answers.items())
        return f"runs on the phones' engine, {engine}, arm64 under emulation; against this computer: {seen}"

    def document(self) -> dict[str, Any]:
        """The check as JSON values."""
        answers = {precision: asdict(answer) for precision, answer in self.answers.items()}
        return {"mode": self.mode, "why_not": self.why_not or None, "files": answers}

    def _prove(self, proof: Proof) -> Mapping[str, Any]:
        engine = self._found()
        if engine is None:
            return {"checked": False, "why_not": self.why_not or "it was not asked for"}
        try:
            answer = engine.prove(proof)
        except (RunnerError, GoldenMismatchError) as cause:
            raise EngineRefusedError(
                f"the phones' engine does not do {proof.name}: {cause}. Nothing was written; keep that operator out of "
                "the model, bring the engine that your app has (tkd-bench engine import), or write the file all the "
                "same with --engine-check off"
            ) from cause
        self.answers[proof.precision] = answer
        return {"checked": True, **asdict(answer)}

    def _found(self) -> EmulatedEngine | None:
        if self.mode == "off" or self.why_not:
            return None
        if self._engine is None:
            from android_bench.engine_check import find_engine_check

            try:
                self._engine = find_engine_check(cache_folder())
            except MissingToolError as cause:
                if self.mode == "require":
                    raise
                self.why_not = str(cause)
        return self._engine


def _words(answer: EngineAnswer) -> str:
    return f"{answer.max_error:.0f} steps" if answer.unit == "lsb" else f"{answer.max_error:.0e}"
