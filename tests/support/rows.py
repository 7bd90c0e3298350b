"""Direct changes of job rows, without the service."""

from sqlalchemy import update

from app.database.sessions import Database
from app.database.tables import Job


def change_job(database: Database, job_id: str, **values: object) -> None:
    with database.session() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))
