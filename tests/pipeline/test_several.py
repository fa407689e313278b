"""Several people: ids over absences and cuts, what crosses a cut, clips that overlap, clips restored together, memory running out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from keyframes_gan.errors import UserError
from keyframes_gan.faces.smooth import SmoothFace
from keyframes_gan.keyframes.memory import KeyframeMemory
from keyframes_gan.pipeline import gallery
from keyframes_gan.pipeline.clock import Stopwatch
from keyframes_gan.pipeline.gallery import Gallery
from keyframes_gan.pipeline.guard import Judgement
from keyframes_gan.pipeline.people import STATE_FRAMES, Person, Slot
from keyframes_gan.pipeline.restoring import Runner
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.pipeline.stream import restore_video
from keyframes_gan.types import FaceClip, Frame
from keyframes_gan.video.read import VideoReader
from keyframes_gan.video.write import Encoding

PICTURE = np.zeros((96, 128, 3), np.uint8)


def settings(**given: Any) -> Settings:
    return Settings(**{"restorer": "recorder", "encoding": Encoding(codec="ffv1"), **given})


def by_side(points: Any) -> int:
    """Person 1 is on the left, person 2 on the right."""
    return 1 if points[:, 0].mean() < 128 else 2


def frames_of_clips(clips: Sequence[FaceClip], person: int) -> list[tuple[int, int]]:
    return [(clip.first + clip.context, clip.first + len(clip) - 1) for clip in clips if clip.track_id == person]


class Counting:
    """A recorder whose states are numbered in order of their making."""

    def __init__(self, recorder: Any) -> None:
        self._made = 0
        recorder.start = self._start

    def _start(self, track_id: int) -> tuple[int, int]:
        self._made += 1
        return track_id, self._made


@pytest.fixture
def wide(tmp_path: Path, moving: Any, make_video: Any) -> Path:
    path: Path = make_video(tmp_path / "in.mp4", moving(40, (256, 96)), gop=10)
    return path


def test_the_same_person_keeps_id_memory_and_state_over_a_short_absence(
    wide: Path, tmp_path: Path, follow: Any, record: Any, face: Any
) -> None:
    here = {**dict.fromkeys(range(10), 0), **dict.fromkeys(range(24, 40), 1)}
    follow(lambda index: [(here[index], face(64, 42, 20))] if index in here else [], identity=by_side)
    recorder = record()
    Counting(recorder)
    outcome = restore_video(wide, tmp_path / "out.mkv", settings(smoothing=0), progress=False)
    assert outcome.people == 1
    assert frames_of_clips(recorder.clips, 0) == [(0, 3), (4, 7), (8, 9), (24, 27), (28, 31), (32, 35), (36, 39)]
    assert len({state for _, state in recorder.states}) == 1
    assert recorder.clips[3].references[0].time == 0


def test_somebody_else_is_somebody_else(wide: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    here = {**dict.fromkeys(range(10), (0, 64)), **dict.fromkeys(range(24, 40), (1, 190))}
    follow(lambda index: [(here[index][0], face(here[index][1], 42, 20))] if index in here else [], identity=by_side)
    recorder = record()
    assert restore_video(wide, tmp_path / "out.mkv", settings(), progress=False).people == 2
    assert recorder.clips[3].track_id == 1
    assert recorder.clips[3].references[0] is None


def test_a_cut_ends_clips_and_state_but_not_the_memory(wide: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    follow(
        lambda index: [(0, face(64, 42, 20)), (1, face(190, 42, 20))] if index < 14 else [(2, face(190, 42, 20)), (3, face(64, 42, 20))],
        cuts=[14],
        identity=by_side,
    )
    recorder = record(overlap=1)
    Counting(recorder)
    outcome = restore_video(wide, tmp_path / "out.mkv", settings(smoothing=0), progress=False)
    assert outcome.people == 2
    for person in (0, 1):
        spans = frames_of_clips(recorder.clips, person)
        assert [span for span in spans if span[0] < 14][-1][1] == 13
        after = next(clip for clip in recorder.clips if clip.track_id == person and clip.first >= 14)
        assert (after.first, after.context) == (14, 0)
        assert after.references[0] is not None
    states = {(clip.track_id, clip.first >= 14): state for clip, (_, state) in zip(recorder.clips, recorder.states, strict=True)}
    assert len(set(states.values())) == 4
    assert len({state for _, state in recorder.states}) == 4


def test_state_ends_with_a_long_absence(record: Any, face: Any) -> None:
    recorder = record()
    Counting(recorder)
    person = Person(5, recorder, KeyframeMemory(2))
    one = SmoothFace(5, face(64, 42, 20), True, 1.0)
    seen = []
    for index in (0, STATE_FRAMES, 2 * STATE_FRAMES + 1):
        person.add(Slot(Frame(index, index, PICTURE)), one)  # type: ignore[arg-type]
        seen.append(person.state)
        clip = person.clip(4)
        person.paste(clip, clip.crops, Judgement(np.ones(1, np.float32)))
    assert seen == [(5, 1), (5, 1), (5, 2)]


def test_the_state_of_the_absent_is_let_go(record: Any, face: Any) -> None:
    recorder = record()
    Counting(recorder)
    person = person_with(recorder, face, 4, track=5)
    for index in range(4, 100):
        person.let_go(index)
        assert person.state == (5, 1 if index <= 3 + STATE_FRAMES else 2)


def letterboxed(path: Path, first: int, count: int, side: int = 360) -> list[npt.NDArray[np.uint8]]:
    made = []
    with VideoReader(path) as reader:
        for frame in islice(reader, first, first + count):
            scale = side / max(frame.rgb.shape)
            small = cv2.resize(frame.rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            made.append(np.zeros((side, side, 3), np.uint8))
            made[-1][: small.shape[0], : small.shape[1]] = small
    return made


@pytest.mark.slow
def test_real_people_are_recognised_after_cuts_and_absences(clips_dir: Path, tmp_path: Path, make_video: Any) -> None:
    """One, the other, the one later on, nobody, the other later on."""
    one, other = clips_dir / "special" / "with_audio.mp4", clips_dir / "special" / "keep_real_1.mp4"
    nobody = [np.full((360, 360, 3), 90, np.uint8)] * 15
    shots = [letterboxed(one, 0, 25), letterboxed(other, 0, 25), letterboxed(one, 60, 25), nobody, letterboxed(other, 60, 20)]
    source = make_video(tmp_path / "in.mp4", [picture for shot in shots for picture in shot])
    outcome = restore_video(
        source, tmp_path / "out.mkv", settings(restorer="none", smoothing=1.5), tracks=tmp_path / "tracks.json", progress=False
    )
    frames = json.loads((tmp_path / "tracks.json").read_text())["frames"]
    people = [{found["person"] for found in frame["faces"]} for frame in frames]
    assert people == [{0}] * 25 + [{1}] * 25 + [{0}] * 25 + [set()] * 15 + [{1}] * 20
    assert outcome.people == 2


def unit(*values: float) -> npt.NDArray[np.float32]:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def test_newcomers_and_absent_people_are_paired_as_a_whole(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Track 10 resembles person 0 most, but so does track 11, which resembles nobody else."""
    views = {0: unit(1, 0, 0), 1: unit(1, 0.3, 0), 10: unit(1, 0.15, 0), 11: unit(1, -0.1, 0)}
    order = iter([0, 1, 10, 11])
    monkeypatch.setattr(gallery, "face_chip", lambda *_: views[next(order)])
    monkeypatch.setattr(gallery, "embed_chip", lambda view: view)
    people = Gallery()

    def faces(*tracks: int) -> list[SmoothFace]:
        return [SmoothFace(track, face(64, 42, 20), True, 1.0) for track in tracks]

    assert people.identify(0, faces(0, 1), PICTURE) == {0: 0, 1: 1}
    assert people.identify(1, faces(10, 11), PICTURE) == {10: 1, 11: 0}
    assert people.identify(2, faces(10, 11), PICTURE) == {10: 1, 11: 0}


