"""Measuring videos against their originals: streams, files, folders, and the tables and files that tell the result.

measure_pair(original_frames, restored_frames)                     {"psnr": 31.2, "ssim": 0.91}
measure_files(original, {"compressed": a, "restored": b})          scores per region and version, one pass, bounded memory
measure_folders(settings)                                          what `compute_metrics.py` does
"""

from __future__ import annotations

from keyframes_gan.measure.batch import measure_folders
from keyframes_gan.measure.files import measure_files
from keyframes_gan.measure.results import Summary, VideoScores, as_json, check_output, print_summary, tables, write_summary
from keyframes_gan.measure.scores import Scores, Statistics
from keyframes_gan.measure.settings import Settings
from keyframes_gan.measure.spaces import Region
from keyframes_gan.measure.streams import load_scorers, measure_pair, measure_streams

__all__ = [
    "Region",
    "Scores",
    "Settings",
    "Statistics",
    "Summary",
    "VideoScores",
    "as_json",
    "check_output",
    "load_scorers",
    "measure_files",
    "measure_folders",
    "measure_pair",
    "measure_streams",
    "print_summary",
    "tables",
    "write_summary",
]
