"""A float32 model with all its activations in sight, as fast as the file that a phone gets.

The activations become outputs of a file made for this, so that XNNPACK computes them as it does later on; an
interpreter that keeps all its tensors has to do without, and takes two to three times as long. Nothing is copied:
activations are read where the runtime has them, and as all of them are kept they lie side by side, so that what is
done with each of their values is done in one pass over them all.

    for clip in watched.each(clips):
        np.maximum(high, watched.blocks[0], out=high)        every value of every activation
        watched.values["conv1"]                              one activation

Used by `converters.calibration`. Tested in `tests/converters/test_watching.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from converters.errors import ConversionError
from converters.lowering.records import Array, Model
from converters.lowering.writer import write_model
from converters.runners import Floats, without_notices
from converters.runtimes import DEFAULT_RUNTIME, make_interpreter

# The runtime begins each tensor at such an address: a gap below it is within what one of its neighbours has.
_ALIGNMENT_BYTES = 64


class WatchedModel:
    """Runs a model clip by clip and shows each of its activations, on one thread.

    Args:
        model: float32; one with states takes clips as a structured array with a field for each input.

    Attributes:
        values: each activation by its name, of the clip that was computed last, in the model's shapes. The arrays are
            the runtime's own memory: the next clip changes them, and they end with this object.
        blocks: all of them and what lies between them, flat: one array, or a few where they lie apart.

    Raises:
        ConversionError: the runtime refuses the model.
    """

    def __init__(self, model: Model) -> None:
        inside = [name for name in model.activations() if name not in (*model.inputs, *model.outputs)]
        shown = replace(model, outputs=(*model.outputs, *inside))
        try:
            with without_notices():
                content = write_model(shown, description="watched")
                self._interpreter = make_interpreter(DEFAULT_RUNTIME, content, keeps_all=False)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as cause:
            raise ConversionError(f"{DEFAULT_RUNTIME} refuses the model with its activations shown: {cause}") from cause
        inputs = {str(each["name"]): int(each["index"]) for each in self._interpreter.get_input_details()}
        outputs = {str(each["name"]): int(each["index"]) for each in self._interpreter.get_output_details()}
        self._inputs = inputs
        self._scalars: dict[int, Floats] = {}
        self.values: Mapping[str, Floats] = {name: self._kept(index) for name, index in {**inputs, **outputs}.items()}
        self.blocks: Sequence[Floats] = [
            _floats_at(start, ((end - start) // 4,)) for start, end in _blocks(self.values.values())
        ]

    def each(self, clips: Array) -> Iterator[int]:
        """Computes one clip after the other, float32, shape (clips, *axes of the input); their indices."""
        for index in range(len(clips)):
            for name, place in self._inputs.items():
                fed = clips[index : index + 1] if clips.dtype.names is None else clips[name][index : index + 1]
                self._interpreter.set_tensor(place, np.ascontiguousarray(fed))
            self._interpreter.invoke()
            for place, value in self._scalars.items():
                value[...] = self._interpreter.get_tensor(place)
            yield index

    def _kept(self, index: int) -> Floats:
        """A tensor's memory; the runtime shows no number's own, which is copied at each clip."""
        # The view that the runtime gives must not be kept: it refuses to compute as long as there is one.
        view = self._interpreter.tensor(index)()
        if isinstance(view, np.ndarray):
            return _floats_at(view.ctypes.data, view.shape)
        self._scalars[index] = np.array(view, np.float32)
        return self._scalars[index]

    def inside(self, blocks: Sequence[Floats]) -> dict[str, Floats]:
        """The part of each activation in arrays like `blocks`, in its shape."""
        parts = {}
        for name, values in self.values.items():
            for own, other in zip(self.blocks, blocks, strict=True):
                start = (values.ctypes.data - own.ctypes.data) // 4
                if 0 <= start < len(own):
                    parts[name] = other[start : start + values.size].reshape(values.shape)
        return parts


def _floats_at(address: int, shape: tuple[int, ...]) -> Floats:
    length = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * length).from_address(address)).reshape(shape)


def _blocks(arrays: Iterable[Floats]) -> list[tuple[int, int]]:
    """Addresses of the first and past the last byte of what lies side by side."""
    spans = sorted((each.ctypes.data, each.ctypes.data + each.nbytes) for each in arrays)
    found = [spans[0]]
    for start, end in spans[1:]:
        if start - found[-1][1] < _ALIGNMENT_BYTES:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
