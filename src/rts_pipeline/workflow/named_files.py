"""The files that the configuration names: which there are, and what they hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from rts_pipeline.config import Config
from rts_pipeline.config.learning import TORCHGEO
from rts_pipeline.errors import InputError
from rts_pipeline.export.files import release_files
from rts_pipeline.io.files import sha256_file
from rts_pipeline.io.json import sha256_json
from rts_pipeline.io.sidecars import files_of
from rts_pipeline.review.rounds import SIGNOFF, YEARS, round_folder


class NamedFiles:
    """Files that rules read by a key of the configuration, or write by one."""

    def __init__(self, config: Config) -> None:
        """Take what is configured (validated)."""
        self.config = config

    @property
    def ancillary(self) -> dict[str, str]:
        """Files of terrain and setting that the configuration names."""
        return {name: path for name, path in self.config.attributes.files.items() if "." not in name}

    @property
    def covariates(self) -> list[str]:
        """Files of the covariates that the configuration names."""
        return sorted({covariate.file for covariate in self.config.attributes.covariates})

    @property
    def lineage(self) -> dict[str, str]:
        """Files that the configuration names of slumps' identity: an earlier inventory (and the area), the lab's decisions."""
        inventory, area = self.config.inventory, self.config.area.aoi
        previous = {} if inventory.previous is None else {"previous": inventory.previous, "aoi": area}
        return {**previous, **({} if inventory.decisions is None else {"decisions": inventory.decisions})}

    @property
    def adopted(self) -> dict[str, str]:
        """Files that tell which network of another project the first round takes, if it takes one."""
        folder = self.config.rounds.adopt
        if folder is None:
            return {}
        return {"adopted_model": f"{folder}/model/model.json", "adopted_choice": f"{folder}/validation/validation.json"}

    @property
    def weights(self) -> dict[str, str]:
        """The file that training starts from, if the configuration names one."""
        named = self.config.train.weights
        return {} if named is None or TORCHGEO in named else {"weights": named}

    def check_files(self) -> None:
        """Check that the files are there that only late jobs read.

        Raises:
            InputError: one isn't.
        """
        detectors = self.config.completeness.files
        inventory = self.config.inventory
        wanted = [
            *((path, "in the folder of a round (rounds.adopt)") for path in self.adopted.values()),
            *((path, f"the file of attributes.{key}") for key, path in self.config.attributes.files.items()),
            *((path, "in the folder of a round of another project (completeness.detectors)") for path in detectors),
            *((path, "weights to start from (train.weights)") for path in self.weights.values()),
            (inventory.previous, "an earlier inventory (inventory.previous)"),
            (inventory.decisions, "what the lab decided of relations (inventory.decisions)"),
        ]
        for path, expected in wanted:
            # an empty path would be that of the folder
            if path is not None and not (path and Path(path).exists()):
                raise InputError(path or "''", "no such file", expected=expected, do="correct the path, or write null")

    @cached_property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each file that the configuration names, by its key; remembered by size and time of modification.

        Of a layer of several files (a Shapefile, a FileGDB's folder) it is one over all of them.
        Snakemake sees a file that is newer than a result, and not one that was put back, or copied with its time.
        """
        from rts_pipeline.scenes.headers import Headers

        optional = {"seeds": self.config.labels.seeds, "reference": self.config.adjust.reference}
        named = {"aoi": self.config.area.aoi, **self.config.attributes.files, **self.lineage, **self.adopted, **self.weights}
        named |= {name: path for name, path in optional.items() if path is not None}
        headers = Headers(Path(self.config.results, "scenes", ".checksums.json"))

        def digest(path: Path) -> str:
            each = {os.path.relpath(file, path): headers.of(file, "sha256").get("sha256", "") for file in files_of(path)}
            return each["."] if [*each] == ["."] else sha256_json(each)

        found = {name: digest(Path(path)) for name, path in named.items()}
        headers.save()
        return found

    def signoffs_sha256(self, rounds: Sequence[str]) -> str:
        """Return a digest of the sign-offs of rounds, for the same reason."""
        return sha256_json([sha256_file(round_folder(Path(self.config.reviews), k) / SIGNOFF) for k in rounds])

    def evidence_state(self, rounds: Sequence[str]) -> str:
        """Return a digest of bytes and times of the tables of rounds' evidence in the results, those that are there.

        As inputs they would bring back the jobs of finished rounds. Of equal pictures too that were made again the time
        counts: what read them meanwhile found none.
        """
        paths = {k: Path(self.config.results, "rounds", k, YEARS) for k in rounds}
        there = {k: path.stat() for k, path in paths.items() if path.exists()}
        return sha256_json({k: [stat.st_size, stat.st_mtime_ns] for k, stat in there.items()})

    @property
    def release_files(self) -> list[str]:
        """Names of the files of the release, in the folder of the stage export."""
        return release_files(self.config.export.formats)
