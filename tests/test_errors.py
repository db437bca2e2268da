import traceback

import pytest

from rts_pipeline.errors import InputError, UsageError, error_of

ERRORS = UsageError("train.workers", "-1", expected="0 or more"), InputError("a.tif", "no such file")


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
