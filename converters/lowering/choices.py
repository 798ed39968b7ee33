"""What the lowering can do in more than one way, with the way that it takes unless told otherwise.

The defaults are those that win or tie on most networks on x86-64 and in arm64 instructions; which is fastest for one
network on one device, `converters.tune` finds by measuring. To add a choice, add a field and read it in the lowering.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args, get_type_hints


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """One way to lower a network.

    Attributes:
        steps: of a recurrence: `called`, stored once and called; `flat`, each step written out in the file; or
            `fitting`, flat where an engine's copies of their weights are few, else called.
        bands: normalisation by band: `folded` into a convolution for each band; a product and a sum, with constants
            that broadcast (`apart`) or that are written out for every column (`whole`); or `fitting`, folded in an
            int8 file, which rounds less so, and in a float one where a map has more than a few columns.
        strides: of a stem with one channel: `paired`, neighbours read as channels; `single`; or `fitting`, paired in
            an int8 file, and in a float one where that adds few products.
        zeros: that TFLite's SAME does not give: by `pad`, an operator; or by `taps`, a longer kernel with zeros.
    """

    steps: Literal["fitting", "called", "flat"] = "fitting"
    bands: Literal["fitting", "folded", "apart", "whole"] = "fitting"
    strides: Literal["fitting", "paired", "single"] = "fitting"
    zeros: Literal["pad", "taps"] = "pad"

    def for_int8(self) -> Choices:
        """The way for an int8 file where this is the one for a float file."""
        return replace(
            self,
            bands="folded" if self.bands == "fitting" else self.bands,
            strides="paired" if self.strides == "fitting" else self.strides,
        )

    def alternatives(self) -> Iterator[tuple[str, Choices]]:
        """Every way that differs from this one in one choice, and what it is called.

        >>> [name for name, _ in Choices().alternatives()][:2]
        ['steps=called', 'steps=flat']
        """
        kinds = get_type_hints(Choices)
        for field in fields(self):
            for value in get_args(kinds[field.name]):
                if value != getattr(self, field.name):
                    yield f"{field.name}={value}", replace(self, **{field.name: value})

    def words(self) -> str:
        """What is not as usual, such as `steps=flat`; `the defaults` where all is."""
        usual = Choices()
        names = [field.name for field in fields(self) if getattr(self, field.name) != getattr(usual, field.name)]
        return ", ".join(f"{name}={getattr(self, name)}" for name in names) or "the defaults"
