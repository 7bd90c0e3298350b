"""A queue for tests."""

from app.jobs import Stage


class RecordingQueue:
    """Records the queue name of every message instead of sending it."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def wake(self, stage: Stage, count: int = 1) -> None:
        self.sent += [stage.queue] * count  # none for a negative number, like the queue of the service

    def wake_ahead(self) -> None:
        self.sent.append("ahead")
