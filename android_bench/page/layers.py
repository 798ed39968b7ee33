"""What each operator of an export costs and loses, from the export's own report."""

from __future__ import annotations

from collections.abc import Sequence

from android_bench.export_facts import Export, Layer
from android_bench.page.markup import Markup, join, table, tag
from android_bench.report import duration

_SHOWN = 16
# Above this a layer is as good as the others for any use of it; bars are drawn up to here.
_FULL_DB = 60.0


def layers_section(exports: Sequence[Export]) -> Markup:
    """What every export is made of, then the layers of those in int8; the first one's are open."""
    rows = [
        (export.name, _shares(export) or "–", ", ".join(f"{count} {name}" for name, count in export.by_type.items()))
        for export in exports
    ]
    layered = [export for export in exports if export.layers]
    told = tag("p", "SQNR is that of an operator's output with everything before it in int8 too, against float32: the "
               "lowest loses most. Cost is the operator alone in a file of its own on the exporting computer: which "
               "ones are heavy, not what they take on a device.", class_="soft")  # fmt: skip
    return join([
        table(("model", "int8 share", "operators"), rows, "What the exports are made of", "words"),
        told if layered else None,
        *(_layers(export, is_open=at == 0) for at, export in enumerate(layered)),
    ])  # fmt: skip


def _layers(export: Export, *, is_open: bool) -> Markup:
    slowest = max((layer.alone_us or 0.0 for layer in export.layers), default=0.0)
    ordered = sorted(export.layers, key=lambda layer: (layer.sqnr_db is None, layer.sqnr_db or 0.0))
    rows = [_row(layer, slowest) for layer in ordered[:_SHOWN]]
    worst = ordered[0]
    left = f", the {_SHOWN} worst of {len(ordered)}" if len(ordered) > _SHOWN else ""
    note = tag("span", f" lowest SQNR {_db(worst.sqnr_db)} at {_short(worst.tensor)}{left}", class_="note")
    caption = f"Operators of {export.name}, the lowest SQNR first"
    return tag(
        "details",
        tag("summary", tag("h3", export.name), note),
        table(("output", "operator", "SQNR", "cost alone"), rows, caption, "named"),
        open=is_open,
    )


def _shares(export: Export) -> str:
    names = {"macs": "MACs", "weight_bytes": "weights"}
    return ", ".join(f"{100 * value:.0f} % of {names.get(key, key)}" for key, value in export.int8_share.items())


def _row(layer: Layer, slowest: float) -> tuple[Markup | str, ...]:
    noise = 0.0 if layer.sqnr_db is None else min(1.0, max(0.0, layer.sqnr_db / _FULL_DB))
    cost = (layer.alone_us or 0.0) / slowest if slowest else 0.0
    return (
        tag("span", _short(layer.tensor), title=layer.tensor),
        layer.operator,
        _bar(noise, _db(layer.sqnr_db), "sqnr"),
        _bar(cost, duration(layer.alone_us / 1e3) if layer.alone_us else "–", "cost"),
    )


def _bar(length: float, text: str, class_: str) -> Markup:
    fill = tag("span", class_=f"fill {class_}", style=f"width:{100 * length:.1f}%")
    return tag("span", tag("span", fill, class_="track", aria_hidden="true"), tag("span", text), class_="measure")


def _db(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} dB"


def _short(tensor: str) -> str:
    """The telling parts of a tensor's path.

    >>> _short("/blocks/blocks.0/second/second.0/Conv_output_0")
    'blocks.0/second.0/Conv'
    """
    parts = [part for part in tensor.removesuffix("_output_0").split("/") if part]
    told = [part for part, after in zip(parts, [*parts[1:], ""], strict=True) if not after.startswith(f"{part}.")]
    return "/".join(told[-3:]) or tensor
