"""The scheduler: which waiting job a worker takes next.

Each queue serves the client apps round robin, and the jobs of one app in the order of their submission. A thousand
manifests of one app therefore delay another app's single manifest only by the running job.

Three rules modify this order:

- Searches come before all other kinds, because a person waits for the answer. A running job is finished first.
- Only ``host_jobs`` jobs download from one host at a time. The others wait without delaying jobs of other hosts. Jobs
  without a host, such as uploads and trainings, are not limited.
- On the ``gpu`` queue, trainings come after all other kinds. A training takes hours, and yields after every epoch while
  others wait. After an hour of waiting, it comes first for one epoch.
"""

import time
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Float, Row, Select, and_, bindparam, case, false, func, select, text
from sqlalchemy.orm import Session

from app.database.sessions import Database
from app.database.tables import Job, RoundRobin
from app.jobs.job_kinds import URGENT, YIELDING
from app.jobs.states import DOWNLOAD, RUN, STAGES, Stage, State

# Jobs that download from one host at a time. With two, the next job begins while the first waits for its last pages.
# More jobs would occupy threads without being faster, because the requests to a host are limited.
HOST_JOBS = 2
# Seconds of waiting after which a training comes before all other kinds.
LONGEST_WAIT = 3600.0

# SQLite and PostgreSQL share this syntax.
_SERVE = text(
    "INSERT INTO round_robin (app_id, queue, served) VALUES (:app_id, :queue, :served) "
    "ON CONFLICT (app_id, queue) DO UPDATE SET served = excluded.served"
)


class Scheduler:
    """The order in which waiting jobs are taken.

    Args:
        database: Database of the jobs.
        host_jobs: Number of jobs that may download from one host at a time.
    """

    def __init__(self, database: Database, host_jobs: int) -> None:
        self._database = database
        self._host_jobs = host_jobs
        # Built once, because this takes longer than the database.
        self._next = {stage: self._select_next(stage) for stage in STAGES}
        self._counts = {stage: self._select_count(stage) for stage in STAGES}

    def find_next(self, session: Session, stage: Stage) -> Row[str, int, int] | None:
        """Return `id`, `starts` and `tries` of the next job of a stage; None when no job may be taken."""
        return session.execute(self._next[stage], {"long_ago": time.time() - LONGEST_WAIT}).first()

    def _select_next(self, stage: Stage) -> Select[str, int, int]:
        same_app = and_(RoundRobin.app_id == Job.app_id, RoundRobin.queue == stage.queue)
        order = (_rank(stage), func.coalesce(RoundRobin.served, 0.0), Job.created, Job.id)
        waiting = select(Job.id, Job.starts, Job.tries).outerjoin(RoundRobin, same_app).where(self.may_be_taken(stage))
        return waiting.order_by(*order).limit(1)

    def may_be_taken(self, stage: Stage) -> ColumnElement[bool]:
        """Return the condition that a job waits for a stage and its host is below the limit."""
        waiting = Job.state.in_(stage.starts_from) & Job.lease.is_(None)
        if stage is not DOWNLOAD:
            return waiting
        return waiting & (Job.kind.in_(URGENT) | Job.host.not_in(self._find_full_hosts()))

    def count_waiting(self, stage: Stage, limit: int) -> int:
        """Return the number of jobs that may be taken for a stage, counted up to a limit."""
        with self._database.session() as session:
            return session.scalar(self._counts[stage], {"most": limit}) or 0

    def _select_count(self, stage: Stage) -> Select[int]:
        waiting = select(Job.id).where(self.may_be_taken(stage)).limit(bindparam("most"))
        return select(func.count()).select_from(waiting.subquery())

    def list_downloading(self, kind: str) -> Sequence[Job]:
        """Return the jobs of a kind whose download runs, in the order of their submission."""
        downloading = (Job.state == State.DOWNLOADING) & Job.lease.is_not(None) & (Job.kind == kind)
        with self._database.session() as session:
            return session.scalars(select(Job).where(downloading).order_by(Job.created, Job.id)).all()

    def must_yield(self, stage: Stage) -> bool:
        """Return whether a running training must yield because a job of another kind waits for the stage."""
        waiting = select(Job.id).where(self.may_be_taken(stage), Job.kind.not_in(YIELDING))
        with self._database.session() as session:
            return session.scalars(waiting.limit(1)).first() is not None

    def record_served(self, session: Session, job: Job, stage: Stage) -> None:
        """Record that a queue serves the client app of a job now, so that other apps come first."""
        session.execute(_SERVE, {"app_id": job.app_id, "queue": stage.queue, "served": time.time()})

    def _find_full_hosts(self) -> Select[str]:
        """Select the hosts from which the maximum number of jobs download."""
        downloading = (Job.state == State.DOWNLOADING) & Job.lease.is_not(None) & (Job.host != "")
        full = func.count(Job.id) >= self._host_jobs
        return select(Job.host).where(downloading).group_by(Job.host).having(full).correlate(None)


def _rank(stage: Stage) -> ColumnElement[int]:
    waited = Job.waiting_since < bindparam("long_ago", type_=Float)
    yielding = Job.kind.in_(YIELDING) if stage is RUN else false()
    return case((Job.kind.in_(URGENT), -2), (yielding & waited, -1), (yielding, 1), else_=0)
