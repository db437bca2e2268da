"""Each stage, killed, on a full disk, with broken inputs, and where it may not write."""

import random

import pytest
from harness import SEEDS, heed_permissions

from rts_pipeline.stages import STAGES

NAMES = {"scenes": "measure"}


@pytest.fixture(params=STAGES)
def stage(request):
    return request.param


@pytest.fixture
def job(stage, jobs):
    found = jobs[NAMES.get(stage, stage)]
    if found.outputs is None:
        found.learn()
    yield found
    found.restore()


def test_killed_at_any_moment(job, stage, count):
    draw = random.Random(stage)
    for _ in range(SEEDS):
        moment = draw.uniform(0, job.seconds)
        job.remove()
        while not job.run(kill_after=moment).killed:
            count("kill -9", "missed", stage)
            job.remove()
            moment /= 2
        assert not job.half_made()
        count("kill -9", "equal" if job.ends_equal() else "lost", stage)


def test_on_a_full_disk(job, stage, disk, count):
    draw = random.Random(stage)
    size = sum((job.case.folder / path).stat().st_size for path in job.outputs)
    for _ in range(SEEDS):
        # a disk counts whole pages: what is left may be enough
        for free in (draw.randrange(size), 0):
            job.remove()
            disk.leave(free)
            try:
                done = job.run()
                assert not job.half_made()
            finally:
                disk.restore()
            if done.code != 0:
                break
            count("full disk", "missed", stage)
        assert done.clear, f"{stage} ended with {done.code}: {done.said}"
        count("full disk", "told" if job.ends_equal() else "lost", stage)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["truncated input", "unreadable input", "missing input"])
def test_with_broken_inputs(job, stage, kind, disk, count):
    """Each sort of file that it reads, one of its files drawn."""
    assert job.inputs(), f"{stage} reads something, and nothing of it could be broken"
    draw = random.Random(stage)
    wrong = []
    for name in [draw.choice(files) for _ in range(SEEDS) for files in job.inputs().values()]:
        path, kept = job.case.folder / name, disk.folder / "kept"
        whole = path.read_bytes()
        path.rename(kept)
        if kind != "missing input":
            path.write_bytes(whole[: draw.randrange(len(whole) or 1)] if kind == "truncated input" else whole)
            path.chmod(0 if kind == "unreadable input" else 0o644)
        job.remove()
        done = job.run(prepare=heed_permissions)
        half = job.half_made()
        accounted = bool(half) and job.accounts_for(name)
        path.unlink(missing_ok=True)
        kept.rename(path)
        # of a missing one the folder may be named, such as a review that isn't signed off
        named = done.names(name if kind != "missing input" else name.parent)
        if not accounted and (half or not (done.code == 0 or (done.clear and named))):
            wrong.append(f"{name}: {done.code}, {[*map(str, half)]} differ\n{done.said}")
        else:
            count(kind, "told" if done.code or accounted else "equal", stage)
    assert job.ends_equal()
    assert not wrong, f"{stage}, {kind}:\n" + "\n".join(wrong)


@pytest.mark.slow
def test_where_it_may_not_write(job, stage, disk, count):
    job.remove()
    disk.read_only()
    try:
        done = job.run()
    finally:
        disk.restore()
    assert done.clear, f"{stage}: {done.code} {done.said}"
    count("read-only", "told" if job.ends_equal() else "lost", stage)
    folder = (job.case.folder / next(iter(job.outputs))).parent
    job.remove()
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        done = job.run(prepare=heed_permissions)
    finally:
        folder.chmod(mode)
    # one that puts a whole folder in its place needs no permission of the old one
    assert done.clear or (done.code == 0 and not job.half_made()), f"{stage}: {done.code} {done.said}"
    ended = "told" if done.code else "equal"
    count("read-only", ended if job.ends_equal() else "lost", stage)
