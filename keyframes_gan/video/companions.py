"""The sound and the subtitles of a source video, carried into the output packet by packet.

Packets are copied bit for bit where the output container takes their codec. Where it refuses, sound is re-encoded
(AAC, in WebM Opus) and text subtitles are rewritten (mov_text, SubRip); pictures as subtitles cannot be, and are an
error rather than a silent loss. Nothing is held in memory but the packet to come.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import av
from av.audio.resampler import AudioResampler

from keyframes_gan.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

KINDS = ("audio", "subtitle")

_AUDIO_FALLBACK = {"mp4": "aac", "mov": "aac", "matroska": "aac", "webm": "libopus"}
_TEXT_FALLBACK = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
_TEXT_CODECS = frozenset({"ass", "ssa", "subrip", "srt", "mov_text", "text", "webvtt"})
_OPUS_RATE = 48000
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
_MAX_CHANNELS = 8
_BITS_PER_CHANNEL = 96_000


class _Carrier(Protocol):
    """Carries the packets of one source stream into one output stream."""

    def carry(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """Turn one source packet into output packets."""

    def finish(self) -> Iterator[Packet[Any]]:
        """Give what is left."""


class _Copier:
    """Copies packets as they are."""

    def __init__(self, target: Stream) -> None:
        self._target = target

    def carry(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        packet.stream = self._target
        yield packet

    def finish(self) -> Iterator[Packet[Any]]:
        yield from ()


class _AudioEncoder:
    """Decodes and encodes sound that the container refuses; keeps rate and channel layout where the encoder can."""

    def __init__(self, output: OutputContainer, source: AudioStream, codec: str) -> None:
        rate = source.codec_context.sample_rate
        if codec == "libopus":
            rate = _OPUS_RATE
        elif rate not in _AAC_RATES:
            rate = 48000
        layout = source.codec_context.layout
        self._layout = layout.name if 0 < layout.nb_channels <= _MAX_CHANNELS else "stereo"
        if "channels" in self._layout or not self._layout:
            self._layout = "mono" if layout.nb_channels == 1 else "stereo"
        self._target = cast("AudioStream", output.add_stream(codec, rate=rate))
        self._target.codec_context.layout = self._layout
        self._target.codec_context.bit_rate = _BITS_PER_CHANNEL * min(layout.nb_channels, _MAX_CHANNELS)
        self._rate = rate
        self._resampler: AudioResampler | None = None
        self.stream: Stream = self._target

    def _encode(self, decoded: AudioFrame | None) -> Iterator[Packet[Any]]:
        if self._resampler is None:
            if decoded is None:
                return
            context = self._target.codec_context
            self._resampler = AudioResampler(context.format.name, self._layout, self._rate, context.frame_size or None)
        for frame in self._resampler.resample(decoded):
            yield from self._target.encode(frame)

    def carry(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        for decoded in packet.decode():
            yield from self._encode(cast("AudioFrame", decoded))

    def finish(self) -> Iterator[Packet[Any]]:
        yield from self._encode(None)
        if self._resampler is not None:
            yield from self._target.encode(None)


class _TextEncoder:
    """Rewrites text subtitles in the codec that the container takes; formatting survives as far as that codec has it."""

    def __init__(self, output: OutputContainer, source: Any, codec: str) -> None:  # noqa: ANN401
        self._decoder: Any = source.codec_context
        self._decoder.open(strict=False)
        self._target: Any = output.add_stream(codec)
        self._target.codec_context.time_base = Fraction(1, 1000)
        context: Any = self._target.codec_context
        context.subtitle_header = self._decoder.subtitle_header
        self.stream: Stream = self._target

    def carry(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        subtitles = self._decoder.decode2(packet)
        if subtitles is None or len(subtitles) == 0:
            return
        encoded = self._target.codec_context.encode_subtitle(subtitles)
        encoded.pts = encoded.dts = packet.pts
        encoded.duration = packet.duration or 0
        encoded.time_base = packet.time_base
        encoded.stream = self._target
        yield encoded

    def finish(self) -> Iterator[Packet[Any]]:
        yield from ()


def _is_taken(source: Stream, container_format: str) -> bool:
    """Try in memory whether a container writes its header with a copy of this stream."""
    trial = av.open(io.BytesIO(), "w", format=container_format)
    try:
        trial.add_stream_from_template(source)
        trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    finally:
        trial.close()
    return True


class Companions:
    """The audio and subtitle streams of `source`, added to an output container and pumped in step with its video.

    Attributes:
        reencoded: one line for each stream that could not be copied as it is.
    """

    def __init__(self, source: Path, container: InputContainer, output: OutputContainer, target: Path, kinds: Collection[str]) -> None:
        """Add output streams for every stream of `kinds` ("audio", "subtitle"), before the header is written.

        Raises:
            MediaError: a stream that the output's container cannot carry in any form.
        """
        self._source, self._output, self._target = source, output, target
        self.reencoded: list[str] = []
        self._carriers: dict[int, _Carrier] = {}
        chosen: list[Stream] = [stream for stream in container.streams if stream.type in kinds]
        for stream in chosen:
            self._carriers[stream.index] = self._carrier(stream)
        self._packets = self._read(container, chosen)
        self._pending: Packet[Any] | None = next(self._packets, None)

    def _carrier(self, stream: Stream) -> _Carrier:
        container_format = self._output.format.name
        codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
        if _is_taken(stream, container_format):
            copy = self._output.add_stream_from_template(stream)
            _describe(stream, copy)
            return _Copier(copy)
        carrier: _AudioEncoder | _TextEncoder
        if stream.type == "audio" and stream.codec_context is not None:
            replacement = _AUDIO_FALLBACK[container_format]
            carrier = _AudioEncoder(self._output, stream, replacement)  # type: ignore[arg-type]
        elif codec in _TEXT_CODECS and container_format in _TEXT_FALLBACK and hasattr(stream.codec_context, "encode_subtitle"):
            replacement = _TEXT_FALLBACK[container_format]
            carrier = _TextEncoder(self._output, stream, replacement)
        else:
            msg = (
                f"{self._target}: a {self._target.suffix} file cannot hold the {codec} {stream.type} stream of {self._source}; "
                "choose an output name ending in .mkv"
            )
            raise MediaError(msg)
        _describe(stream, carrier.stream)
        self.reencoded.append(f"{stream.type} stream {stream.index}: {codec} -> {replacement}")
        return carrier

    def _read(self, container: InputContainer, chosen: list[Stream]) -> Iterator[Packet[Any]]:
        if not chosen:
            return
        try:
            for packet in container.demux(chosen):
                if packet.size > 0 and packet.pts is not None:
                    yield packet
        except (av.FFmpegError, OSError) as error:
            msg = f"{self._source}: the sound or subtitles are truncated or damaged ({error.strerror})"
            raise MediaError(msg) from error

    def _carry(self, packet: Packet[Any]) -> None:
        carrier = self._carriers[packet.stream.index]
        ready = carrier.carry(packet)
        while True:
            try:
                out = next(ready, None)
            except av.InvalidDataError as error:
                msg = f"{self._source}: the {packet.stream.type} stream cannot be decoded for re-encoding ({error.strerror})"
                raise MediaError(msg) from error
            if out is None:
                return
            self._output.mux(out)

    def pump(self, until: Fraction | None) -> None:
        """Write every packet due at or before `until`, in seconds of the source's time line; None writes all the rest."""
        while self._pending is not None:
            stamp = self._pending.pts if self._pending.dts is None else self._pending.dts
            if until is not None and (stamp or 0) * self._pending.time_base > until:
                return
            self._carry(self._pending)
            self._pending = next(self._packets, None)
        if until is None:
            for carrier in self._carriers.values():
                for packet in carrier.finish():
                    self._output.mux(packet)


def _describe(source: Stream, target: Stream) -> None:
    """Carry language, title and disposition (default, forced, ...) over."""
    for key in ("language", "title"):
        if key in source.metadata:
            target.metadata[key] = source.metadata[key]
    target.disposition = source.disposition
