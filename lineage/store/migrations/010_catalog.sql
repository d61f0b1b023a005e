-- What people say of the catalogue beside events: who owns namespaces, which sources there are, tags; and what they deleted.

-- A node that was deleted stays hidden until an event that is newer than the deletion names it.
alter table graph_node add column hidden_at timestamptz;

create table graph_namespace (
    name text primary key,
    owner_name text,
    description text,
    hidden_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table graph_source (
    name text primary key,
    type text not null,
    connection_url text not null,
    description text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table graph_tag (
    name text primary key,
    description text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- Tags of nodes, and of fields of datasets ('' is the node itself). One that was taken away is kept as `removed`, for a
-- facet may say it as well.
create table graph_tagged (
    node_id uuid not null references graph_node,
    field text not null,
    tag text not null references graph_tag,
    removed boolean not null,
    said_at timestamptz not null default now(),
    primary key (node_id, field, tag)
);
