"""``bash run.sh demo``: the main job, from a manifest to an annotation file at a client app.

The whole service runs beside what is installed (its own broker, database and data folder under data/demo), and its
requests stay on this machine.
"""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import requests

from app.auth import add_app
from app.config import ROOT
from app.database.sessions import Database
from app.demo.client_app import RecordingClientApp, serve
from app.demo.contact_sheet import draw_overlay
from app.demo.iiif_server import create_iiif_server
from app.demo.service import choose_settings, run_service
from app.errors import ExtractorError

SAMPLE = ROOT / "iiif" / "sample"
FOLDER = ROOT / "data" / "demo"
PATIENCE = 300.0


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    client = RecordingClientApp()
    with serve(create_iiif_server(SAMPLE)) as library, serve(client.create_app()) as client_url:
        say(f"A library serves {relative(SAMPLE)}/ at {library}/manifest.json")
        say(f"A client app waits for results at {client_url}")
        settings = choose_settings(FOLDER, client_app_url=client_url)
        say(f"The service starts: broker, workers, schedule, API (logs in {relative(FOLDER)}/logs)")
        with run_service(settings) as api:
            headers = {"X-API-Key": add_app(Database(settings.sqlalchemy_url), "demo")}
            run_job(api, headers, f"{library}/manifest.json")
            received = client.wait(timeout=30)
            if not received:
                sys.exit(f"Nothing arrived at the client app: see {relative(FOLDER)}/logs.")
            show(received[0].path, *received[0].files["annotation_file"])
            say("The service stops")


def say(text: str) -> None:
    print(f"\033[1m▸ {text}\033[0m" if sys.stdout.isatty() else f"▸ {text}", flush=True)


def run_job(api: str, headers: dict[str, str], manifest_url: str) -> None:
    """Post the manifest, then follow the job to its end."""
    say(f"POST {api}/run_detect  manifest_url={manifest_url}")
    answer = requests.post(f"{api}/run_detect", headers=headers, data={"manifest_url": manifest_url}, timeout=10)
    print(f"  {answer.status_code} {answer.text.strip()}")
    if answer.status_code != 200:
        sys.exit(1)
    job = follow(answer.json()["status_url"], headers)
    if job["state"] != "done":
        sys.exit(f"The job is {job['state']}: {job['error']}")
    coverage = job["coverage"]
    seconds = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in job["timings"].items())
    say(f"Done with {job['model']} ({seconds})")
    print(f"  {coverage['detected']} pages with illustrations, {coverage['empty']} without")


def follow(status_url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Print every change of a job until it is finished; return it."""
    shown, end = "", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        job: dict[str, Any] = requests.get(status_url, headers=headers, timeout=10).json()
        progress = job["progress"]
        line = f"  {job['state']:<12} {progress['done']}/{progress['total']}"
        if line != shown:
            print(line, flush=True)
            shown = line
        if job["finished"]:
            return job
        time.sleep(0.2)
    sys.exit(f"The job does not end: see {relative(FOLDER)}/logs.")


def show(path: str, name: str, content: bytes) -> None:
    """Print the annotation file as it arrived, keep it, and draw it over the pages."""
    text = content.decode()
    say(f"The client app received {name} at {path}")
    print(text, end="")
    file, picture = FOLDER / "annotations.txt", FOLDER / "overlay.png"
    file.write_text(text)
    draw_overlay(text, SAMPLE, picture)
    say(f"Written: {relative(file)} and, with the boxes drawn over the pages, {relative(picture)}")


def relative(path: Path) -> Path:
    return path.relative_to(ROOT)


if __name__ == "__main__":
    try:
        main()
    except ExtractorError as error:
        sys.exit(error.message)
