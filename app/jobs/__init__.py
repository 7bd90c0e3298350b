"""Jobs: what a client app may ask for, the states a job goes through, the store that keeps them, claims on stages."""

from app.jobs.claims import Claims
from app.jobs.parts import Parts
from app.jobs.requests import DetectionRequest
from app.jobs.states import Stage, State
from app.jobs.store import JobStore

__all__ = ["Claims", "DetectionRequest", "JobStore", "Parts", "Stage", "State"]
