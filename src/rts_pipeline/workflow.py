"""The state of a project as Snakemake sees it: which items, cells, blocks and rounds there are, and what is wanted.

Read when the Snakefile is parsed. The number of rounds is what the signed-off reviews on disk say; there is no
checkpoint, so a dry run shows everything that will run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rts_pipeline import machine, options, stages
from rts_pipeline.config import Config, Inference, Placement, validate_config
from rts_pipeline.errors import InputError, PipelineError, environment_error
from rts_pipeline.export.files import release_files
from rts_pipeline.grid import Grid
from rts_pipeline.io.files import sha256_file
from rts_pipeline.io.json import canonical_json, sha256_json
from rts_pipeline.io.vectors import read_outlines
from rts_pipeline.leftovers import check_writable, tidy
from rts_pipeline.review.rounds import (
    SIGNOFF,
    SUMMARY,
    Signoff,
    count_rows,
    open_draft,
    read_signoffs,
    round_folder,
    round_name,
    waiting_outlines,
)
from rts_pipeline.slurm import wait_for_controller

if TYPE_CHECKING:
    from rts_pipeline.scenes.batches import Batches
    from rts_pipeline.scenes.overview import Overview
    from rts_pipeline.scenes.select import Selection

FROZEN = "RTS_PIPELINE_FROZEN"
"""Environment variable in which the main process hands its state to the jobs, so that an edit during a run changes nothing."""


def resolve_grid(config: Config) -> Config:
    """Replace the CRS "auto" by the UTM zone of the area's centre, so that the options name the CRS itself."""
    if config.grid.crs != "auto":
        return config
    area = read_outlines(Path(config.area.aoi), "area of interest (area.aoi)")
    crs = area.estimate_utm_crs().to_string()
    return config.model_copy(update={"grid": config.grid.model_copy(update={"crs": crs})})


@dataclass(frozen=True)
class Rounds:
    """Where the loop of rounds stands.

    Attributes:
        signed: the sign-offs, first round first.
        open: name of the round to be made or reviewed, or None when the loop has ended.
        draft: name of the round whose review is in progress, or None.
    """

    signed: list[Signoff]
    open: str | None
    draft: str | None

    @property
    def finished(self) -> list[str]:
        """Names of the signed-off rounds."""
        return [signoff.round for signoff in self.signed]

    def before(self, k: str) -> list[Signoff]:
        """Return the sign-offs of the rounds before `k`."""
        return [signoff for signoff in self.signed if int(signoff.round) < int(k)]


def read_rounds(config: Config) -> Rounds:
    """Read the state of the rounds from the sign-off files: leaves that no rule makes, so finished rounds stay finished.

    The loop ends with a round that brought no new slump, unless it left outlines that nobody was asked about.
    """
    reviews = Path(config.reviews)
    signed = read_signoffs(reviews)
    productive = max((number for number, signoff in enumerate(signed, 1) if signoff.n_new > 0), default=0)
    converged = len(signed) - productive > config.rounds.extra and signed[-1].n_cut == 0
    return Rounds(signed, None if converged else round_name(len(signed) + 1), open_draft(reviews))


