-- +goose Up
-- seq is the order of birth and never used twice. The typed columns are copies
-- of attributes, for Locate; document holds all of them. terms is a digest of
-- the rows in object_attr, so that an update knows whether they must change.
create table object (
    seq                 integer primary key autoincrement,
    tenant              text    not null,
    id                  text    not null,
    type                integer not null,
    owner               text    not null,
    grp                 text    not null,
    version             integer not null,
    algorithm           integer,
    length              integer,
    mask                integer,
    state               integer,
    initial_date        integer,
    activation_date     integer,
    process_start_date  integer,
    protect_stop_date   integer,
    deactivation_date   integer,
    destroy_date        integer,
    compromise_date     integer,
    last_change_date    integer,
    terms               integer not null,
    document            text    not null,
    mode                text    not null,
    class               text    not null,
    epoch               integer not null,
    wrap                text    not null,
    kind                text    not null,
    format              integer not null,
    material_length     integer not null,
    token               blob,
    blob                blob,
    ttlv                blob,
    mac                 blob
);
create unique index object_id on object (tenant, id);
create index object_seq on object (tenant, seq);
create index object_state on object (tenant, state, seq);
create index object_type on object (tenant, type, algorithm, seq);
create index object_owner on object (tenant, owner, seq);
create index object_grp on object (tenant, grp, seq) where grp <> '';
create index object_initial_date on object (tenant, initial_date);
create index object_activation_date on object (tenant, activation_date) where activation_date is not null;
create index object_process_start_date on object (tenant, process_start_date) where process_start_date is not null;
create index object_protect_stop_date on object (tenant, protect_stop_date) where protect_stop_date is not null;
create index object_deactivation_date on object (tenant, deactivation_date) where deactivation_date is not null;
create index object_destroy_date on object (tenant, destroy_date) where destroy_date is not null;
create index object_compromise_date on object (tenant, compromise_date) where compromise_date is not null;
-- The one index without tenant: the reconciler asks by what it found in the token.
create index object_token on object (token) where token is not null;

-- The search index of multi-valued and vendor attributes: one row a value.
create table object_attr (
    tenant  text    not null,
    name    text    not null,
    val     blob    not null,
    seq     integer not null,
    primary key (tenant, name, val, seq)
) without rowid;
create index object_attr_seq on object_attr (tenant, seq);

create table tenant_key (
    tenant   text    not null,
    purpose  text    not null,
    epoch    integer not null,
    token    blob    not null unique,
    state    text    not null,
    primary key (tenant, purpose, epoch)
) without rowid;

create table intent (
    id       text    not null primary key,
    tenant   text    not null,
    kind     text    not null,
    token    blob,
    object   text    not null,
    time     integer not null
) without rowid;

create table audit_entry (
    number   integer primary key autoincrement,
    tenant   text    not null,
    time     integer not null,
    body     blob    not null
);
create index audit_entry_tenant on audit_entry (tenant, number);
