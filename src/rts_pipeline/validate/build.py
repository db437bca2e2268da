"""Stage validate: the network judged on whole spatial blocks, on the way that makes the inventory, and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rts_pipeline.options import ValidateOptions


def validate(chips: Path, labels: Path, mosaics: Sequence[Path], model: Path, out: Path, options: ValidateOptions) -> None:
    """Judge the network of a round; choose threshold, smallest outline and hole size on the validation blocks.

    Args:
        chips: table of windows; those of the splits "validation" and "test" are judged, the choice never sees the latter.
        labels: labels of the round.
        mosaics: mosaics of the cells that the windows lie in.
        model: folder with model.json and network.onnx.
        out: folder for blocks.parquet, reliability.png, precision_recall.png, windows.png and, last, validation.json.
        options: the stage's options.

    Raises:
        InputError: files of the model that are missing or were changed; a mosaic or a table that can't be used; no
            validation window.
    """
    raise NotImplementedError