class Project:
    """Everything that the rules ask for."""

    def __init__(self, config: Config, rounds: Rounds, source: str, records_until: int | None = None) -> None:
        """Take the state as the main process knows it.

        Args:
            config: validated, with the grid resolved.
            rounds: the state of the rounds.
            source: the configuration's file.
            records_until: in the jobs of a run the time of the newest record of measured items when it began (ns).
        """
        self.config = config
        self.source = source
        self.rounds = rounds
        self._records_until = records_until
        self.grid: Grid = config.grid.grid()

    # --- options -------------------------------------------------------------------------------------------------

    def options(self, stage: str) -> str:
        """Return the option string of a stage: the configuration sections that its result depends on."""
        return options.options_json(self.config, getattr(options, f"{stage.capitalize()}Options"))

    def code(self, stage: str) -> str:
        """Return the code version of a stage."""
        return stages.code(stage)

    @property
    def placement(self) -> Placement:
        """Where training runs."""
        return self.config.train

    @property
    def inference(self) -> Inference:
        """Where prediction and validation run."""
        return self.config.predict

    @property
    def inference_gpus(self) -> int:
        """Number of GPUs that a prediction is to have; "auto" asks for one where this machine has one."""
        device = self.config.predict.device
        return int(device.startswith("cuda") or (device == "auto" and machine.gpus() > 0))

    # --- scenes, cells, blocks -----------------------------------------------------------------------------------

    @cached_property
    def overview(self) -> Overview:
        """What the configured folders hold."""
        from rts_pipeline.scenes.overview import overview

        folders = [Path(folder) for folder in self.config.scenes.folders]
        return overview(folders, self.config.scenes, self._scenes)

    @property
    def _scenes(self) -> Path:
        return Path(self.config.results, "scenes")

    @cached_property
    def selection(self) -> Selection:
        """The items that are needed.

        Raises:
            InputError: no item of the target year lies in the area.
        """
        from rts_pipeline.scenes.memory import remembered, state_of, state_of_layer
        from rts_pipeline.scenes.overview import recall
        from rts_pipeline.scenes.select import Selection, area_cells, select

        config, aoi = self.config, Path(self.config.area.aoi)
        moved_m = config.adjust.max_shift_m if config.adjust.shifts == "correct" else 0.0
        reach_m = max(config.mosaic.feather_m, moved_m)
        years = config.evidence.years

        def chosen() -> dict[str, Any]:
            items = recall(self._scenes)
            return vars(select(items, area_cells(aoi, self.grid), self.grid, config.time, years, reach_m))

        state = state_of(self.overview.state, str(aoi), state_of_layer(aoi), self.grid, config.time, years, reach_m)
        answer = remembered(self._scenes / ".selection.json", state, chosen)
        # an item is in a dozen of these lists, and JSON makes a string of its own for each
        shared = {
            name: {place: [*map(sys.intern, ids)] for place, ids in answer[name].items()} for name in ("by_cell", "by_block")
        }
        selection = Selection(**answer | shared)
        if not selection.by_cell:
            raise InputError(
                config.area.aoi,
                f"none of the {len(self.overview.items)} usable items lies in it in the season of {config.time.target_year}",
                expected="items that cover the area of interest",
                do="check area.aoi, time and scenes.folders",
            )
        return selection

    @property
    def items(self) -> list[str]:
        """Ids of the items to measure."""
        return self.selection.items

    @cached_property
    def _batches(self) -> Batches:
        from rts_pipeline.scenes.batches import assign, newest_record

        folder = self._scenes / "batches"
        until = newest_record(folder) if self._records_until is None else self._records_until
        wanted = set(self.items)
        return assign(folder, [item for item in self.overview.items if item.id in wanted], until)

    def batches(self, items: Iterable[str]) -> list[str]:
        """Return the sorted names of the batches that items (ids) are measured in."""
        return sorted({self._batches.of[item] for item in items})

    def batch_items(self, batch: str) -> list[str]:
        """Return the items of a batch, each with the version of its files."""
        return self._batches.versions[batch]

    @property
    def cells(self) -> list[str]:
        """Names of the area's cells that at least one item of the target year touches."""
        return list(self.selection.by_cell)

    @cached_property
    def blocks(self) -> list[str]:
        """Names of the blocks that hold such a cell."""
        return sorted({self.grid.block_of(cell) for cell in self.cells})

    @cached_property
    def adjusted(self) -> set[str]:
        """Ids of the items that are made to agree: all, or none when that is off."""
        return set(self.items) if self.config.adjust.active else set()

    @property
    def adjusted_years(self) -> set[str]:
        """Those of them that aren't of the target year: they are made to agree with its mosaics."""
        return self.adjusted - self.selection.target

    def items_near(self, block: str) -> set[str]:
        """Return the ids of the target year's items that can show a sample window that begins in the block."""
        return set().union(*(self.selection.by_cell[cell] for cell in self.cells_sampled(block)))

    def years_near(self, block: str) -> set[str]:
        """Return the ids of the other years' items that can show a sample window that begins in the block."""
        blocks = {self.grid.block_of(cell) for cell in self.cells_sampled(block)}
        return set().union(*(self.selection.by_block[near] for near in blocks)) - self.selection.target

    def cells_sampled(self, block: str) -> list[str]:
        """Return the cells that sample windows can reach that begin in the block."""
        from rts_pipeline.scenes.sample import WINDOW_PX

        return self._cells_within(block, WINDOW_PX)

    def _cells_within(self, block: str, halo_px: int) -> list[str]:
        return [cell for cell in self.grid.cells_in(self.grid.neighbours(block, halo_px)) if cell in self.selection.by_cell]

    @property
    def listing(self) -> str:
        """Digest of all files below the folders, so that the ledger is renewed when one comes or goes."""
        return self.overview.listing

    @property
    def known(self) -> str:
        """Digest of the items found, so that the table of items is renewed when one comes, goes or changes."""
        return self.overview.known

    def cells_near(self, block: str) -> list[str]:
        """Return the cells that a block's prediction reads: its own and those within a window around it."""
        return self._cells_within(block, self.config.predict.window_px)

    @cached_property
    def _seed_cells(self) -> set[str]:
        from rts_pipeline.scenes.memory import remembered, state_of, state_of_layer

        if self.config.labels.seeds is None:
            return set()
        path = Path(self.config.labels.seeds)

        def touched() -> dict[str, Any]:
            seeds = read_outlines(path, "seed outlines (labels.seeds)", crs=self.grid.crs)
            return {"cells": self.grid.cells_touching(seeds.geometry.to_numpy())}

        state = state_of(str(path), state_of_layer(path), self.grid)
        return set(remembered(self._scenes / ".seeds.json", state, touched)["cells"])

    def labelled_cells(self, k: str | None = None) -> list[str]:
        """Return the cells with a label before round `k` (before any further round when None)."""
        signed = self.rounds.signed if k is None else self.rounds.before(k)
        labelled = self._seed_cells.union(*(signoff.cells for signoff in signed))
        return [cell for cell in self.cells if cell in labelled]

    @property
    def inventory_cells(self) -> list[str]:
        """Return the cells that the inventory's slumps can reach: with an earlier inventory, whose slumps are carried, all."""
        if "previous" in self.lineage:
            return self.cells
        near = {name for cell in self.labelled_cells() for name in self.grid.cells_in(self.grid.cell(cell).grown(1))}
        return [cell for cell in self.cells if cell in near]

    @property
    def lineage(self) -> dict[str, str]:
        """Files that the configuration names of slumps' identity: an earlier inventory (and the area), the lab's decisions."""
        inventory, area = self.config.inventory, self.config.area.aoi
        previous = {} if inventory.previous is None else {"previous": inventory.previous, "aoi": area}
        return {**previous, **({} if inventory.decisions is None else {"decisions": inventory.decisions})}

    @cached_property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each file that the configuration names, by its key; remembered by size and time of modification.

        Snakemake sees a file that is newer than a result, and not one that was put back, or copied with its time.
        """
        from rts_pipeline.scenes.headers import Headers

        optional = {"seeds": self.config.labels.seeds, "reference": self.config.adjust.reference}
        named = {"aoi": self.config.area.aoi, **self.config.attributes.files, **self.lineage, **self.adopted}
        named |= {name: path for name, path in optional.items() if path is not None}
        headers = Headers(Path(self.config.results, "scenes", ".checksums.json"))
        found = {name: headers.of(Path(path), "sha256").get("sha256", "") for name, path in named.items()}
        headers.save()
        return found

    def signoffs_sha256(self, rounds: Sequence[str]) -> str:
        """Return a digest of the sign-offs of rounds, for the same reason."""
        return sha256_json([sha256_file(round_folder(Path(self.config.reviews), k) / SIGNOFF) for k in rounds])

    @property
    def ancillary(self) -> dict[str, str]:
        """Files of terrain and setting that the configuration names."""
        return {name: path for name, path in self.config.attributes.files.items() if "." not in name}

    @property
    def covariates(self) -> list[str]:
        """Files of the covariates that the configuration names."""
        return sorted({covariate.file for covariate in self.config.attributes.covariates})

    def check_files(self) -> None:
        """Check that the files are there that only late jobs read.

        Raises:
            InputError: one isn't.
        """
        for path in self.adopted.values():
            if not Path(path).exists():
                raise InputError(
                    path, "no such file", expected="in the folder of a round (rounds.adopt)", do="correct the path"
                )
        for key, path in self.config.attributes.files.items():
            if not Path(path).exists():
                raise InputError(path, "no such file", expected=f"the file of attributes.{key}", do="correct the path")

    @property
    def release_files(self) -> list[str]:
        """Names of the files of the release, in the folder of the stage export."""
        return release_files(self.config.export.formats)

    # --- rounds --------------------------------------------------------------------------------------------------

    @property
    def adopted(self) -> dict[str, str]:
        """Files that tell which network of another project the first round takes, if it takes one."""
        folder = self.config.rounds.adopt
        if folder is None:
            return {}
        return {"adopted_model": f"{folder}/model/model.json", "adopted_choice": f"{folder}/validation/validation.json"}

    def trains(self, k: str) -> bool:
        """Tell whether round `k` trains its network, and doesn't take that of another project."""
        return k != round_name(1) or not self.adopted

    def previous_model(self, k: str) -> str | None:
        """Return the folder of the network that round `k` starts from, or None.

        The sign-off kept it beside the verdicts, so that it outlives the results and belongs to no rule.
        """
        if not self.config.train.warm_start or k == round_name(1):
            return None
        return f"{self.config.reviews}/round_{round_name(int(k) - 1)}/model"

    def wanted_rounds(self) -> list[str]:
        """Return the open round, unless its review is in progress: then nothing changes under the reviewer's hands."""
        waiting = self.rounds.open is None or self.rounds.draft == self.rounds.open
        return [] if waiting else [str(self.rounds.open)]

    def last_round(self) -> str:
        """Return the open round or, when the loop has ended, the last one."""
        return self.rounds.open or self.rounds.finished[-1]

    def wants_inventory(self) -> bool:
        """Tell whether the loop has ended, so that the inventory is due."""
        return self.rounds.open is None

    def state_line(self) -> str:
        """Say in one line where the project stands and what comes next.

        Raises:
            InputError: the open round's candidates are broken.
        """
        rounds, reviews = self.rounds, len(self.rounds.signed)
        which = "" if self.source == "config/config.yaml" else f" --config {self.source}"
        if rounds.open is None:
            total = sum(signoff.n_new for signoff in rounds.signed)
            beside = "" if self.config.labels.seeds is None else " beside the seeds"
            return f"Converged: round {reviews:02d} brought no new slump; {total} accepted in {reviews} rounds{beside}."
        if rounds.draft == rounds.open:
            return f"Round {rounds.open}: review in progress; next: rts-pipeline review finish {rounds.open}{which}"
        candidates = Path(self.config.results, "rounds", rounds.open, "candidates.parquet")
        if not candidates.exists():
            return f"Round {rounds.open}: to be computed ({reviews} rounds signed off)."
        number, cut = count_rows(candidates), self._cut(candidates.with_name(SUMMARY))
        return (
            f"Round {rounds.open}: {number} candidates ready for review{cut};"
            f" next: rts-pipeline review start {rounds.open}{which}"
        )

    def _cut(self, summary: Path) -> str:
        number = waiting_outlines(summary)
        waiting = f", {number} more wait for a later round (candidates.max_count, candidates.min_precision)"
        return waiting if number else ""


