"""The state of a run, frozen in the environment when it begins: jobs parse the Snakefile again, and take that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rts_pipeline.config import Config
from rts_pipeline.io.json import canonical_json, sha256_json
from rts_pipeline.review.rounds import read_signoffs
from rts_pipeline.workflow.project import Project
from rts_pipeline.workflow.rounds import Rounds

FROZEN = "RTS_PIPELINE_FROZEN"
"""Environment variable in which the main process hands its state to the jobs, so that an edit during a run changes nothing."""


def variable_of(values: Mapping[str, Any]) -> str:
    """Return the variable of this project's state: another workflow may hold several, with a results folder each."""
    return f"{FROZEN}_{sha256_json(str(values.get('results')))[:8]}"


def freeze(config: Config, rounds: Rounds) -> str:
    """Serialise the state; of the sign-offs only their number, since an environment variable holds 128 kB at most."""
    from rts_pipeline.scenes.batches import newest_record

    state = {"signed": len(rounds.signed), "open": rounds.open, "draft": rounds.draft}
    newest = newest_record(Path(config.results, "scenes", "batches"))
    return canonical_json({"config": config.model_dump(mode="json"), "rounds": state, "records_until": newest})


def thaw(text: str, source: str) -> Project:
    """Return the project whose state was serialised; `source` is the configuration's file."""
    frozen = json.loads(text)
    config, state = Config.model_validate(frozen["config"]), frozen["rounds"]
    signed = read_signoffs(Path(config.reviews))[: state["signed"]]
    rounds = Rounds(signed, state["open"], state["draft"])
    return Project(config, rounds, source, frozen["records_until"])
