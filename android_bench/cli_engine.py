"""`tkd-bench engine`: argv, prints and exit codes; `android_bench.cli` calls it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from converters.command_line import ExitCode, add_common_options, parser

PROGRAM = "tkd-bench"


def engine_parser() -> argparse.ArgumentParser:
    """The arguments of `tkd-bench engine`."""
    made = parser(f"{PROGRAM} engine", "The engine and the runner that phones get, kept in the user's cache.")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    fetch = verbs.add_parser("fetch", help="download the tested engine through pip")
    bring = verbs.add_parser("import", help="take an engine out of a wheel, an Android AAR or JAR, or a library")
    bring.add_argument("file", type=Path, metavar="FILE", help="a .whl, .aar, .jar, .zip or .so with an arm64 engine")
    show = verbs.add_parser("show", help="what is in the cache, hashes checked")
    build = verbs.add_parser("build", help="build the runner for every kind of device that this computer can")
    for verb in (fetch, bring, show, build):
        verb.add_argument("--json", action="store_true", help="print JSON")
        add_common_options(verb)
    return made


def engine(words: Sequence[str]) -> int:
    """Fetches, imports or shows the engine, or builds the runner; the exit code."""
    from android_bench.engine import PIN, cache_folder, cached_engines, fetch_engine, import_engine

    arguments = engine_parser().parse_args(words)
    cache = cache_folder()
    if arguments.verb == "build":
        return _build(cache, as_json=arguments.json)
    if arguments.verb == "fetch":
        if not arguments.quiet:
            print(f"fetching {PIN.wheel} through pip", file=sys.stderr)
        engines = [fetch_engine(cache)]
    elif arguments.verb == "import":
        engines = [import_engine(cache, arguments.file)]
    else:
        engines = cached_engines(cache)
    if arguments.json:
        print(json.dumps({"format": "tkd.engines/1", "engines": [asdict(found) for found in engines]}, default=str))
        return ExitCode.GOOD
    for found in engines:
        print(found.sentence())
    if not engines:
        print(f"no engine in {cache}; get the tested one with: {PROGRAM} engine fetch")
    return ExitCode.GOOD


def _build(cache: Path, *, as_json: bool) -> int:
    """Builds all that can be built; exit code 4 only when no phone could be measured with it."""
    from android_bench.errors import MissingToolError
    from android_bench.native_build import TARGETS, build

    made, missing = [], {}
    for target in TARGETS:
        try:
            made.append(build(target, cache))
        except MissingToolError as fault:
            missing[target] = str(fault)
    if as_json:
        built = [asdict(each) for each in made]
        print(json.dumps({"format": "tkd.native_builds/1", "built": built, "missing": missing}, default=str))
    else:
        for each in made:
            print(f"{each.target:<8} {each.path} ({each.path.stat().st_size} bytes, {each.compiler})")
        for target, reason in missing.items():
            print(f"{target:<8} missing: {reason}")
    return ExitCode.DEVICE if {"glibc", "bionic"} <= missing.keys() else ExitCode.GOOD
