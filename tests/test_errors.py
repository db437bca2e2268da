import copy
import multiprocessing
import pickle
import traceback
from concurrent.futures import ProcessPoolExecutor

import pytest

from rts_pipeline.errors import BusyError, InputError, RefusedError, UsageError, error_of
from rts_pipeline.simulate.rehearsal import CommandFailedError

ERRORS = UsageError("train.workers", "-1", expected="0 or more"), InputError("a.tif", "no such file")
ALL = *ERRORS, RefusedError("round 02", "is not signed off", do="finish it"), BusyError("a", "b"), CommandFailedError("c", 7)


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_got_back_from_its_traceback(error):
    try:
        raise error
    except type(error):
        text = traceback.format_exc()
    found = error_of(f"-- Process 1 terminated with the following error:\n{text}\n")
    assert (type(found), str(found), found.exit_code) == (type(error), str(error), error.exit_code)


def test_any_other_error_is_none_of_ours():
    assert error_of("Traceback (most recent call last):\nValueError: rts_pipeline.errors.UsageError: no") is None


def fail(error):
    raise error


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_survives_a_copy(error):
    for found in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(found), str(found), found.exit_code) == (type(error), str(error), error.exit_code)


def test_an_error_comes_out_of_another_process():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(InputError, match=r"^a\.tif: no such file$") as raised:
            pool.submit(fail, ERRORS[1]).result()
        assert raised.value.exit_code == 3
        assert pool.submit(str, "alive").result() == "alive"
