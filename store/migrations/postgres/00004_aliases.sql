-- +goose Up
-- An alias belongs to one object of its tenant: two transactions that give it away at
-- once cannot both end. No seal: the row of the object says which aliases it has.
CREATE UNIQUE INDEX object_attr_alias ON object_attr (tenant, val) WHERE name = 'x-keyreeve-alias';
