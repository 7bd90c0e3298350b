"""An AIKON front: it starts tasks, receives their events and fetches their results, as its code does."""

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.support.service import Service

PATH = "/front/notify"


def hash_parameters(parameters: dict[str, Any]) -> str:
    """Return the hash under which a front stores scores."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]


def read_image(image: dict[str, Any]) -> str:
    """Return the name of an image as a front makes it."""
    name = image["id"].removesuffix(".jpg")
    return f"{name}.jpg" if name.startswith("wit") else f"{image['doc_uid']}_{name}.jpg"


def split_pair(pair: str | list[str]) -> tuple[str, str]:
    """Return the two documents of a pair, in either of its forms."""
    first, second = sorted(pair.split("-") if isinstance(pair, str) else pair)
    return first, second


@dataclass
class Treatment:
    """A task, as a front sees it.

    Attributes:
        tracking_id: ID of the task in the API.
        status: Status in the front.
        regions: Pages with their crops, by document and model.
        scores: Pairs of images with a score above 0, by pair of documents and hash of the parameters.
        error: Last error message.
        output_error: Sentences about failures, next to the results.
        progress: Number of events of progress.
    """

    tracking_id: str
    status: str = "STARTED"
    regions: dict[tuple[str, str], Any] = field(default_factory=dict)
    scores: dict[tuple[tuple[str, str], str], list[tuple[float, str, str]]] = field(default_factory=dict)
    error: str = ""
    output_error: list[str] = field(default_factory=list)
    progress: int = 0


class Front:
    """A front without an API key.

    Args:
        service: Running service, whose receiver gets the events.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    def start(self, task: str, documents: list[dict[str, Any]], **parameters: Any) -> Treatment:
        """Start a task."""
        client_app = self.service.settings.client_app_url
        body = {"experiment_id": "17", "documents": documents, "notify_url": f"{client_app}{PATH}", **parameters}
        answer = requests.post(f"{self.service.api}/{task}/start", json=body, timeout=30)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
        assert answer.json()["experiment_id"] == "17"
        return Treatment(str(uuid.UUID(answer.json()["tracking_id"])))

    def post(self, path: str) -> Any:
        answer = requests.post(f"{self.service.api}{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def wait(self, treatment: Treatment) -> Treatment:
        """Process the events of a task until it has ended."""
        seen = 0

        def read() -> str:
            nonlocal seen
            received = [each for each in self.service.receiver.received if each.path == PATH]
            for message in received[seen:]:
                event = json.loads(message.body)
                if event["tracking_id"] == treatment.tracking_id:
                    self._receive(treatment, event)
            seen = len(received)
            return treatment.status

        self.service.poll(read, lambda status: status in ("SUCCESS", "ERROR"))
        return treatment

    def _receive(self, treatment: Treatment, event: dict[str, Any]) -> None:
        assert event["experiment_id"] == "17"
        match event["event"]:
            case "STARTED":
                treatment.status = "IN PROGRESS"
            case "ERROR":
                treatment.error = event["message"]
                treatment.status = "ERROR" if event.get("completed", True) else treatment.status
            case name:
                treatment.progress += name == "PROGRESS"
                self._process(treatment, event.get("output", {}))
                treatment.status = "SUCCESS" if name == "SUCCESS" else treatment.status

    def _process(self, treatment: Treatment, output: dict[str, Any]) -> None:
        if not output:
            return
        assert output["results_url"], "a front raises an error"
        treatment.output_error = output.get("error", [])
        for result in output["results_url"]:
            answer = requests.get(result["result_url"], timeout=30)
            answer.raise_for_status()
            content = answer.json()
            if "doc_pair" in result:
                pair, name = split_pair(result["doc_pair"]), hash_parameters(content["parameters"])
                images = [read_image(image) for image in content["index"]["images"]]
                rows = [(float(pair[2]), images[pair[0]], images[pair[1]]) for pair in content["pairs"]]
                treatment.scores[pair, name] = [row for row in rows if row[0] > 0]
            else:
                model = result["result_url"].split("/")[-1].split("+")[0]
                assert all(crop["source"] and crop["absolute"] for page in content for crop in page["crops"])
                treatment.regions[result["doc_id"], model] = content
