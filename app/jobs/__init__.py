"""Jobs: what a client app may ask for, the states a job goes through, the store that keeps them, claims on stages."""

from app.jobs.collections import Parts
from app.jobs.leases import Claims
from app.jobs.requests import DetectionRequest, EvaluationRequest, SimilarityRequest, TrainingRequest
from app.jobs.states import Stage, State
from app.jobs.store import JobStore

__all__ = [
    "Claims",
    "DetectionRequest",
    "EvaluationRequest",
    "JobStore",
    "Parts",
    "SimilarityRequest",
    "Stage",
    "State",
    "TrainingRequest",
]
