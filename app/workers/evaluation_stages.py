"""Stages of evaluation jobs (kind ``test``)."""

from dataclasses import replace

from app.database.tables import Job
from app.jobs import State
from app.jobs.requests import EvaluationRequest
from app.services import Services


def download(services: Services, job: Job) -> State | None:
    """Copy the current version of the data set into the job's folder."""
    request, folder = EvaluationRequest.from_json(job.request), services.storage.job(job.id)
    if not folder.dataset.exists():
        dataset = services.datasets.find(job.app_id, request.dataset)
        request.choose_split(dataset.splits)
        services.datasets.keep(dataset, folder.dataset)
    return None


def run(services: Services, job: Job) -> State | None:
    """Detect on the pages of the split, and compare the detections with the labels."""
    from app.detection.weights import isolate_ultralytics

    request, s, folder = EvaluationRequest.from_json(job.request), services.settings, services.storage.job(job.id)
    isolate_ultralytics(s.data_folder / "ultralytics")
    from app.detection.loading import load_detector
    from app.pipelines.training.work import summarise
    from app.training.datasets import load_dataset
    from app.training.evaluate import EVALUATION_CONFIG, evaluate

    weights = services.models.find(request.model)
    size = services.choose_model_size(weights)
    config = replace(EVALUATION_CONFIG, size=size, batch_size=s.batch_size, device=s.device)
    detector = load_detector(weights, config)
    services.jobs.record_start(job, weights.label)
    dataset = load_dataset(folder.dataset)

    def report(done: int, total: int) -> None:
        services.jobs.record_progress(job, done, total, None)
        if done == total:  # the intervals follow
            services.jobs.record_activity(job)

    split = request.choose_split(dataset.splits)
    evaluation = evaluate(detector, dataset, split, folder.results, report, s.confidence)
    pages = dataset.splits[split].images
    services.jobs.record_progress(job, pages, pages, {"figures": summarise(evaluation)})
    return None


def deliver(services: Services, job: Job) -> State | None:
    """Remove the pages. The figures and comparison images are kept."""
    services.storage.job(job.id).forget_training()
    return None
