"""Each stage, killed, on a full disk, with broken inputs, and where it may not write."""

import random

import pytest
from harness import SEEDS, heed_permissions

from rts_pipeline.stages import STAGES

NAMES = {"scenes": "measure"}
STAGE_JOBS = [NAMES.get(stage, stage) for stage in STAGES]


@pytest.fixture(params=STAGE_JOBS)
def job(request, jobs):
    found = jobs[request.param]
    if found.outputs is None:
        found.learn()
    yield found
    found.restore()


def test_killed_at_any_moment(job, count):
    draw = random.Random(job.rule)
    for _ in range(SEEDS):
        job.remove()
        job.run(kill_after=draw.uniform(0, 1.1 * job.seconds))
        assert not job.half_made()
        count("kill -9 of a stage", "equal" if job.ends_equal() else "lost", job.rule)


def test_on_a_full_disk(job, disk, count):
    draw = random.Random(job.rule)
    size = sum((job.case.folder / path).stat().st_size for path in job.outputs)
    for _ in range(SEEDS):
        job.remove()
        disk.leave(draw.randrange(size))
        try:
            done = job.run()
            assert not job.half_made()
        finally:
            disk.restore()
        assert done.clear or done.code == 0, f"{job.rule} ended with {done.code}: {done.said}"
        count("full disk", "equal" if job.ends_equal() else "lost", job.rule)


@pytest.mark.slow
def test_with_broken_inputs(job, count):
    draw = random.Random(job.rule)
    inputs = job.inputs()
    for number in range(max(SEEDS, 3) if inputs else 0):
        path = job.case.folder / draw.choice(inputs)
        kind = ("truncated input", "unreadable input", "missing input")[number % 3]
        whole, kept = path.read_bytes(), path.with_name(f"{path.name}.whole")
        path.rename(kept)
        if kind != "missing input":
            path.write_bytes(whole[: draw.randrange(len(whole))] if kind == "truncated input" else whole)
            path.chmod(0 if kind == "unreadable input" else 0o644)
        job.remove()
        done = job.run(prepare=heed_permissions)
        half = job.half_made()
        path.unlink(missing_ok=True)
        kept.rename(path)
        assert done.code == 0 or (done.clear and done.names(path)), f"{job.rule}, {kind} {path}: {done.code} {done.said}"
        assert not half, f"{job.rule} took a {kind} {path} for whole: {half} differ"
        count(kind, "told" if done.code else "equal")
        assert job.ends_equal()


@pytest.mark.slow
def test_where_it_may_not_write(job, disk, count):
    job.remove()
    disk.read_only()
    try:
        done = job.run()
    finally:
        disk.restore()
    assert done.clear, f"{job.rule}: {done.code} {done.said}"
    count("read-only results", "told" if job.ends_equal() else "lost", job.rule)
    folder = (job.case.folder / next(iter(job.outputs))).parent
    job.remove()
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        done = job.run(prepare=heed_permissions)
    finally:
        folder.chmod(mode)
    assert done.clear, f"{job.rule}: {done.code} {done.said}"
    count("read-only results", "told" if job.ends_equal() else "lost", job.rule)
