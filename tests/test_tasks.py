"""What the schedule does; the tasks of a job are tested with real workers in test_service.py and test_libraries.py."""

import os
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient

from app.storage import Storage, write_atomic


def add_old_image(storage: Storage, url: str) -> Path:
    path = storage.images(url) / "page.image"
    write_atomic(path, b"pixels")
    os.utime(path, (0, 0))
    return path


def test_the_daily_task_removes_old_images_and_keeps_those_on_which_jobs_work(
    app: Flask, client: FlaskClient, headers: dict[str, str]
) -> None:
    queue = app.extensions["queue"]
    old, wanted = (add_old_image(queue.storage, f"https://a.example/{name}") for name in ("old", "wanted"))
    client.post("/run_detect", headers=headers, data={"manifest_url": "https://a.example/wanted"})
    queue.loader.import_default_modules()
    queue.tasks["tidy"]()
    assert (old.exists(), wanted.exists()) == (False, True)


def test_every_task_of_the_schedule_is_there_and_the_cleaning_is_daily(app: Flask) -> None:
    queue = app.extensions["queue"]
    queue.loader.import_default_modules()
    schedule = queue.conf.beat_schedule
    assert {entry["task"] for entry in schedule.values()} <= set(queue.tasks)
    assert schedule["tidy"]["schedule"] == 86400
