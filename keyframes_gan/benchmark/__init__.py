"""Methods x data sets x degradations, measured under one protocol: what `benchmark.py` does.

results = run(options, output, root=..., jobs=...)     makes, restores and measures everything that is not there yet
judge(results)                                         the bars of the options, judged
print_results(results)                                 the tables on the screen
write_results(results, output)                         table.md, table.csv, table.tex, results.json, frames.csv
write_report(results, path)                            report.html
video_report(path, given, restored, original=None)     the same page for one video
"""

from __future__ import annotations

from keyframes_gan.benchmark.bars import all_met, judge
from keyframes_gan.benchmark.pages import video_report, write_report
from keyframes_gan.benchmark.results import print_results, write_results
from keyframes_gan.benchmark.run import Results, run

__all__ = ["Results", "all_met", "judge", "print_results", "run", "video_report", "write_report", "write_results"]
