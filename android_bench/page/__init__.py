"""Measured sessions, verdicts and histories as one HTML page that needs no network and no script.

    markup   elements with everything escaped
    axes     scales, ticks, and where a label has room
    front    accuracy against cost: the Pareto front of one device
    samples  every timed inference as a distribution, and the drift of the blocks over the session
    layers   what each operator of an export costs and loses
    trend    verdicts over time, as ratios to a pinned reference
    verdicts the answers of `tkd-bench compare`
    whole    the page

After `android_bench.evidence`, which reads the files; `android_bench.cli_report` writes the page.
Charts are SVG whose coordinates are shares of the width, so that text keeps its size on every screen.
"""
