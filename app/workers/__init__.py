"""The workers: Celery's application, its tasks, and the work of each stage.

    __main__           the process of a worker: ``python -m app.workers io|gpu|post``
    broker             is there a broker on this machine; if not, start one
    queue              the Celery application: queues, schedule, messages
    tasks              a task for each stage, and the periodic ones
    signals            heartbeats of queues, the job of each log line, the GPU's memory
    detection_stages   download, run, deliver of a detection job
    similarity_stages  the same of a similarity job
    training_stages    the same of a training
    evaluation_stages  the same of an evaluation

In: messages that only wake a worker, and rows of jobs. Out: changed rows, files, deliveries in the outbox.
"""
