"""``bash run.sh demo``: the main job, from a manifest to an annotation file at a client app.

The whole service runs beside what is installed (its own broker, database and data folder under data/demo), and its
requests stay on this machine.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from app.auth import add_app, revoke_app
from app.config import ROOT, Settings
from app.database import Database
from app.demo.client_app import ClientApp, serve
from app.demo.iiif_server import create_iiif_server
from app.demo.overlay import draw_overlay
from app.errors import RequestError

SAMPLE = ROOT / "iiif" / "sample"
FOLDER = ROOT / "data" / "demo"
PATIENCE = 300.0


def main() -> None:
    client = ClientApp()
    with serve(create_iiif_server(SAMPLE)) as library, serve(client.create_app()) as client_url:
        say(f"A library serves {SAMPLE.relative_to(ROOT)}/ at {library}/manifest.json")
        say(f"A client app waits for results at {client_url}")
        settings = Settings.load(
            celery_broker_url=f"redis://127.0.0.1:{find_free_port()}/0",
            api_host="127.0.0.1",
            api_port=find_free_port(),
            debug=False,
            client_app_url=client_url,
            database_url=f"sqlite:///{FOLDER / 'demo.db'}",
            data_folder=FOLDER,
            trusted_hosts="127.0.0.1",
            image_size=1280,
        )
        say("The service starts: broker, workers, schedule, API (logs in data/demo/logs)")
        with run_service(settings):
            api = f"http://127.0.0.1:{settings.api_port}"
            headers = {"X-API-Key": make_key(Database(settings.sqlalchemy_url))}
            wait_for_api(api)
            run_job(api, headers, f"{library}/manifest.json")
            received = client.wait(timeout=30)
    if not received:
        sys.exit("Nothing arrived at the client app: see data/demo/logs.")
    show(received[0].path, *received[0].files["annotation_file"])


def say(text: str) -> None:
    print(f"\033[1m▸ {text}\033[0m", flush=True)


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def run_service(settings: Settings) -> Iterator[None]:
    """Run every process of the service under its supervisor, with a fresh data folder."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "logs").mkdir(parents=True)
    Database(settings.sqlalchemy_url).create_tables()
    names = ("celery_broker_url", "api_host", "api_port", "debug", "client_app_url", "database_url", "data_folder")
    environment = {name.upper(): str(getattr(settings, name)) for name in names}
    environment |= {"TRUSTED_HOSTS": "127.0.0.1", "ROOT": str(ROOT), "START_BROKER": "true", "IO_THREADS": "4"}
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(ROOT / "app" / "supervisord.conf")]
    process = subprocess.Popen(command, env=os.environ | environment, cwd=ROOT)
    try:
        yield
    finally:
        say("The service stops")
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def make_key(database: Database) -> str:
    try:
        revoke_app(database, "demo")
    except RequestError:
        pass
    return add_app(database, "demo")


def wait_for_api(api: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            requests.get(f"{api}/models", timeout=2).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.2)
    sys.exit("The API does not answer: see data/demo/logs/api.log.")


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
    say(f"Done with {job['model']}: {coverage['detected']} pages with illustrations, {coverage['empty']} without ({seconds})")


def follow(status_url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Print every change of a job until it is finished; return it."""
    shown, end = "", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        job = requests.get(status_url, headers=headers, timeout=10).json()
        progress = job["progress"]
        line = f"  {job['state']:<12} {progress['done']}/{progress['total']}"
        if line != shown:
            print(line, flush=True)
            shown = line
        if job["finished"]:
            return job
        time.sleep(0.2)
    sys.exit("The job does not end: see data/demo/logs.")


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
    main()
