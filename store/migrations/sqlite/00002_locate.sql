-- +goose Up
-- Locate by dates, state, type and algorithm without reading every object. The
-- dates are filled in from the documents; NULL where an object lacks one.
ALTER TABLE object ADD COLUMN initial_date INTEGER;
ALTER TABLE object ADD COLUMN activation_date INTEGER;
ALTER TABLE object ADD COLUMN process_start_date INTEGER;
ALTER TABLE object ADD COLUMN protect_stop_date INTEGER;
ALTER TABLE object ADD COLUMN deactivation_date INTEGER;
ALTER TABLE object ADD COLUMN destroy_date INTEGER;
ALTER TABLE object ADD COLUMN compromise_date INTEGER;
UPDATE object SET
    initial_date = (SELECT json_extract(a.value, '$.D') FROM json_each(object.doc) a WHERE json_extract(a.value, '$.t') = '420039' LIMIT 1),
    activation_date = (SELECT json_extract(a.value, '$.D') FROM json_each(object.doc) a WHERE json_extract(a.value, '$.t') = '420001' LIMIT 1),
    process_start_date = (SELECT json_extract(a.value, '$.D') FROM json_each(object.doc) a WHERE json_extract(a.value, '$.t') = '420067' LIMIT 1),
    protect_stop_date = (SELECT json_extract(a.value, '$.D') FROM json_each(object.doc) a WHERE json_extract(a.value, '$.t') = '420068' LIMIT 1),
    deactivation_date = (SELECT json_extract(a.value, '$.D') FROM json_each(object.doc) a WHERE json_extract(a.value, '$.t') = '42002f' LIMIT 1),
    destroy_date = (SELECT json_extract(a.value, '$.D') FROM json_each(object.doc) a WHERE json_extract(a.value, '$.t') = '420033' LIMIT 1),
    compromise_date = (SELECT json_extract(a.value, '$.D') FROM json_each(object.doc) a WHERE json_extract(a.value, '$.t') = '420020' LIMIT 1);
CREATE INDEX object_state ON object (tenant, state, seq);
CREATE INDEX object_type ON object (tenant, type, seq);
CREATE INDEX object_algorithm ON object (tenant, algorithm, seq);
CREATE INDEX object_initial_date ON object (tenant, initial_date) WHERE initial_date IS NOT NULL;
CREATE INDEX object_activation_date ON object (tenant, activation_date) WHERE activation_date IS NOT NULL;
CREATE INDEX object_process_start_date ON object (tenant, process_start_date) WHERE process_start_date IS NOT NULL;
CREATE INDEX object_protect_stop_date ON object (tenant, protect_stop_date) WHERE protect_stop_date IS NOT NULL;
CREATE INDEX object_deactivation_date ON object (tenant, deactivation_date) WHERE deactivation_date IS NOT NULL;
CREATE INDEX object_destroy_date ON object (tenant, destroy_date) WHERE destroy_date IS NOT NULL;
CREATE INDEX object_compromise_date ON object (tenant, compromise_date) WHERE compromise_date IS NOT NULL;
