"""Workers: the Celery application, its tasks, and the stages of each kind of job.

    __main__           starts a worker: ``python -m app.workers io|gpu|post``
    broker             checks whether a broker runs, and starts one on this machine
    broker_rights      checks what the Redis user of the service may do
    queue              the Celery application: queues, schedule, messages
    tasks              one task for each stage, and the periodic tasks
    failures           errors of stages, and the end of a process that lost its GPU
    signals            rights on the broker, import of torch, heartbeats of queues, job IDs in log lines, GPU memory
    detection_stages   stages of detection jobs: download, run, deliver
    similarity_stages  stages of similarity jobs
    search_stages      stages of searches
    training_stages    stages of training jobs
    evaluation_stages  stages of evaluation jobs

In: messages that wake a worker, and rows of jobs. Out: changed rows, files, deliveries in the outbox.
"""
