"""VMAF (Netflix, model vmaf_v0.6.1) by libvmaf, as FFmpeg runs it.

Sources: Li et al., "Toward a practical perceptual video quality metric", Netflix 2016; libvmaf. 0 to 100; the model was made for 1080p at
three picture heights. Pictures become BT.709 luma in studio range; a frame's value also depends on how the original moved since the one
before, so all frames of a clip go through one run. The program is the one that the package `imageio-ffmpeg` brings (plain wheels), else the
`ffmpeg` of this machine; it has to be built with libvmaf. Frames go to it through a pipe, one at a time, the original above the version.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import weakref
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from keyframes_gan.errors import MediaError
from keyframes_gan.metrics.clips import Begin, ClipScore, Frames, Value, mean
from keyframes_gan.metrics.kinds import Picture, UnavailableError

LOG, COMPLAINTS = "vmaf.json", "errors.txt"
MINIMUM_PX = 32
PATIENCE_SECONDS = 60
GRAPH = (
    "[0:v]scale=out_color_matrix=bt709:out_range=tv,format=yuv444p,split[one][two];"
    "[one]crop=iw:ih/2:0:0[original];[two]crop=iw:ih/2:0:ih/2[version];"
    "[version][original]libvmaf=log_fmt=json:log_path={log}:n_threads={threads}"
)


def load_vmaf() -> Begin:
    """Return VMAF.

    Raises:
        UnavailableError: there is no FFmpeg with libvmaf.
    """
    program = find_program()
    return lambda: VmafScorer(program)


@lru_cache(maxsize=1)
def find_program() -> str:
    """Return the path of an FFmpeg with libvmaf.

    Raises:
        UnavailableError: there is none.
    """
    candidates = [path for path in (_packaged(), shutil.which("ffmpeg")) if path is not None]
    for path in candidates:
        if "libvmaf" in _filters(path):
            return path
    looked = f"without libvmaf: {', '.join(candidates)}" if candidates else "no FFmpeg found"
    msg = f"VMAF needs an FFmpeg with libvmaf ({looked}); run: pip install imageio-ffmpeg"
    raise UnavailableError(msg)


def _packaged() -> str | None:
    """Return the program that imageio-ffmpeg brings, None when it is not installed or brings none for this machine."""
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return None
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except RuntimeError:
        return None


def _filters(program: str) -> str:
    """Return the list of a program's filters, empty when it does not run."""
    try:
        done = subprocess.run(  # noqa: S603  # a program of this machine, no shell
            [program, "-hide_banner", "-filters"], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


@dataclass
class VmafScorer:
    """The `ClipScorer` of VMAF; one run of the program for one clip. Boxes and pictures of less than 32 pixels a side have no value."""

    program: str
    frames: int = 0
    run: _Run | None = field(default=None)

    def add(self, frames: Frames) -> None:
        """Hand the next frames to the program."""
        self.frames += len(frames)
        for original, picture in zip(frames.original.pictures, frames.judged.pictures, strict=True):
            if frames.boxes is not None or min(original.shape[:2]) < MINIMUM_PX:
                continue
            if self.run is None:
                self.run = _Run(self.program, original.shape[1], original.shape[0])
            self.run.write(original, picture)

    def finish(self) -> ClipScore:
        """Return the frames' values and their mean.

        Raises:
            MediaError: the program failed.
        """
        values: list[Value] = [None] * self.frames if self.run is None else list(self.run.values())
        return ClipScore(tuple(values), mean(values))


class _Run:
    """A running program. It is ended, and its folder removed, when nobody holds this object any more."""

    def __init__(self, program: str, width: int, height: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="vmaf-")
        threads = os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{2 * height}", "-r", "25", "-i", "pipe:0"]
        graph = ["-filter_complex", GRAPH.format(log=LOG, threads=threads), "-f", "null", "-"]
        with (Path(self._folder) / COMPLAINTS).open("wb") as complaints:
            self._process = subprocess.Popen(  # noqa: S603  # a program of this machine, no shell
                [program, "-hide_banner", "-loglevel", "error", *source, *graph],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
            )
        weakref.finalize(self, _end, self._process, self._folder)

    def write(self, original: Picture, picture: Picture) -> None:
        """Hand over one frame."""
        try:
            for part in (original, picture):
                self._pipe.write(part.tobytes())
        except BrokenPipeError as error:
            raise self._failed() from error

    def values(self) -> list[float]:
        """Wait for the end, and return every frame's value."""
        self._pipe.close()
        if self._process.wait() != 0:
            raise self._failed()
        log: dict[str, Any] = json.loads((Path(self._folder) / LOG).read_text(encoding="utf-8"))
        return [float(frame["metrics"]["vmaf"]) for frame in log["frames"]]

    @property
    def _pipe(self) -> IO[bytes]:
        if self._process.stdin is None:
            msg = "the program was started without a pipe"
            raise RuntimeError(msg)
        return self._process.stdin

    def _failed(self) -> MediaError:
        self._process.wait()
        said = (Path(self._folder) / COMPLAINTS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return MediaError(f"VMAF: FFmpeg ended with status {self._process.returncode}: {said[-1] if said else 'it said nothing'}")


def _end(process: subprocess.Popen[bytes], folder: str) -> None:
    """End the program if it still runs, and remove its folder."""
    if process.stdin is not None and not process.stdin.closed:
        process.kill()
        process.stdin.close()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
