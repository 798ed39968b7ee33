"""Scores of any form of a model on one set of clips: what `tkd-eval` does.

    models (open) ─┐
                   ├─► summary ─► text, JSON, plots
    clips (same) ──┘      └── bootstrap, detection (statistics)

Before this: `tkd.checkpoint` and `converters.bundle` hold models, `tkd.export.material` finds data.
After this: `tkd.cli.evaluate`.
"""
