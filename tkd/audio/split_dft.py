"""The DFT of overlapping frames in two grouped convolutions, for engines that have no FFT: constants only.

With N = P · Q points, sample n = p + P · m and bin k = g + Q · j,

    Y[p, g] = Σ_m  w[n] · x[n] · e^(−2πi · m · g / Q)        first stage: P groups, each a DFT of Q points
    X[k]    = Σ_p  Y[p, g] · e^(−2πi · p · k / N)            second stage: Q/2 groups, each a DFT of P points, turned

The window and the framing are in the first stage's weights, the twiddle factors in the second's. Samples are real, so
Y[p, Q − g] is the conjugate of Y[p, g]: Q real numbers hold all of Y[p], and bin k above N/2 stands for bin N − k.
Groups 0 and Q/2 are real and share one group. Bins that no mel band hears are left out.

Source: Cooley and Tukey 1965, "An Algorithm for the Machine Calculation of Complex Fourier Series", Mathematics of
Computation 19(90). Used by `tkd.audio.graph_front_end`; measured in docs/front-end.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tkd.errors import SettingsError

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitDft:
    """The weights of both stages.

    Attributes:
        columns: P, groups of the first stage.
        rows: Q, points of each group's DFT.
        chunk: samples of one step of the first stage's input; window and hop are multiples of it.
        first: shape (P · 2 · Q/2, chunk / P, window / chunk); output channels in the order (p, part, g), where part 0
            is real and part 1 imaginary (of g = 0: the real group Q/2).
        real: real parts, shape (Q/2 · slots, 2 · P); input channels in the order (p, part) within each group.
        imaginary: the same of imaginary parts.
        bins: the bin of each output of the second stage, shape (Q/2, slots), ascending; −1 where there is none.
    """

    columns: int
    rows: int
    chunk: int
    first: Floats
    real: Floats
    imaginary: Floats
    bins: Places

    @property
    def groups(self) -> int:
        """Groups of the second stage, Q/2."""
        return len(self.bins)

    @property
    def slots(self) -> int:
        """Bins that each group of the second stage gives."""
        return int(self.bins.shape[1])


def split_dft(window: Floats, hop_length: int, n_fft: int, heard: Places, columns: int | None = None) -> SplitDft:
    """The split of a windowed DFT with the fewest multiplications, or the one with so many columns.

    Args:
        window: shape (window_length,).
        hop_length: samples from frame to frame.
        n_fft: N, at least the window's length.
        heard: the bins wanted, ascending, from 0 to N/2.
        columns: P; a divisor of window, hop and N with N/P even.

    Raises:
        SettingsError: N is odd, bins 0 and N/2 are both wanted, or `columns` is no such divisor.
    """
    if n_fft % 2:
        raise SettingsError(f"features.n_fft is {n_fft}; inside a graph it must be even")
    if {0, n_fft // 2} <= set(heard.tolist()):
        raise SettingsError(f"the mel bands hear bin 0 and bin {n_fft // 2}; inside a graph at most one of the two")
    chunk = math.gcd(len(window), hop_length)
    possible = [each for each in range(1, chunk + 1) if math.gcd(chunk, n_fft) % each == 0 and n_fft // each % 2 == 0]
    if columns is None:
        columns = min(possible, key=lambda each: _multiplications(each, len(window), n_fft, heard))
    elif columns not in possible:
        raise SettingsError(f"a DFT of {n_fft} points has no {columns} columns here; expected one of {possible}")
    indices = _indices(columns, n_fft, heard)
    real, imaginary = _second_stage(indices, columns, n_fft)
    return SplitDft(
        columns=columns,
        rows=n_fft // columns,
        chunk=chunk,
        first=_first_stage(window, columns, n_fft // columns, chunk),
        real=real,
        imaginary=imaginary,
        bins=np.where(indices < 0, -1, np.minimum(indices, n_fft - indices)),
    )


def _multiplications(columns: int, window_length: int, n_fft: int, heard: Places) -> int:
    """Real multiplications of both stages for one frame."""
    rows = n_fft // columns
    return window_length * rows + 4 * columns * _indices(columns, n_fft, heard).size


def _indices(columns: int, n_fft: int, heard: Places) -> Places:
    """The k of each output of the second stage, shape (groups, slots), in the order of their bins; −1 for none."""
    rows = n_fft // columns
    wanted = set(heard.tolist())
    groups = []
    for group in range(rows // 2):
        residues = (group,) if group else (0, rows // 2)
        found = {
            min(k, n_fft - k): k
            for residue in residues
            for k in range(residue, n_fft, rows)
            if min(k, n_fft - k) in wanted
        }
        groups.append([found[place] for place in sorted(found)])
    slots = max(map(len, groups))
    return np.array([own + [-1] * (slots - len(own)) for own in groups])


def _first_stage(window: Floats, columns: int, rows: int, chunk: int) -> Floats:
    steps = np.arange(len(window) // columns)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(rows // 2), steps) / rows)
    parts = np.stack([turns.real, turns.imag])
    parts[1, 0] = np.cos(
        np.pi * steps
    )  # the imaginary part of group 0 is zero: group Q/2, which is real, has its place
    weighted = parts * window.reshape(-1, columns).T[:, None, None, :]
    kernels = weighted.reshape(columns * rows, len(window) // chunk, chunk // columns)
    return np.ascontiguousarray(kernels.transpose(0, 2, 1))


def _second_stage(indices: Places, columns: int, n_fft: int) -> tuple[Floats, Floats]:
    rows = n_fft // columns
    turns = np.exp(-2j * np.pi * indices[..., None] * np.arange(columns) / n_fft)
    # What each output takes of a group's two numbers per column: of a complex one both, of a real one its own.
    of_first = np.where(indices % rows == rows // 2, 0, 1)
    of_second = 1j * of_first
    of_second[0] = 1 - of_first[0]
    is_there = indices >= 0
    weights = np.stack([turns * (of_first * is_there)[..., None], turns * (of_second * is_there)[..., None]], axis=-1)
    flat = weights.reshape(indices.size, 2 * columns)
    return flat.real.copy(), flat.imag.copy()
