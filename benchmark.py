"""Measure methods x data sets x degradations: `python benchmark.py -opt options/test/quick.yml`. See docs/benchmark.md."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from keyframes_gan import options
from keyframes_gan.errors import EXIT_USER_ERROR, DoorParser, path_of, run_door
from keyframes_gan.options.benchmark import narrowed

EXIT_NOT_MET = 1


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = DoorParser(
        description=__doc__,
        epilog="exit status: 0 everything was measured, and every bar met; 1 a bar was not; 2 something was not measured, see the table",
    )
    parser.add_argument("-opt", type=path_of, required=True, metavar="FILE", help="options file (YAML)")
    parser.add_argument("-o", "--output", type=path_of, help="folder for the results (default: experiments/benchmark/NAME)")
    parser.add_argument("--jobs", type=int, default=1, help="clips at a time, each in a process of its own (default: 1)")
    parser.add_argument("--force_yml", nargs="+", default=(), metavar="KEY=VALUE", help="replace options: datasets:videos:root=my/videos")
    parser.add_argument("--bars", nargs="+", metavar="NAME", help="only these bars of the options, and what they need")
    parser.add_argument("--check", action="store_true", help="check the options file and stop")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Check the options, measure what is not measured yet, print the table, write tables and report."""
    given = parse(argv)
    checked = options.load_benchmark(given.opt, given.force_yml)
    if given.check:
        print(f"{given.opt}: all options are right")
        return 0
    if given.bars:
        checked = narrowed(checked, given.bars)
    from keyframes_gan import benchmark  # noqa: PLC0415  # slow to import, and useless when the options are wrong

    output = given.output or options.ROOT / "experiments" / "benchmark" / checked.name
    results = benchmark.run(checked, output, root=options.ROOT, jobs=given.jobs)
    benchmark.print_results(results)
    for path in [*benchmark.write_results(results, output), *benchmark.write_report(results, output / "report.html")]:
        print(f"written: {path}")
    judged = benchmark.judge(results)
    for bar in judged:
        print(bar)
    if not benchmark.all_met(judged, results):
        return EXIT_NOT_MET
    return 0 if results.complete else EXIT_USER_ERROR


if __name__ == "__main__":
    raise SystemExit(run_door(main))
