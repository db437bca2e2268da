"""The server of a review, for the tests that ask it over the wire."""

import pytest

from page_case import Project
from rts_pipeline.review.desk import Desk


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def project(template, tmp_path_factory):
    project = template.copied(tmp_path_factory.mktemp("server"))
    yield project
    project.stop()


@pytest.fixture(scope="module")
def server(project):
    return project.serve("ann")


@pytest.fixture
def fresh(template, tmp_path):
    project = template.copied(tmp_path)
    yield project
    project.stop()


def desk(project, reviewer="ann", role="primary"):
    return Desk(project.reviews, project.results, "02", reviewer, role)
