"""The workers: Celery's application, its tasks, and the stages of each kind of job."""
