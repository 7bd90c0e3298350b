import json
import logging
import re
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from app.logs import NOISY_LOGGERS, configure_logs, set_job

JOB = "0123456789abcdef0123456789abcdef"
log = logging.getLogger("app.test")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in NOISY_LOGGERS}
    set_job("")
    yield
    set_job("")
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def read_json(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_a_text_line_has_time_in_utc_level_logger_and_message(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("text")
    log.info("%d pages", 3)
    line = capfd.readouterr().out
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO app\.test: 3 pages\n", line), line


def test_a_text_line_names_its_job_once(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("text")
    set_job(JOB)
    log.info("begins")
    log.info("job %s: ends", JOB)
    first, second = capfd.readouterr().out.splitlines()
    assert first.endswith(f"app.test: job {JOB}: begins")
    assert second.endswith(f"app.test: job {JOB}: ends")


def test_a_json_line_is_an_object_with_the_job_id(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    set_job(JOB)
    log.warning("«%s»\nand more", "ü", extra={"ms": 5})
    (line,) = read_json(capfd)
    assert re.fullmatch(r"[0-9T:.-]+Z", str(line.pop("time")))
    assert line == {
        "level": "WARNING", "logger": "app.test", "message": "«ü»\nand more", "job_id": JOB, "ms": 5,
    }  # fmt: skip


def test_a_line_without_a_job_has_no_job_id(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    log.info("ready")
    (line,) = read_json(capfd)
    assert line.keys() == {"time", "level", "logger", "message"}


def test_a_traceback_is_one_field(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    try:
        {}["missing"]
    except KeyError:
        log.exception("it failed")
    (line,) = read_json(capfd)
    assert str(line["exception"]).startswith("Traceback")
    assert str(line["exception"]).endswith("KeyError: 'missing'")


def test_a_thread_with_a_copied_context_logs_the_job_id(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    set_job(JOB)
    thread = threading.Thread(target=copy_context().run, args=(log.info, "fetched"))
    thread.start()
    thread.join()
    assert [line["job_id"] for line in read_json(capfd)] == [JOB]


def test_routine_messages_of_celery_are_not_logged(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("text")
    for name in NOISY_LOGGERS:
        logging.getLogger(name).info("Task canary received")
        logging.getLogger(name).error("Task sweep failed")
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(NOISY_LOGGERS)
    assert all("failed" in line for line in lines)
