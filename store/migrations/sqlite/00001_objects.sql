-- +goose Up
CREATE TABLE object (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant       TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    type         INTEGER NOT NULL,
    owner        TEXT    NOT NULL,
    grp          TEXT    NOT NULL,
    algorithm    INTEGER NOT NULL,
    length       INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    doc          TEXT    NOT NULL,
    mode         TEXT    NOT NULL,
    class        TEXT    NOT NULL,
    epoch        INTEGER NOT NULL,
    wrap         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    format       INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    token        BLOB,
    blob         BLOB,
    ttlv         BLOB,
    mac          BLOB,
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
    seq    INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, val, seq)
) WITHOUT ROWID;
CREATE INDEX object_attr_seq ON object_attr (tenant, seq);

CREATE TABLE tenant_key (
    tenant  TEXT    NOT NULL,
    purpose TEXT    NOT NULL,
    epoch   INTEGER NOT NULL,
    token   BLOB    NOT NULL,
    state   TEXT    NOT NULL,
    PRIMARY KEY (tenant, purpose, epoch)
);

CREATE TABLE intent (
    id     TEXT    PRIMARY KEY,
    tenant TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    token  BLOB    NOT NULL,
    object TEXT    NOT NULL,
    began  INTEGER NOT NULL
);

CREATE TABLE audit_entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    body   BLOB    NOT NULL
);
CREATE INDEX audit_entry_tenant ON audit_entry (tenant, number);
