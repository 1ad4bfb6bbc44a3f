-- +goose Up
CREATE TABLE object (
    seq          BIGSERIAL PRIMARY KEY,
    tenant       TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    version      BIGINT NOT NULL,
    type         BIGINT NOT NULL,
    owner        TEXT    NOT NULL,
    grp          TEXT    NOT NULL,
    algorithm    BIGINT NOT NULL,
    length       BIGINT NOT NULL,
    state        BIGINT NOT NULL,
    doc          TEXT    NOT NULL,
    mode         TEXT    NOT NULL,
    class        TEXT    NOT NULL,
    epoch        BIGINT NOT NULL,
    wrap         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    format       BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    token        BYTEA,
    blob         BYTEA,
    ttlv         BYTEA,
    mac          BYTEA,
    UNIQUE (tenant, id)
);
CREATE INDEX object_tenant ON object (tenant, seq);
CREATE INDEX object_owner ON object (tenant, owner, seq);
CREATE INDEX object_grp ON object (tenant, grp, seq);
CREATE INDEX object_token ON object (token) WHERE token IS NOT NULL;

CREATE TABLE object_attr (
    tenant TEXT    NOT NULL,
    name   TEXT    NOT NULL,
    val    TEXT    NOT NULL,
    seq    BIGINT NOT NULL,
    PRIMARY KEY (tenant, name, val, seq)
);
CREATE INDEX object_attr_seq ON object_attr (tenant, seq);

CREATE TABLE tenant_key (
    tenant  TEXT    NOT NULL,
    purpose TEXT    NOT NULL,
    epoch   BIGINT NOT NULL,
    token   BYTEA    NOT NULL,
    state   TEXT    NOT NULL,
    PRIMARY KEY (tenant, purpose, epoch)
);

CREATE TABLE intent (
    id     TEXT    PRIMARY KEY,
    tenant TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    token  BYTEA    NOT NULL,
    object TEXT    NOT NULL,
    began  BIGINT NOT NULL
);

CREATE TABLE audit_entry (
    number BIGSERIAL PRIMARY KEY,
    tenant TEXT    NOT NULL,
    at     BIGINT NOT NULL,
    body   BYTEA    NOT NULL
);
CREATE INDEX audit_entry_tenant ON audit_entry (tenant, number);
