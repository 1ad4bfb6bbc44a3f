-- +goose Up
-- Versions of everything about policies and people. The seal binds every column
-- except change, which is a hint for followers.
CREATE TABLE directory_entry (
    tenant  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    version BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    author  TEXT NOT NULL,
    reason  TEXT NOT NULL,
    deleted BIGINT NOT NULL,
    body    BYTEA NOT NULL, -- encrypted
    seal    BYTEA NOT NULL,
    change  BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, id, version)
);
CREATE INDEX directory_entry_change ON directory_entry (change);

-- The number of the last change. Each change of the directory updates this row first,
-- so that change numbers become visible in order.
CREATE TABLE directory_change (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    last BIGINT NOT NULL
);
INSERT INTO directory_change (one, last) VALUES (1, 0);
