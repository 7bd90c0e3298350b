"""``bash run.sh demo``: detect the illustrations of two documents, then compare them.

The demo starts a complete service with its own broker, database and data folder under ``data/demo``. It does not affect
an installed service, and no request leaves this machine. The demo fails if a result does not arrive, or if one of the
best pairs is wrong.
"""

import io
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from app.auth import add_app
from app.config import ROOT
from app.database.sessions import Database
from app.demo.api_client import ApiClient
from app.demo.client_app import Received, RecordingClientApp, serve
from app.demo.contact_sheet import NEUTRAL, PairCard, draw_overlay, draw_pairs
from app.demo.iiif_server import create_iiif_server
from app.demo.judged_pairs import JudgedPair, count_true_pairs, describe_verdict, format_table, judge_pairs
from app.demo.reprint import make_reprint, read_woodcuts
from app.demo.service import choose_settings, run_service
from app.errors import ExtractorError
from app.images.overlays import FOUND, TRUE
from app.images.pixels import decode_picture

SAMPLE = ROOT / "iiif" / "sample"
FOLDER = ROOT / "data" / "demo"
# This backbone is part of the project: no weights have to be downloaded.
BACKBONE = "illustrations"
DOCUMENTS = ("original", "reprint")
PAIR = "-".join(DOCUMENTS)


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    reprint, client = FOLDER / "reprint", RecordingClientApp()
    woodcuts = read_woodcuts(SAMPLE), make_reprint(SAMPLE, reprint)
    with (
        serve(create_iiif_server(SAMPLE)) as library,
        serve(create_iiif_server(reprint)) as other_library,
        serve(client.create_app()) as client_url,
    ):
        say(f"A library serves {relative(SAMPLE)}/ at {library}/manifest.json")
        say(f"Another one serves {relative(reprint)}/, altered copies of its pages, at {other_library}/manifest.json")
        say(f"A client app waits for results at {client_url}")
        settings = choose_settings(FOLDER, client_app_url=client_url)
        say(f"The service starts: broker, workers, schedule, API (logs in {relative(FOLDER)}/logs)")
        with run_service(settings) as url:
            headers = {"X-API-Key": add_app(Database(settings.sqlalchemy_url), "demo")}
            api = ApiClient(url, headers, f"{relative(FOLDER)}/logs")
            original_job = detect(api, f"{library}/manifest.json")
            show_annotations(receive(client, "annotation_file"))
            reprint_job = detect(api, f"{other_library}/manifest.json")
            job = compare(api, original_job, reprint_job)
            show_scores(receive(client, PAIR))
            answer = api.get_json(f"/jobs/{job['job_id']}/scores/{PAIR}?format=json")
            pairs = judge_pairs(answer["pairs"], *woodcuts)
            show_pairs(pairs, count_true_pairs(*woodcuts))
            show_verification(api, job["job_id"], pairs)
            offer_pages(api, original_job, job["job_id"])
            say("The service stops")


def say(text: str) -> None:
    print(f"\033[1m▸ {text}\033[0m" if sys.stdout.isatty() else f"▸ {text}", flush=True)


def detect(api: ApiClient, manifest_url: str) -> str:
    """Run a detection job; return its ID."""
    say(f"POST {api.url}/run_detect  manifest_url={manifest_url}")
    job = api.run_job("/run_detect", data={"manifest_url": manifest_url})
    coverage = job["coverage"]
    say(f"Done with {job['model']} ({format_timings(job)})")
    print(f"  {coverage['detected']} pages with illustrations, {coverage['empty']} without")
    return str(job["job_id"])


def compare(api: ApiClient, *detection_jobs: str) -> dict[str, Any]:
    """Run a similarity job on the illustrations that two detection jobs have found; return the finished job."""
    documents = {name: {"job_id": job_id} for name, job_id in zip(DOCUMENTS, detection_jobs, strict=True)}
    payload = {"documents": documents, "model": BACKBONE, "transpositions": ["hflip"]}
    say(f"POST {api.url}/run_similarity  {json.dumps(payload)}")
    job = api.run_job("/run_similarity", json=payload)
    say(f"Done with {job['model']} ({format_timings(job)})")
    for document in job["coverage"]["documents"]:
        print(f"  {document['doc_id']}: {document['usable']} of {document['images']} illustrations compared")
    return job


def format_timings(job: dict[str, Any]) -> str:
    return ", ".join(f"{stage} {spent:.1f} s" for stage, spent in job["timings"].items())


