"""Features of many clips, all cores at work.

Comes after `tkd.data.loading` (waveforms, mapped from disk) and `tkd.audio.features` (one batch).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from converters.command_line import available_cores
from tkd.audio.features import FrontEnd

_CLIPS = 128


def features_of(waveforms: Tensor, front_end: FrontEnd, threads: int = 0) -> Tensor:
    """The features of all clips, unaugmented.

    One thread of ours on each core, in each of which PyTorch stays by itself: its own threads wait for one another
    after every operation, which on a busy machine takes longer than the work.

    Args:
        waveforms: int16, shape (clips, samples); never converted as a whole.
        front_end: what computes them.
        threads: as many as there are cores, unless told.

    Returns:
        Shape (clips, frames, channels), float32.
    """
    config = front_end.config
    features = torch.empty(len(waveforms), config.frames(waveforms.shape[1]), config.channels)

    def compute(first: int) -> None:
        front_end.compute_into(features[first : first + _CLIPS], waveforms[first : first + _CLIPS])

    with ThreadPoolExecutor(threads or available_cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in pool.map(compute, range(0, len(waveforms), _CLIPS)):
            pass
    return features
