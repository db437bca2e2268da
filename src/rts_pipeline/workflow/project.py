"""The project as the rules see it: what `Images` and `NamedFiles` tell, the stages' options, and what the rounds want."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from rts_pipeline import machine, options, stages
from rts_pipeline.config import Config, Inference, Placement
from rts_pipeline.errors import UsageError
from rts_pipeline.grid import crs_defect
from rts_pipeline.io.vectors import read_outlines, utm_zone
from rts_pipeline.review.rounds import SUMMARY, outline_counts, round_name
from rts_pipeline.workflow.images import Images
from rts_pipeline.workflow.named_files import NamedFiles
from rts_pipeline.workflow.rounds import Rounds


def resolve_grid(config: Config, memory: Path | None = None) -> Config:
    """Replace the CRS "auto" by the UTM zone of the area's centre, so that the options name the CRS itself.

    Args:
        config: validated.
        memory: where it is kept that a CRS was found fit, which takes PROJ: 40 MB at each start; None: nowhere.

    Raises:
        UsageError: a CRS in which pixels can't be counted in metres.
        InputError: the area can't be read.
    """
    if config.grid.crs != "auto":
        _check_crs(config.grid.crs, memory)
        return config
    path = Path(config.area.aoi)
    crs = utm_zone(read_outlines(path, "area of interest (area.aoi)"), path).to_string()
    return config.model_copy(update={"grid": config.grid.model_copy(update={"crs": crs})})


def _check_crs(crs: str, memory: Path | None) -> None:
    from rts_pipeline.scenes.memory import remembered, state_of

    def check() -> dict[str, Any]:
        if defect := crs_defect(crs):
            problem = {"unknown": "PROJ knows no way from it to other CRS", "unit": "it is no projection in metres"}[defect]
            raise UsageError(
                "grid.crs",
                f"'{crs}': {problem}",
                expected="a projected CRS in metres, as EPSG:32646 or WKT, or auto",
                do="correct it",
            )
        return {}

    if memory is None:
        check()
    else:
        remembered(memory, state_of(crs), check)


class Project(Images, NamedFiles):
    """Everything that the rules ask for."""

    def __init__(self, config: Config, rounds: Rounds, source: str, records_until: int | None = None) -> None:
        """Take the state as the main process knows it.

        Args:
            config: validated, with the grid resolved.
            rounds: the state of the rounds.
            source: the configuration's file.
            records_until: in the jobs of a run the time of the newest record of measured items when it began (ns).
        """
        Images.__init__(self, config, records_until)
        NamedFiles.__init__(self, config)
        self.source = source
        self.rounds = rounds

    # --- stages --------------------------------------------------------------------------------------------------

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

    # --- labels --------------------------------------------------------------------------------------------------

    def labelled_cells(self, k: str | None = None) -> list[str]:
        """Return the cells with a label before round `k` (before any further round when None)."""
        signed = self.rounds.signed if k is None else self.rounds.before(k)
        labelled = self._seed_cells.union(*(signoff.cells for signoff in signed))
        return [cell for cell in self.cells if cell in labelled]

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

    @property
    def inventory_cells(self) -> list[str]:
        """Return the cells that the inventory's slumps can reach: with an earlier inventory, whose slumps are carried, all."""
        if "previous" in self.lineage:
            return self.cells
        near = {name for cell in self.labelled_cells() for name in self.grid.cells_in(self.grid.cell(cell).grown(1))}
        return [cell for cell in self.cells if cell in near]

    # --- rounds --------------------------------------------------------------------------------------------------

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
        summary = Path(self.config.results, "rounds", rounds.open, SUMMARY)
        unseen = rounds.signed[-1].n_unseen if rounds.signed else 0
        missed = f"; nobody looked at {unseen} candidates of round {reviews:02d}" if unseen else ""
        if not summary.exists():
            return f"Round {rounds.open}: to be computed ({reviews} rounds signed off{missed})."
        counts = outline_counts(summary)
        waiting = f", {counts['cut']} more wait for a later round (candidates.max_count, candidates.min_precision)"
        return (
            f"Round {rounds.open}: {counts['candidate'] + counts['changed']} candidates ready for review"
            f"{waiting if counts['cut'] else ''}{missed}; next: rts-pipeline review start {rounds.open}{which}"
        )
