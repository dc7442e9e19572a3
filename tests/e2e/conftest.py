"""Fixtures: `stack`, one for all tests that leave it as it is, and `new_stack`, one of one's own."""

import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))

from stack import PostgresTemplate, Stack  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--broker", choices=["nats", "redis"], default="nats", help="what the stacks run on")


def pytest_configure(config):
    config.addinivalue_line("markers", "only(broker): what only this broker has to show")


def pytest_collection_modifyitems(config, items):
    other = [item for item in items for mark in item.iter_markers("only")
             if mark.args[0] != config.getoption("--broker")]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in other]


@pytest.fixture(scope="session")
def template():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-e2e-"))
    folder.chmod(0o755)
    yield PostgresTemplate(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def broker(request):
    return request.config.getoption("--broker")


@pytest.fixture(scope="session")
def stack(template, broker):
    stack = Stack(template, broker, writer=1, responder=1)
    try:
        yield stack.start()
    finally:
        bad = stack.close()
    assert not bad


@pytest.fixture
def new_stack(template, broker, request):
    """new_stack(settings, processors, responder=3) starts one; it is closed after the test, and must end well."""
    stacks = request.node.stacks = []

    def make(settings=None, processors=1, **counts):
        stacks.append(Stack(template, broker, settings, processors, **counts))
        return stacks[-1].start()

    yield make
    bad = [line for stack in stacks for line in stack.close()]
    assert not bad


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The end of every process's log goes with a failure."""
    report = (yield).get_result()
    if not report.failed:
        return
    stacks = getattr(item, "stacks", []) or [item.funcargs[name] for name in ("stack",) if name in item.funcargs]
    for stack in stacks:
        for process in stack.processes:
            report.sections.append(("log of %s" % process.name, process.tail()))
