-- Tables and rows of version 1.0, which did not use Alembic.
CREATE TABLE jobs (
    id VARCHAR(32) NOT NULL PRIMARY KEY, app_id INTEGER NOT NULL, kind VARCHAR(20) NOT NULL,
    state VARCHAR(20) NOT NULL, request JSON NOT NULL, manifest_ref VARCHAR, model_label VARCHAR,
    claim VARCHAR(64), starts INTEGER NOT NULL, heartbeat FLOAT NOT NULL, done INTEGER NOT NULL,
    total INTEGER NOT NULL, coverage JSON, timings JSON NOT NULL, error_code VARCHAR, error_message VARCHAR,
    created FLOAT NOT NULL, updated FLOAT NOT NULL, finished FLOAT
);
CREATE TABLE deliveries (
    id VARCHAR(32) NOT NULL PRIMARY KEY, job_id VARCHAR(32) NOT NULL, url VARCHAR NOT NULL,
    result INTEGER DEFAULT '0' NOT NULL, status VARCHAR(20) NOT NULL, attempts INTEGER NOT NULL,
    http_status INTEGER, error VARCHAR, next_attempt FLOAT,
    UNIQUE (job_id, url), FOREIGN KEY(job_id) REFERENCES jobs (id)
);
CREATE INDEX ix_deliveries_job_id ON deliveries (job_id);
CREATE INDEX deliveries_due ON deliveries (status, next_attempt);
INSERT INTO jobs (id, app_id, kind, state, request, starts, heartbeat, done, total, timings, created, updated)
    VALUES ('j', 7, 'detection', 'done', '{}', 0, 1, 0, 0, '{}', 1234.5, 1);
INSERT INTO deliveries VALUES
    ('a', 'j', 'https://a.example/in/é', 2, 'pending', 3, 500, 'It answered 500.', 99.5),
    ('b', 'j', 'https://b.example/', 0, 'delivered', 1, 200, NULL, NULL);