def load_project(values: Mapping[str, Any], source: str, *, main_process: bool) -> Project:
    """Make the project at the parse of the Snakefile.

    The main process validates the configuration and freezes it, with the state of the rounds, in the environment; jobs
    that parse the Snakefile again take that. A user's mistake ends the process with one line and its exit code.
    """
    try:
        own = _frozen_name(values)
        if not main_process and (frozen := os.environ.get(own, os.environ.get(FROZEN))):
            return _thaw(frozen, source)
        config = resolve_grid(validate_config(dict(values), source))
        rounds = read_rounds(config)
        os.environ[own] = os.environ[FROZEN] = _freeze(config, rounds)
        wait_for_controller()
        project = Project(config, rounds, source)
        # every mistake that can be known now is told now, before any job runs
        project.labelled_cells()
        project.check_files()
        _ = project.listing, project.checksums
        # here and not when jobs begin: where nothing seems to be stale, and in a module, Snakemake calls no onstart
        tidy(Path(config.results))
        return project
    except PipelineError as error:
        stop(error)
    except OSError as error:
        stop(_told(error))


def tell_state(project: Project) -> None:
    """Say on stderr where the project stands; end the process with one line where its results are broken."""
    try:
        print(f"rts-pipeline: {project.state_line()}", file=sys.stderr)
    except PipelineError as error:
        stop(error)


