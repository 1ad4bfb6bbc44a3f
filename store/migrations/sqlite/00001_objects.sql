-- +goose Up
-- Every column of object, tenant_key and intent is bound by the row's seal,
-- except the seal itself and the blobs, which the row's mac binds. The search
-- columns and object_attr repeat what the document says: see docs/DESIGN.md.
CREATE TABLE object (
    seq                INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant             TEXT NOT NULL,
    id                 TEXT NOT NULL,
    version            INTEGER NOT NULL,
    type               INTEGER NOT NULL,
    owner              TEXT NOT NULL,
    grp                TEXT NOT NULL,
    doc                TEXT NOT NULL,
    -- Search columns, filled in from doc; NULL where an object lacks a date.
    algorithm          INTEGER NOT NULL,
    length             INTEGER NOT NULL,
    state              INTEGER NOT NULL,
    initial_date       INTEGER,
    activation_date    INTEGER,
    process_start_date INTEGER,
    protect_stop_date  INTEGER,
    deactivation_date  INTEGER,
    destroy_date       INTEGER,
    compromise_date    INTEGER,
    -- Custody.
    mode               TEXT NOT NULL,
    class              TEXT NOT NULL,
    epoch              INTEGER NOT NULL,
    wrap               TEXT NOT NULL,
    kind               TEXT NOT NULL,
    format             INTEGER NOT NULL,
    bytes              INTEGER NOT NULL,
    token              BLOB,
    mac                BLOB,
    seal               BLOB NOT NULL,
    blob               BLOB,
    ttlv               BLOB,
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX object_tenant ON object (tenant, seq);
CREATE INDEX object_owner ON object (tenant, owner, seq);
CREATE INDEX object_grp ON object (tenant, grp, seq);
CREATE INDEX object_token ON object (token) WHERE token IS NOT NULL;
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

CREATE TABLE object_attr (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    val    TEXT NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, val, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_attr_seq ON object_attr (tenant, seq);

CREATE TABLE installation (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    id      TEXT NOT NULL,
    created INTEGER NOT NULL,
    checks  BLOB NOT NULL,
    seal    BLOB NOT NULL
) STRICT;

-- A set of seven token keys. A number serves one tenant for good.
CREATE TABLE tenant_key (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    tenant TEXT NOT NULL,
    epoch  INTEGER NOT NULL,
    state  TEXT NOT NULL,
    checks BLOB,
    seal   BLOB NOT NULL,
    UNIQUE (tenant, epoch)
) STRICT;

CREATE TABLE intent (
    id      TEXT PRIMARY KEY,
    tenant  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    token   BLOB NOT NULL,
    object  TEXT NOT NULL,
    label   TEXT NOT NULL,
    began   INTEGER NOT NULL,
    process TEXT NOT NULL,
    nonce   TEXT NOT NULL,
    seal    BLOB NOT NULL
) STRICT;

CREATE TABLE audit_entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    at     INTEGER NOT NULL,
    body   BLOB NOT NULL,
    -- Each writer of a node counts its records: 1, 2, 3 ... without a gap.
    node   TEXT NOT NULL,
    writer INTEGER NOT NULL,
    count  INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_entry_tenant ON audit_entry (tenant, number);
CREATE UNIQUE INDEX audit_entry_count ON audit_entry (node, writer, count);

-- What each tenant has, for its quota: the sum over its stripes. No seal: these
-- rows can only refuse a new object, or fail to.
CREATE TABLE tenant_usage (
    tenant        TEXT NOT NULL,
    stripe        INTEGER NOT NULL,
    objects       INTEGER NOT NULL,
    resident_keys INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    PRIMARY KEY (tenant, stripe)
) STRICT, WITHOUT ROWID;