def receive(client: RecordingClientApp, field: str) -> Received:
    """Return the first message with a file in this field; exit if 30 seconds pass without a message."""
    messages: list[Received] = []
    while len(messages) < len(messages := client.wait(len(messages) + 1, timeout=30)):
        for message in messages:
            if field in message.files:
                return message
    sys.exit(f"The client app received no {field}: see {relative(FOLDER)}/logs.")


def show_annotations(received: Received) -> None:
    """Print and save the received annotation file, and draw its boxes over the pages."""
    name, content = received.files["annotation_file"]
    text = content.decode()
    say(f"The client app received {name} at {received.path}")
    print(text, end="")
    file, picture = FOLDER / "annotations.txt", FOLDER / "overlay.png"
    file.write_text(text)
    draw_overlay(text, SAMPLE, picture)
    say(f"Written: {relative(file)} and, with the boxes drawn over the pages, {relative(picture)}")


def show_scores(received: Received) -> None:
    """Save the received score file."""
    name, content = received.files[PAIR]
    say(f"The client app received {name} at {received.path} ({len(content)} bytes)")
    (FOLDER / name).write_bytes(content)
    say(f"Written: {relative(FOLDER / name)}")


def show_pairs(pairs: Sequence[JudgedPair], count: int) -> None:
    """Print and draw the best pairs and the next one; exit if one of the best is wrong or missing.

    Args:
        pairs: All pairs, best first.
        count: Number of true pairs; as many of the best pairs must be right.
    """
    best, others = pairs[:count], pairs[count : count + 1]
    right = sum(pair.right for pair in best)
    verdict = f"{right} of the {count} best pairs are two prints of one block."
    say(f"{len(pairs)} pairs of {' and '.join(DOCUMENTS)}; the best {count}:")
    print(format_table(best, DOCUMENTS))
    print(f"  {verdict}")
    for pair in others:
        print(f"  The next pair scores {pair.score:.3f} ({describe_verdict(pair)}).")
    cards = [build_card(str(rank), pair, TRUE if pair.right else FOUND) for rank, pair in enumerate(best, 1)]
    cards += [build_card("next", pair, NEUTRAL) for pair in others]
    picture = FOLDER / "pairs.png"
    draw_pairs("Best pairs", verdict, DOCUMENTS, cards, picture)
    say(f"Written: {relative(picture)}, with the pairs next to each other")
    if right < count:
        sys.exit(f"{count - right} of the {count} best pairs are wrong or missing: see {relative(picture)}.")


def show_verification(api: ApiClient, job_id: str, pairs: Sequence[JudgedPair]) -> None:
    """Print how many pairs are verified, and save the picture of one; exit if a verified pair is wrong."""
    verified = [pair for pair in pairs if pair.is_verified]
    right = sum(pair.right for pair in verified)
    say(f"Verification: {len(verified)} of {len(pairs)} pairs show the same block, and {right} of these are true")
    groups = api.get_json(f"/jobs/{job_id}/groups")["total"]
    print(f"  {groups} groups of prints of one block: GET /jobs/{job_id}/groups")
    shown = next((pair for pair in verified if pair.transposition != "none"), verified[0])
    picture = FOLDER / "verified.jpg"
    names = {"image_1": shown.names[0], "image_2": shown.names[1]}
    picture.write_bytes(api.get(f"/jobs/{job_id}/pairs/{'/'.join(DOCUMENTS)}.jpg", names).content)
    say(f"Written: {relative(picture)}, a verified pair with the matched regions")
    if right < len(verified):
        sys.exit(f"{len(verified) - right} verified pairs are wrong.")


def offer_pages(api: ApiClient, *job_ids: str) -> None:
    """Print the addresses of the jobs as pages. On a terminal, the service runs until Ctrl-C, so that they open."""
    say("The results as pages in a browser:")
    for job_id in job_ids:
        print(f"  {api.url}/ui/jobs/{job_id}")
    print(f"  API key to sign in: {api.headers['X-API-Key']}")
    if sys.stdin.isatty() and sys.stdout.isatty():
        print("  Press Ctrl-C to stop the service.", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


def build_card(rank: str, pair: JudgedPair, colour: tuple[int, int, int]) -> PairCard:
    """Return the card of a pair; its images are fetched from the libraries."""
    files = [io.BytesIO(requests.get(url, timeout=10).content) for url in pair.urls]
    one, other = (decode_picture(file)[0] for file in files)
    same = pair.blocks[0] == pair.blocks[1] != ""
    notes = ["same block", pair.blocks[0]] if same else ["different blocks"]
    notes.append("not mirrored" if pair.transposition == "none" else f"mirrored ({pair.transposition})")
    return PairCard(rank, (one, other), pair.names, f"{pair.score:.2f}", notes, colour)


def relative(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    try:
        main()
    except ExtractorError as error:
        sys.exit(error.message)
