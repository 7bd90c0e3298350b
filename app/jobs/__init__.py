"""Jobs: what a client app may ask for, the states a job goes through, and the store that keeps them."""

from app.jobs.requests import DetectionRequest
from app.jobs.states import Stage, State
from app.jobs.store import JobStore

__all__ = ["DetectionRequest", "JobStore", "Stage", "State"]
