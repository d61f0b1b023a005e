-- Runs, versions and what must happen after a commit; events and the graph they draw; models and predictions.
-- Partition '' means an unpartitioned dataset: null would not fit into primary keys.

create table run (
    run_id uuid primary key,
    step text not null,
    partition text not null,
    state text not null check (state in ('RUNNING', 'COMPLETE', 'FAIL', 'ABORT')),
    fingerprint text not null,
    code text not null,
    parameters jsonb not null,
    environment jsonb not null,
    door text not null,
    commit_sha text,
    started_at timestamptz not null,
    ended_at timestamptz,
    error text
);
create index run_latest on run (step, partition, started_at desc);
create index run_unfinished on run (run_id) where state = 'RUNNING';

create table version (
    dataset text not null,
    partition text not null,
    sha256 text not null,
    files jsonb not null,
    size_bytes bigint not null,
    row_count bigint,
    fields jsonb not null,
    origin text,
    created_at timestamptz not null default now(),
    primary key (dataset, partition, sha256)
);

create table run_input (
    run_id uuid not null references run,
    ordinal int not null,
    name text not null,
    dataset text not null,
    partition text not null,
    sha256 text not null,
    primary key (run_id, ordinal),
    foreign key (dataset, partition, sha256) references version
);
create index run_input_version on run_input (dataset, partition, sha256);

create table run_output (
    run_id uuid not null references run,
    dataset text not null,
    partition text not null,
    sha256 text not null,
    primary key (run_id, dataset, partition),
    foreign key (dataset, partition, sha256) references version
);
create index run_output_version on run_output (dataset, partition, sha256);

create table current_version (
    dataset text not null,
    partition text not null,
    sha256 text not null,
    run_id uuid not null references run,
    primary key (dataset, partition),
    foreign key (dataset, partition, sha256) references version
);

-- Versions that are committed but perhaps not yet linked into place: a start-up finishes them.
create table publication (
    dataset text not null,
    partition text not null,
    sha256 text not null,
    primary key (dataset, partition)
);

create table check_result (
    run_id uuid not null references run,
    dataset text not null,
    partition text not null,
    sha256 text not null,
    suite text not null,
    success boolean not null,
    expectations jsonb not null,
    primary key (run_id, suite)
);

create table event (
    event_id bigint generated always as identity primary key,
    kind text not null check (kind in ('run', 'dataset', 'job')),
    run_id text,
    event_type text,
    event_time timestamptz not null,
    body jsonb not null,
    received_at timestamptz not null default now()
);
create index event_by_time on event (event_time desc, event_id desc);
create index event_by_run on event (run_id);

-- Events still to be sent to OPENLINEAGE_URL.
create table relay (
    event_id bigint primary key references event,
    attempts int not null default 0,
    next_attempt_at timestamptz not null default now(),
    last_error text
);

-- Materializations that Dagster has not heard of, because its own door did not make them.
create table dagster_report (
    report_id bigint generated always as identity primary key,
    dataset text not null,
    partition text not null,
    body jsonb not null,
    reported_at timestamptz
);
create index dagster_report_open on dagster_report (report_id) where reported_at is null;

create table graph_dataset (
    namespace text not null,
    name text not null,
    fields jsonb not null default '[]',
    facets jsonb not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (namespace, name)
);

create table graph_job (
    namespace text not null,
    name text not null,
    facets jsonb not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (namespace, name)
);

create table graph_run (
    run_id text primary key,
    namespace text not null,
    job text not null,
    state text not null,
    started_at timestamptz,
    ended_at timestamptz,
    facets jsonb not null default '{}',
    updated_at timestamptz not null
);
create index graph_run_by_job on graph_run (namespace, job, updated_at desc);

create table graph_edge (
    job_namespace text not null,
    job_name text not null,
    dataset_namespace text not null,
    dataset_name text not null,
    direction text not null check (direction in ('input', 'output')),
    updated_at timestamptz not null,
    primary key (job_namespace, job_name, dataset_namespace, dataset_name, direction)
);
create index graph_edge_by_dataset on graph_edge (dataset_namespace, dataset_name);

create table bundle (
    model text not null,
    digest text not null,
    dataset text not null,
    run_id uuid not null references run,
    metrics jsonb not null,
    created_at timestamptz not null default now(),
    primary key (model, digest)
);

create table model_alias (
    model text not null,
    alias text not null,
    digest text not null,
    set_at timestamptz not null default now(),
    primary key (model, alias),
    foreign key (model, digest) references bundle
);

create table prediction (
    prediction_id uuid primary key,
    model text not null,
    digest text not null,
    made_at timestamptz not null,
    caller text not null,
    engine text not null,
    request_sha256 text not null,
    features_from text not null check (features_from in ('table', 'client')),
    foreign key (model, digest) references bundle
);
create index prediction_by_bundle on prediction (model, digest);

-- Margins are kept as their bits (8 hex digits, big-endian float32): equality is what replay is about.
create table prediction_row (
    prediction_id uuid not null references prediction,
    ordinal int not null,
    key text,
    dataset text,
    partition text,
    sha256 text,
    position bigint,
    features jsonb not null,
    margin_bits char(8) not null,
    primary key (prediction_id, ordinal),
    foreign key (dataset, partition, sha256) references version
);
