"""Training data. `DATASETS` is the explicit list of what there is; importing this package imports none of it."""

from __future__ import annotations

DATASETS: dict[str, str] = {
    "DMSASFFNetDataset": "data.dmsasff_dataset",
    "KeyframeClipDataset": "data.keyframe_clip_dataset",
    "KeyframeSequenceDataset": "data.keyframe_sequence_dataset",
    "SingleVFHQDataset": "data.vfhq_dataset",
    "VFHQDataset": "data.vfhq_dataset",
    "VideoRecurrentTestDataset": "data.recurrent_dataset",
}
