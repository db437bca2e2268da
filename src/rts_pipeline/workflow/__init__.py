"""The state of a project as Snakemake sees it: which items, cells, blocks and rounds there are, and what is wanted.

Read when the Snakefile is parsed. The number of rounds is what the signed-off reviews on disk say; there is no
checkpoint, so a dry run shows everything that will run.
"""

from rts_pipeline.workflow.project import Project, resolve_grid
from rts_pipeline.workflow.rounds import Rounds, read_rounds
from rts_pipeline.workflow.snakefile import begin, load_project, tell_state

__all__ = ["Project", "Rounds", "begin", "load_project", "read_rounds", "resolve_grid", "tell_state"]
