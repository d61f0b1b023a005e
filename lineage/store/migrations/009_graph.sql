-- The graph of OpenLineage events, anew: what is true of a set of events whatever the order and number of their arrivals.
-- Nodes are known by the MD5 of `kind\tnamespace\tname`, which a writer computes without asking.
-- A facet is kept as [time, digest, body]: of two the later one holds, of two of one time the greater digest.
-- `changed` is the transaction that wrote a row: readers keep the graph in memory and ask for what is new.

drop table graph_edge, graph_run, graph_job, graph_dataset;

create function latest_facets(known jsonb, seen jsonb) returns jsonb language sql immutable parallel safe as $$
    select known || coalesce((
        select jsonb_object_agg(key, value) from jsonb_each(seen)
        where not known ? key
           or (value->>0, value->>1) > ((known->key->>0) collate "C", (known->key->>1) collate "C")
    ), '{}'::jsonb)
$$;

create table graph_node (
    node_id uuid primary key,
    kind text not null check (kind in ('dataset', 'job')),
    namespace text not null,
    name text not null,
    facets jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    changed xid8 not null default pg_current_xact_id()
);
create index graph_node_by_name on graph_node (kind, namespace, name);
create index graph_node_changed on graph_node (changed);

-- Bodies that many rows would repeat: of schemas and of column lineage rows keep time and digest alone.
create table graph_facet (
    digest uuid primary key,
    body jsonb not null
);

-- A run as far as it is of one job: some producers use one run id for several. What a JobEvent says of a job's inputs and
-- outputs stands here as well, as `designed`.
-- `settled`: its inputs and outputs are all there, for it is complete, or of a job that never ends.
create table graph_run (
    run_id uuid not null,
    job uuid not null,
    state text not null,
    state_at timestamptz not null,
    ended boolean not null,
    started_at timestamptz,
    ended_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    facets jsonb not null,
    settled boolean not null,
    has_io boolean not null,
    designed boolean not null,
    primary key (run_id, job)
);
create index graph_run_by_job on graph_run (job, updated_at desc, run_id) where not designed;
create index graph_run_settled on graph_run (job, settled desc, updated_at desc, run_id) where has_io;

create table graph_io (
    run_id uuid not null,
    job uuid not null,
    dataset uuid not null,
    is_output boolean not null,
    seen_at timestamptz not null,
    facets jsonb not null,
    primary key (run_id, job, dataset, is_output)
);
create index graph_io_by_dataset on graph_io (dataset, is_output, seen_at desc);

-- Every edge there ever was; `current` are those of the run that speaks for its job today.
create table graph_edge (
    job uuid not null,
    dataset uuid not null,
    is_output boolean not null,
    current boolean not null default false,
    changed xid8 not null default pg_current_xact_id(),
    primary key (job, dataset, is_output)
);
create index graph_edge_by_dataset on graph_edge (dataset);
create index graph_edge_changed on graph_edge (changed);

-- The column lineage that a job said last of a dataset that it writes.
create table graph_columns (
    job uuid not null,
    dataset uuid not null,
    seen_at timestamptz not null,
    digest uuid not null references graph_facet,
    changed xid8 not null default pg_current_xact_id(),
    primary key (job, dataset)
);
create index graph_columns_changed on graph_columns (changed);

-- An event is kept once, however often it comes, and as it was sent. Close in time is close in the index.
alter table event alter column body type json using body::json, add column digest uuid;
drop index event_by_time, event_by_run;
create unique index event_once on event (event_time, digest);

-- Events that are not drawn into the graph: here those from before it. Drawing them again changes nothing.
create table graph_backlog (
    event_id bigint primary key references event
);
insert into graph_backlog select event_id from event;