def test_nobody_who_is_there_is_taken_for_a_newcomer(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "embed_chip", lambda _: unit(1, 0))
    people, one = Gallery(), face(64, 42, 20)
    assert people.identify(0, [SmoothFace(0, one, True, 1.0)], PICTURE) == {0: 0}
    assert people.identify(1, [SmoothFace(0, one, True, 1.0), SmoothFace(1, one, True, 1.0)], PICTURE) == {0: 0, 1: 1}


def test_somebody_taken_for_another_gets_an_id_when_that_one_is_back(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "embed_chip", lambda _: unit(1, 0))
    people, one = Gallery(), face(64, 42, 20)
    for index, (tracks, expected) in enumerate([((0,), {0: 0}), ((1,), {1: 0}), ((0, 1), {0: 0, 1: 1}), ((1,), {1: 1})]):
        assert people.identify(index, [SmoothFace(track, one, True, 1.0) for track in tracks], PICTURE) == expected


def test_faces_are_compared_only_when_somebody_comes_while_somebody_is_away(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[npt.NDArray[np.uint8]] = []

    def embed_chip(chip: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        looks.append(chip)
        return unit(1, 0)

    monkeypatch.setattr(gallery, "embed_chip", embed_chip)
    people, one = Gallery(), face(64, 42, 20)
    for index in range(3 * gallery.VIEW_EVERY):
        assert people.identify(index, [SmoothFace(0, one, True, 1.0), SmoothFace(1, one, True, 1.0)], PICTURE) == {0: 0, 1: 1}
    assert looks == []
    assert people.identify(index + 1, [SmoothFace(1, one, True, 1.0), SmoothFace(2, one, True, 1.0)], PICTURE) == {1: 1, 2: 0}
    assert len(looks) == 4  # the newcomer, and three views of the one who is away


def test_the_gallery_is_bounded(face: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(0)
    monkeypatch.setattr(gallery, "embed_chip", lambda _: unit(*drawn.standard_normal(128)))
    people, gone = Gallery(), []
    for index in range(400):
        people.identify(index, [SmoothFace(index // 20, face(64, 42, 20), True, 1.0)], PICTURE)
        gone += people.forget(index)
    assert gone == list(range(20 - 1 - gallery.MOST_ABSENT))


def test_clips_overlap_and_the_context_is_dropped(wide: Path, tmp_path: Path, follow: Any, record: Any, face: Any, frames_of: Any) -> None:
    """A restorer that changes only the context changes nothing."""

    def only_context(clip: FaceClip) -> npt.NDArray[np.uint8]:
        changed = clip.crops.copy()
        changed[: clip.context] = 0
        return changed

    follow(lambda _: [(0, face(64, 42, 20))])
    recorder = record(only_context, overlap=2, clip_length=6)
    restore_video(wide, tmp_path / "out.mkv", settings(smoothing=0), progress=False)
    assert [(clip.first, clip.context, len(clip)) for clip in recorder.clips[:3]] == [(0, 0, 6), (4, 2, 6), (8, 2, 6)]
    assert frames_of_clips(recorder.clips, 0)[-1][1] == 39
    for before, after in zip(recorder.clips, recorder.clips[1:], strict=False):
        np.testing.assert_array_equal(after.crops[:2], before.crops[-2:])
        assert after.references[:2] == before.references[-2:]
    record()
    restore_video(wide, tmp_path / "plain.mkv", settings(smoothing=0), progress=False)
    for one, other in zip(frames_of(tmp_path / "out.mkv"), frames_of(tmp_path / "plain.mkv"), strict=True):
        np.testing.assert_array_equal(one[2], other[2])


def test_clips_look_ahead_and_the_next_one_restores(
    wide: Path, tmp_path: Path, follow: Any, record: Any, face: Any, frames_of: Any
) -> None:
    """21 frames, then an absence: the last clip before it has nothing ahead. A restorer that changes only what is ahead changes nothing."""

    def only_ahead(clip: FaceClip) -> npt.NDArray[np.uint8]:
        changed = clip.crops.copy()
        changed[len(clip) - clip.ahead :] = 0
        return changed

    follow(lambda index: [(0, face(64, 42, 20))] if index < 21 else [])
    recorder = record(only_ahead, overlap=2, clip_length=6, looks_ahead=True)
    restore_video(wide, tmp_path / "out.mkv", settings(smoothing=0), progress=False)
    spans = [(clip.first, len(clip), clip.context, clip.ahead) for clip in recorder.clips]
    assert spans == [(0, 6, 0, 2), (4, 6, 0, 2), (8, 6, 0, 2), (12, 6, 0, 2), (16, 5, 0, 0)]
    times = [float(one.time) for clip in recorder.clips for one in clip.references[: len(clip) - clip.ahead] if one is not None]
    plain = record(clip_length=6)
    restore_video(wide, tmp_path / "plain.mkv", settings(smoothing=0), progress=False)
    assert times == [float(one.time) for clip in plain.clips for one in clip.references if one is not None]
    for one, other in zip(frames_of(tmp_path / "out.mkv"), frames_of(tmp_path / "plain.mkv"), strict=True):
        np.testing.assert_array_equal(one[2], other[2])


@pytest.mark.parametrize("looks_ahead", [False, True])
def test_the_overlap_can_be_chosen(wide: Path, tmp_path: Path, follow: Any, record: Any, face: Any, looks_ahead: bool) -> None:
    follow(lambda _: [(0, face(64, 42, 20))])
    recorder = record(overlap=2, clip_length=8, looks_ahead=looks_ahead)
    for asked, step in ((settings(overlap=3), 5), (settings(max_length=2), 1), (settings(overlap=0), 8), (settings(protocol="paper"), 8)):
        recorder.clips.clear()
        restore_video(wide, tmp_path / "out.mkv", asked, progress=False)
        starts = [clip.first for clip in recorder.clips]
        assert starts[2] - starts[1] == step
    with pytest.raises(UserError, match="--overlap: expected less than the 8 frames of a clip, got 8"):
        restore_video(wide, tmp_path / "out.mkv", settings(overlap=8), progress=False)


class Together:
    """Adds `restore_many` to a recorder."""

    def __init__(self, recorder: Any, fail: bool = False) -> None:
        self.calls: list[list[tuple[int, int, int]]] = []
        self._recorder, self._fail = recorder, fail
        recorder.restore_many = self._restore_many

    def _restore_many(self, clips: Sequence[FaceClip], states: Sequence[Any]) -> list[npt.NDArray[np.uint8]]:
        self.calls.append([(clip.track_id, clip.first, len(clip)) for clip in clips])
        if self._fail:
            raise torch.OutOfMemoryError
        return [self._recorder.restore(clip, state) for clip, state in zip(clips, states, strict=True)]


def test_people_are_restored_together(wide: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    """The second comes two frames later; from the first full clip on both are in step."""
    follow(lambda index: [(0, face(64, 42, 20)), (1, face(190, 42, 20))][: 1 + (index >= 2)], identity=by_side)
    recorder = record()
    together = Together(recorder)
    restore_video(wide, tmp_path / "out.mkv", settings(smoothing=0), progress=False)
    assert together.calls[:2] == [[(0, 0, 4), (1, 2, 2)], [(0, 4, 4), (1, 4, 4)]]
    assert len(together.calls) == 10
    recorder.clips.clear()
    together.calls.clear()
    restore_video(wide, tmp_path / "out.mkv", settings(smoothing=0, protocol="paper"), progress=False)
    assert together.calls == []
    assert frames_of_clips(recorder.clips, 1)[0] == (2, 5)


def person_with(recorder: Any, face: Any, count: int, track: int = 0) -> Person:
    person = Person(track, recorder, KeyframeMemory(2))
    for index in range(count):
        person.add(Slot(Frame(index, index, PICTURE)), SmoothFace(track, face(64, 42, 10), True, 1.0))  # type: ignore[arg-type]
    return person


def limited(most: int, error: BaseException) -> Any:
    def change(clip: FaceClip) -> npt.NDArray[np.uint8]:
        if len(clip) > most:
            raise error
        return clip.crops

    return change


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_clips(record: Any, face: Any, error: BaseException) -> None:
    recorder = record(limited(3, error), clip_length=8)
    runner = Runner(recorder, Stopwatch())
    person = person_with(recorder, face, 8)
    slots = [one.slot for one in person._pending]
    runner.run([person])
    assert [(clip.first, len(clip)) for clip in recorder.clips] == [(0, 8), (0, 4), (0, 2), (2, 2), (4, 2), (6, 2)]
    assert [slot.waiting for slot in slots] == [0] * 8
    assert (runner.clip_length, len(runner.notes)) == (2, 2)
    assert "out of memory with 8 frames of 64 px; clips of 4" in runner.notes[0]


def test_out_of_memory_keeps_the_context(record: Any, face: Any) -> None:
    recorder = record(overlap=1, clip_length=5)
    runner = Runner(recorder, Stopwatch())
    person = person_with(recorder, face, 5)
    runner.run([person])
    recorder._change = limited(4, MemoryError())
    for index in range(5, 9):
        person.add(Slot(Frame(index, index, PICTURE)), SmoothFace(0, face(64, 42, 10), True, 1.0))  # type: ignore[arg-type]
    runner.run([person])
    assert [(clip.first, clip.context, len(clip)) for clip in recorder.clips] == [(0, 0, 5), (4, 1, 5), (4, 1, 3), (6, 1, 3)]


def test_out_of_memory_looks_ahead_no_more(record: Any, face: Any) -> None:
    recorder = record(limited(5, MemoryError()), overlap=2, clip_length=8, looks_ahead=True)
    runner = Runner(recorder, Stopwatch())
    person = person_with(recorder, face, 8)
    runner.run(runner.due([person]), last=False)
    assert [(clip.first, len(clip), clip.ahead) for clip in recorder.clips] == [(0, 8, 2), (0, 4, 0), (4, 2, 0)]
    assert (person.waiting, runner.clip_length, runner.ahead) == (2, 4, 0)


def test_out_of_memory_with_one_frame_is_one_clear_line(record: Any, face: Any) -> None:
    recorder = record(limited(0, torch.OutOfMemoryError()))
    with pytest.raises(UserError, match="out of memory even with one frame of 64 px"):
        Runner(recorder, Stopwatch()).run([person_with(recorder, face, 4)])


def test_other_failures_stay_what_they_are(record: Any, face: Any) -> None:
    recorder = record(limited(0, RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        Runner(recorder, Stopwatch()).run([person_with(recorder, face, 4)])


def test_out_of_memory_together_goes_on_one_by_one(record: Any, face: Any) -> None:
    recorder = record()
    together, runner = Together(recorder, fail=True), Runner(recorder, Stopwatch())
    for _ in range(2):
        runner.run([person_with(recorder, face, 4, track) for track in (0, 1)])
    assert len(together.calls) == 1
    assert [clip.track_id for clip in recorder.clips] == [0, 1, 0, 1]
    assert runner.notes == ["out of memory with 2 people at a time; restored one after the other from there on"]


def test_the_papers_protocol_begins_every_clip_anew(wide: Path, tmp_path: Path, follow: Any, record: Any, face: Any) -> None:
    """9 frames in clips of 4: the last frame is fed twice."""
    follow(lambda index: [(0, face(64, 42, 20))] if index < 9 else [])
    recorder = record(overlap=2)
    Counting(recorder)
    restore_video(wide, tmp_path / "out.mkv", settings(smoothing=0, protocol="paper", max_length=4), progress=False)
    assert [(clip.first, clip.context, len(clip)) for clip in recorder.clips] == [(0, 0, 4), (4, 0, 4), (8, 0, 2)]
    np.testing.assert_array_equal(recorder.clips[2].crops[0], recorder.clips[2].crops[1])
    assert len({state for _, state in recorder.states}) == 3
