"""Routing: every face goes to the restorer that suits its size and sharpness, and it is said which and why.

Which one that is, options/infer/routed.yml says. The chosen restorers ("experts") are built by name and get clips cut as they ask for;
frames of several people that go to one expert go together where it restores several at a time.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keyframes_gan import restorers
from keyframes_gan.errors import UserError
from keyframes_gan.faces import align
from keyframes_gan.faces.recut import recut
from keyframes_gan.options import ROOT, load_routing
from keyframes_gan.options.routed import LEAVE
from keyframes_gan.restorers.routed_bands import Bands, TrackMemory
from keyframes_gan.restorers.routed_measure import look
from keyframes_gan.types import BatchRestorer, Cutoffs, Decision, FaceClip, RestorerSpec, Tracking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from keyframes_gan.options.routed import Expert, Routing
    from keyframes_gan.types import Matrix, Restorer

DEFAULT = ROOT / "options" / "infer" / "routed.yml"
MOST_SCALE = 4
SLACK = 1e-3
REMEMBERED = 64
"""Decisions are kept for so many frames."""

SPEC = RestorerSpec(
    name="routed",
    summary="every face to the restorer that suits its size and sharpness",
    weights=str(DEFAULT),
    crop_sizes=(*range(64, 257, 32), 320, 384, 512, 768, 1024),
    clip_length=8,
    overlap=0,
    licence="that of the experts' weights",
    residual=True,
    template="upright",
)


@dataclass
class RoutedState:
    """One track: what the choice remembers, what was decided of late by frame, and each expert's own state with the frame it ends at."""

    track_id: int
    memory: TrackMemory = field(default_factory=TrackMemory)
    decisions: dict[int, Decision] = field(default_factory=dict)
    experts: dict[str, tuple[int, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Frames `start` to before `end` of a clip, which go to one expert: `cut` as it wants them by `to_expert`, crop to expert's pixels."""

    start: int
    end: int
    expert: str
    cut: FaceClip
    to_expert: list[Matrix]


class Routed:
    """Chooses an expert for every face of every frame.

    Args:
        routing: the checked options.
        experts: the restorers by the names that `routing` gives them.
    """

    def __init__(self, routing: Routing, experts: Mapping[str, Restorer]) -> None:
        blend = routing.blend
        self.spec = replace(
            SPEC,
            tracking=_tracking(routing),
            blend=blend.video,
            photo_blend=blend.photo,
            min_identity=routing.min_identity,
        )
        self._bands, self._experts = Bands(routing), experts

    def start(self, track_id: int) -> RoutedState:
        """Return the state of a track that begins."""
        return RoutedState(track_id)

    def decision(self, state: RoutedState, index: int) -> Decision | None:
        """Return what was decided for that track in the frame `index`."""
        return state.decisions.get(index)

    def restore(self, clip: FaceClip, state: RoutedState) -> npt.NDArray[np.uint8]:
        """Return the restored crops, uint8 (T, R, R, 3); the given ones when all faces were left as they are."""
        return self.restore_many([clip], [state])[0]

    def restore_many(self, clips: Sequence[FaceClip], states: Sequence[RoutedState]) -> list[npt.NDArray[np.uint8]]:
        """Restore clips of several tracks. States go on only when all has gone well."""
        after = [self._decided(clip, state) for clip, state in zip(clips, states, strict=True)]
        runs = [self._runs(clip, state) for clip, state in zip(clips, after, strict=True)]
        restored: list[list[npt.NDArray[np.uint8]]] = [[] for _ in clips]
        for number in range(max(map(len, runs))):
            # The runs of one track come one after the other, because an expert may remember; those of several tracks go together.
            due = {clip: ofs[number] for clip, ofs in enumerate(runs) if number < len(ofs)}
            for name in dict.fromkeys(run.expert for run in due.values()):
                chosen = [clip for clip, run in due.items() if run.expert == name]
                made = self._restored(name, [due[clip] for clip in chosen], [after[clip] for clip in chosen])
                for clip, pictures in zip(chosen, made, strict=True):
                    restored[clip].append(pictures)
        for state, new in zip(states, after, strict=True):
            state.memory, state.decisions, state.experts = new.memory, new.decisions, new.experts
        return [self._composed(*each) for each in zip(clips, runs, restored, strict=True)]

    def _decided(self, clip: FaceClip, state: RoutedState) -> RoutedState:
        """Return a track's state after the choices for the frames that `clip` restores."""
        decisions = {index: one for index, one in state.decisions.items() if index >= clip.first - REMEMBERED}
        memory = state.memory
        for frame in range(clip.context, len(clip) - clip.ahead):
            seen = look(clip.crops[frame], clip.to_crop[frame], clip.landmarks[frame])
            expert, reason, memory = self._bands.choose(seen, memory)
            decisions[clip.first + frame] = Decision(seen.width, seen.sharpness, seen.noise, expert, reason)
        # The copies take what the experts add, so that nothing has happened if one of them fails.
        experts = {name: (last, copy.copy(one)) for name, (last, one) in state.experts.items()}
        return RoutedState(state.track_id, memory, decisions, experts)

    def _runs(self, clip: FaceClip, state: RoutedState) -> list[Run]:
        """Return what of a clip goes to experts, in order, no run longer than its expert's clips."""
        runs: list[Run] = []
        frames = range(clip.context, len(clip) - clip.ahead)
        for name, group in groupby(frames, key=lambda frame: state.decisions[clip.first + frame].expert):
            members = list(group)
            if name == LEAVE:
                continue
            spec = self._experts[name].spec
            for start in range(members[0], members[-1] + 1, spec.clip_length):
                end = min(start + spec.clip_length, members[-1] + 1)
                runs.append(Run(start, end, name, *_cut(clip, start, end, spec)))
        return runs

    def _restored(self, name: str, runs: Sequence[Run], states: Sequence[RoutedState]) -> list[npt.NDArray[np.uint8]]:
        """Let one expert restore a run of each of these tracks."""
        expert, inner = self._experts[name], []
        for run, state in zip(runs, states, strict=True):
            last, one = state.experts.get(name, (None, None))
            inner.append(one if last == run.cut.first - 1 else expert.start(state.track_id))
            state.experts[name] = run.cut.first + len(run.cut) - 1, inner[-1]
        clips, start = [run.cut for run in runs], time.perf_counter()
        if isinstance(expert, BatchRestorer):
            restored = expert.restore_many(clips, inner)
        else:
            restored = [expert.restore(clip, one) for clip, one in zip(clips, inner, strict=True)]
        share = (time.perf_counter() - start) / sum(map(len, clips))
        for clip, state in zip(clips, states, strict=True):
            for index in range(clip.first, clip.first + len(clip)):
                state.decisions[index] = replace(state.decisions[index], seconds=share)
        return restored

    def _composed(self, clip: FaceClip, runs: Sequence[Run], restored: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        """Put the experts' pictures into the crops, enlarged as far as the experts did."""
        if not runs:
            return clip.crops
        ratios = [pictures.shape[1] / run.cut.crops.shape[1] for run, pictures in zip(runs, restored, strict=True)]
        finest = max(ratio * align.scale_of(run.to_expert[0]) for ratio, run in zip(ratios, runs, strict=True))
        scale = min(max(int(np.ceil(finest - SLACK)), 1), MOST_SCALE)
        whole = np.stack([align.enlarged(crop, scale * len(crop)) for crop in clip.crops])
        for run, pictures, ratio in zip(runs, restored, ratios, strict=True):
            residual = self._experts[run.expert].spec.residual
            for frame, picture, given, matrix in zip(range(run.start, run.end), pictures, run.cut.crops, run.to_expert, strict=True):
                original = align.enlarged(given, len(picture)) if residual else None
                align.paste(whole[frame], picture, align.rescaled(matrix, frame=scale, crop=ratio), original=original, in_place=True)
        return whole


def _tracking(routing: Routing) -> Tracking:
    asked = routing.steadiness
    region = Cutoffs(**asked.centre.model_dump()), Cutoffs(**asked.size.model_dump())
    wanted = [band.from_px for band in routing.bands if set(band.experts) != {LEAVE}]
    least = None if not wanted else max(int(min(wanted)), 1)
    return Tracking(every=asked.detect_every, max_gap=asked.box_life, region=region, min_face=least, max_pixels=asked.detect_pixels)


def _cut(clip: FaceClip, start: int, end: int, spec: RestorerSpec) -> tuple[FaceClip, list[Matrix]]:
    """Cut frames of a clip as a restorer wants them; also return the matrices from the clip's crops to the new ones."""
    part = slice(start, end)
    points = clip.landmarks[part]
    size = align.native_size(points, spec.crop_sizes, template=spec.template, least_face=spec.least_face)
    template = align.CropSpec(spec.template, size, spec.least_face)
    matrices = [template.to_crop(face) for face in points]
    references = clip.references[part] or (None,) * len(points)
    cut = FaceClip(
        track_id=clip.track_id,
        first=clip.first + start,
        crops=np.stack([align.crop(crop, matrix, size) for crop, matrix in zip(clip.crops[part], matrices, strict=True)]),
        to_crop=np.stack([align.joined(first, second) for first, second in zip(clip.to_crop[part], matrices, strict=True)]),
        landmarks=np.stack([align.transform_points(face, matrix) for face, matrix in zip(points, matrices, strict=True)]),
        references=tuple(None if one is None else recut(one, template) for one in references),
    )
    return cut, matrices


def _built(name: str, expert: Expert, *, device: str, precision: str) -> Restorer:
    file = ROOT / expert.weights if expert.weights else None
    source = str(file) if file is not None and file.is_file() else expert.weights
    try:
        return restorers.find(expert.restorer, device=device, precision=precision, weights=source, **expert.settings)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        msg = f"experts.{name}.settings: expected arguments that the restorer {expert.restorer} takes, got {', '.join(expert.settings)}"
        raise UserError(msg) from error


def create(*, device: str = "auto", precision: str = "fp32", weights: str | None = None) -> Routed:
    """Build the restorer and its experts.

    Args:
        device: "auto", "cpu", "cuda", ...
        precision: "fp32" or "bf16".
        weights: an options file in place of options/infer/routed.yml.

    Raises:
        OptionsError: the options file is not sound.
        UserError: an expert is no restorer, or cannot be built.
        WeightsError: an expert's weights are missing, altered or of another network.
    """
    source = Path(weights) if weights else DEFAULT
    if not source.is_file():
        msg = f"--weights: expected, for routed, a file like options/infer/routed.yml, got {weights}, which does not exist"
        raise UserError(msg)
    routing = load_routing(source)
    used = {name: routing.experts[name] for band in routing.bands for name in band.experts if name != LEAVE}
    return Routed(routing, {name: _built(name, one, device=device, precision=precision) for name, one in used.items()})
