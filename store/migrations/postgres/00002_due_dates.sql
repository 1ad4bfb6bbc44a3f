-- +goose Up
-- Dates at which the clock changes what an object may do, until their record is
-- written. No seal: each line is compared with the row of its object.
CREATE TABLE due_date (
    tenant TEXT NOT NULL,
    id     TEXT NOT NULL,
    tag    BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    done   BIGINT NOT NULL,
    PRIMARY KEY (tenant, id, tag, at)
);
CREATE INDEX due_date_open ON due_date (at, tenant, id, tag) WHERE done = 0;
INSERT INTO due_date SELECT tenant, id, 4325377, activation_date, 0 FROM object WHERE activation_date > extract(epoch FROM now());
INSERT INTO due_date SELECT tenant, id, 4325479, process_start_date, 0 FROM object WHERE process_start_date > extract(epoch FROM now());
INSERT INTO due_date SELECT tenant, id, 4325480, protect_stop_date, 0 FROM object WHERE protect_stop_date > extract(epoch FROM now());
INSERT INTO due_date SELECT tenant, id, 4325423, deactivation_date, 0 FROM object WHERE deactivation_date > extract(epoch FROM now());
