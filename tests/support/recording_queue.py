"""A queue that sends nothing."""

from app.jobs import Stage


class RecordingQueue:
    """Remembers the queue of every message; sends nothing."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def wake(self, stage: Stage, count: int = 1) -> None:
        self.sent += [stage.queue] * count
