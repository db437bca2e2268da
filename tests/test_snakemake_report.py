"""Snakemake's own report of a run: what ran, when, with which parameters."""

from workflow_case import shared_case


def test_report_of_the_run_is_made(tmp_path_factory, worker_id, tmp_path):
    case = shared_case(tmp_path_factory, worker_id).copy(tmp_path / "case")
    case.snakemake("--report", "run.html")
    page = (case.folder / "run.html").read_text()
    assert len(page) > 100_000
    assert all(f'"{rule}"' in page for rule in ("scenes", "mosaic", "train", "polygonize", "evidence"))