def begin(results: Path) -> None:
    """Prepare for jobs that write into a results folder; end the process with one line where that can't be done."""
    try:
        check_writable(results)
    except OSError as error:
        stop(_told(error))


def _told(error: OSError) -> PipelineError:
    told = environment_error(error)
    if told is None:
        raise error
    return told


def _frozen_name(values: Mapping[str, Any]) -> str:
    """Return the variable of this project's state: another workflow may hold several, with a results folder each."""
    return f"{FROZEN}_{sha256_json(str(values.get('results')))[:8]}"


def _freeze(config: Config, rounds: Rounds) -> str:
    """Serialise the state; of the sign-offs only their number, since an environment variable holds 128 kB at most."""
    from rts_pipeline.scenes.batches import newest_record

    state = {"signed": len(rounds.signed), "open": rounds.open, "draft": rounds.draft}
    newest = newest_record(Path(config.results, "scenes", "batches"))
    return canonical_json({"config": config.model_dump(mode="json"), "rounds": state, "records_until": newest})


def _thaw(text: str, source: str) -> Project:
    frozen = json.loads(text)
    config, state = Config.model_validate(frozen["config"]), frozen["rounds"]
    signed = read_signoffs(Path(config.reviews))[: state["signed"]]
    rounds = Rounds(signed, state["open"], state["draft"])
    return Project(config, rounds, source, frozen["records_until"])


def stop(error: PipelineError) -> NoReturn:
    """Tell the error in one line on stderr and end with its exit code."""
    print(f"rts-pipeline: {error}", file=sys.stderr, flush=True)
    sys.exit(error.exit_code)
