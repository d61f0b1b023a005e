-- Every statement of the store, by name. Parameters are psycopg's %(name)s.

-- name: current_version
select v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from current_version c join version v using (dataset, partition, sha256)
where c.dataset = %(dataset)s
order by c.partition;

-- name: version
select dataset, partition, sha256, files, row_count, fields, origin
from version
where dataset = %(dataset)s and partition = %(partition)s and sha256 = %(sha256)s;

-- name: all_current_versions
select v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from current_version c join version v using (dataset, partition, sha256)
order by v.dataset, v.partition;

-- name: last_complete_run
select r.run_id, r.fingerprint, o.sha256
from run r join run_output o on o.run_id = r.run_id
where r.step = %(step)s and r.partition = %(partition)s and r.state = 'COMPLETE' and o.dataset not like '%%.quarantine'
order by r.ended_at desc
limit 1;

-- name: attempts
select count(*) from run where step = %(step)s and partition = %(partition)s;

-- name: insert_run
insert into run (run_id, step, partition, state, fingerprint, code, parameters, declaration, environment, door,
                 commit_sha, started_at)
values (%(run_id)s, %(step)s, %(partition)s, 'RUNNING', %(fingerprint)s, %(code)s, %(parameters)s, %(declaration)s,
        %(environment)s, %(door)s, %(commit_sha)s, %(started_at)s);

-- name: insert_code
insert into code (digest, definitions) values (%(digest)s, %(definitions)s) on conflict (digest) do nothing;

-- name: code_definitions
select definitions from code where digest = %(digest)s;

-- name: insert_run_input
insert into run_input (run_id, ordinal, name, dataset, partition, sha256)
values (%(run_id)s, %(ordinal)s, %(name)s, %(dataset)s, %(partition)s, %(sha256)s);

-- name: end_run
update run set state = %(state)s, ended_at = %(ended_at)s, error = %(error)s
where run_id = %(run_id)s and state = 'RUNNING'
returning run_id;

-- name: insert_version
insert into version (dataset, partition, sha256, files, size_bytes, row_count, fields, origin)
values (%(dataset)s, %(partition)s, %(sha256)s, %(files)s, %(size_bytes)s, %(row_count)s, %(fields)s, %(origin)s)
on conflict (dataset, partition, sha256) do nothing;

-- name: insert_run_output
insert into run_output (run_id, dataset, partition, sha256, lineage)
values (%(run_id)s, %(dataset)s, %(partition)s, %(sha256)s, %(lineage)s);

-- name: run_lineage
-- Of one of its outputs; if none is named, of its table or model and not of the rows that were put aside.
select lineage from run_output
where run_id = %(run_id)s and (dataset = %(dataset)s or (%(dataset)s::text is null and dataset not like '%%.quarantine'));

-- name: run_outputs
-- What a run wrote: its table or model first, then the rows that its checks put aside, if they do.
select v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from run_output o join version v using (dataset, partition, sha256)
where o.run_id = %(run_id)s
order by v.dataset like '%%.quarantine', v.dataset;

-- name: delete_current_version
delete from current_version where dataset = %(dataset)s and partition = %(partition)s;

-- name: set_current_version
insert into current_version (dataset, partition, sha256, run_id)
values (%(dataset)s, %(partition)s, %(sha256)s, %(run_id)s)
on conflict (dataset, partition) do update set sha256 = excluded.sha256, run_id = excluded.run_id;

-- name: insert_publication
insert into publication (dataset, partition, sha256) values (%(dataset)s, %(partition)s, %(sha256)s)
on conflict (dataset, partition) do update set sha256 = excluded.sha256;

-- name: open_publications
select v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from publication p join version v using (dataset, partition, sha256)
order by v.dataset, v.partition;

-- name: delete_publication
delete from publication
where dataset = %(dataset)s and partition = %(partition)s and sha256 = %(sha256)s;

-- name: unfinished_runs
select run_id, step, partition, started_at from run where state = 'RUNNING' order by started_at;

-- name: insert_check_result
insert into check_result (run_id, dataset, partition, sha256, suite, success, expectations, wording)
values (%(run_id)s, %(dataset)s, %(partition)s, %(sha256)s, %(suite)s, %(success)s, %(expectations)s, %(wording)s);

-- name: check_results_of_run
select suite, success, expectations, wording from check_result where run_id = %(run_id)s order by suite;

-- name: newest_check_results
select newest.*, counts.*
from (
    select distinct on (c.dataset, c.partition, c.suite) c.*, r.state, r.ended_at
    from check_result c join run r using (run_id)
    order by c.dataset, c.partition, c.suite, r.ended_at desc, r.run_id
) newest
cross join lateral (
    select count(*) as evaluated,
           count(*) filter (where not (item->>'success')::boolean and (item->>'blocking')::boolean) as failures,
           count(*) filter (where not (item->>'success')::boolean and not (item->>'blocking')::boolean) as warnings
    from jsonb_array_elements(newest.expectations) item
) counts
order by newest.dataset, newest.suite, newest.partition;

-- name: check_results_of_dataset
select c.*, r.state, r.ended_at, counts.*
from check_result c
join run r using (run_id)
cross join lateral (
    select count(*) as evaluated,
           count(*) filter (where not (item->>'success')::boolean and (item->>'blocking')::boolean) as failures,
           count(*) filter (where not (item->>'success')::boolean and not (item->>'blocking')::boolean) as warnings
    from jsonb_array_elements(c.expectations) item
) counts
where c.dataset = %(dataset)s
  and (%(partition)s::text is null or c.partition = %(partition)s)
  and (%(prefix)s::text is null or starts_with(c.sha256, %(prefix)s))
order by r.ended_at desc, r.run_id
limit %(limit)s;

-- name: newest_results_of_suite
select distinct on (c.dataset) c.*, r.state, r.ended_at
from check_result c join run r using (run_id)
where starts_with(c.dataset, %(pipeline)s || '/') and c.suite = %(suite)s
order by c.dataset, r.ended_at desc, r.run_id;

-- name: delete_check_wording
-- Words quote values of the rows: they go when the rows do.
update check_result c set wording = null
from version v
where (c.dataset, c.partition, c.sha256) = (v.dataset, v.partition, v.sha256) and c.wording is not null
  and exists (select from jsonb_array_elements(v.files) file where file->>'md5' = any(%(md5s)s));

-- name: insert_events
insert into event (kind, run_id, event_type, event_time, digest, body)
select kind, run_id, event_type, event_time, digest, body::json
from unnest(%(kinds)b::text[], %(run_ids)b::text[], %(event_types)b::text[], %(event_times)b::text[]::timestamptz[],
            %(digests)b::uuid[], %(bodies)b::text[])
     as seen (kind, run_id, event_type, event_time, digest, body)
on conflict (event_time, digest) do nothing
returning event_id, event_time, event_type;

-- name: add_event_hours
insert into event_hour (hour, event_type, total)
select * from unnest(%(hours)s::timestamptz[], %(types)s::text[], %(totals)s::bigint[])
on conflict (hour, event_type) do update set total = event_hour.total + excluded.total;

-- name: count_events
-- Whole hours are added up; only the events of those that a bound cuts are counted.
with cut as (
    select date_trunc('hour', %(after)s::timestamptz, 'UTC') as first, date_trunc('hour', %(before)s::timestamptz, 'UTC') as last
)
select coalesce((
           select sum(total - pruned) from event_hour
           where (%(after)s::timestamptz is null or hour >= %(after)s)
             and (%(before)s::timestamptz is null or hour + interval '1 hour' <= %(before)s)
       ), 0)::bigint + (
           select count(*) from event, cut
           where pruned_at is null and first < %(after)s and event_time >= %(after)s and event_time < first + interval '1 hour'
             and (%(before)s::timestamptz is null or event_time < %(before)s)
       ) + (
           -- Unless the one hour is cut by both.
           select count(*) from event, cut
           where pruned_at is null and last < %(before)s and event_time >= last and event_time < %(before)s
             and (%(after)s::timestamptz is null or first = %(after)s or first <> last)
             and (%(after)s::timestamptz is null or event_time >= %(after)s)
       ) as total;

-- name: insert_relay
insert into relay (event_id) values (%(event_id)s);

-- name: delete_relay
delete from relay where event_id = %(event_id)s;

-- name: postpone_relay
update relay
set attempts = attempts + 1, last_error = %(error)s,
    next_attempt_at = now() + least(interval '5 minutes', interval '1 second' * power(2, attempts))
where event_id = %(event_id)s;

-- name: relay_backlog
select count(*) from relay;

-- name: events
select body
from event
where (%(after)s::timestamptz is null or event_time >= %(after)s)
  and (%(before)s::timestamptz is null or event_time < %(before)s)
  and pruned_at is null
order by event_time desc, digest desc
limit %(limit)s offset %(offset)s;

-- name: events_of_namespace
select body, count(*) over () as total
from event
where pruned_at is null
  and (%(namespace)s in (body #>> '{job,namespace}', body #>> '{dataset,namespace}')
       or exists (select from json_array_elements(coalesce(body->'inputs', '[]')) d where d->>'namespace' = %(namespace)s)
       or exists (select from json_array_elements(coalesce(body->'outputs', '[]')) d where d->>'namespace' = %(namespace)s))
order by event_time desc, digest desc
limit %(limit)s offset %(offset)s;

-- name: start_event
-- Of the events of one moment, for the run ids of all that ever were are in no index.
select e.body
from graph_run r join event e on e.event_time = r.started_at
where r.run_id = %(run_id)s and e.run_id = r.run_id::text and e.event_type = 'START'
order by e.event_id limit 1;

-- name: recorded_columns
-- Found by its moment, as the START is.
select output #> '{facets,columnLineage}' as facet
from graph_run r join event e on e.event_time = r.ended_at, json_array_elements(e.body->'outputs') output
where r.run_id = %(run_id)s and e.run_id = r.run_id::text and e.event_type = 'COMPLETE'
  and output->>'name' = %(dataset)s and output #> '{facets,columnLineage}' is not null
order by e.event_id limit 1;

-- name: take_backlog
with taken as (
    delete from graph_backlog
    where event_id in (select event_id from graph_backlog order by event_id limit %(limit)s for update skip locked)
    returning event_id
)
select event_id, body from taken join event using (event_id) order by event_id;

-- name: date_event
-- Kept before events had digests; where the same came more than once, only one has it.
update event e set digest = %(digest)s
where event_id = %(event_id)s
  and not exists (select from event same where same.event_time = e.event_time and same.digest = %(digest)s);

-- name: lock_graph
select pg_advisory_xact_lock(hashtext('headwater graph'));

-- name: upsert_graph_nodes
insert into graph_node as known (node_id, kind, namespace, name, facets, created_at, updated_at)
select node_id, kind, namespace, name, facets, created_at, updated_at
from json_to_recordset(%(rows)s::json)
     as seen (node_id uuid, kind text, namespace text, name text, facets jsonb,
              created_at timestamptz, updated_at timestamptz)
on conflict (node_id) do update set
    -- What is newer in all is common, and cheap.
    facets = case when excluded.created_at > known.updated_at then known.facets || excluded.facets
                  else latest_facets(known.facets, excluded.facets) end,
    created_at = least(known.created_at, excluded.created_at),
    updated_at = greatest(known.updated_at, excluded.updated_at);

-- name: insert_graph_change
insert into graph_change (nodes) values (%(nodes)b::uuid[]) returning change_id;

-- name: trim_graph_changes
-- What changed last stays, a million nodes of it; to read more than that is to read the graph.
delete from graph_change where changed < (
    select max(changed) from (
        select changed, sum(cardinality(nodes)) over (order by changed desc) as total from graph_change
    ) as newest where total > 1000000
);

-- name: known_graph_facets
select digest from graph_facet where digest = any(%(digests)b::uuid[]);

-- name: graph_facets
select digest, body from graph_facet where digest = any(%(digests)s::uuid[]);

-- name: insert_graph_facets
insert into graph_facet (digest, body)
select digest, body from json_to_recordset(%(rows)s::json) as seen (digest uuid, body jsonb)
on conflict do nothing;

-- name: upsert_graph_runs
insert into graph_run as known (run_id, job, state, state_at, ended, started_at, ended_at, created_at, updated_at, facets,
                                settled, has_io, designed)
select run_id, job, state, state_at, ended, started_at, ended_at, created_at, updated_at, facets, settled, has_io, designed
from json_to_recordset(%(rows)s::json)
     as seen (run_id uuid, job uuid, state text, state_at timestamptz, ended boolean, started_at timestamptz,
              ended_at timestamptz, created_at timestamptz, updated_at timestamptz, facets jsonb, settled boolean,
              has_io boolean, designed boolean)
on conflict (run_id, job) do update set
    (state, state_at, ended) = (
        select newest.state, newest.state_at, newest.ended
        from (values (known.state, known.state_at, known.ended),
                     (excluded.state, excluded.state_at, excluded.ended)) as newest (state, state_at, ended)
        order by ended desc, state_at desc, state collate "C" desc limit 1),
    started_at = least(known.started_at, excluded.started_at),
    ended_at = greatest(known.ended_at, excluded.ended_at),
    created_at = least(known.created_at, excluded.created_at),
    updated_at = greatest(known.updated_at, excluded.updated_at),
    facets = latest_facets(known.facets, excluded.facets),
    settled = known.settled or excluded.settled,
    has_io = known.has_io or excluded.has_io,
    -- What is newer than all that was known brings a pruned run back.
    pruned_at = case when excluded.updated_at > known.updated_at then null else known.pruned_at end;

-- name: upsert_graph_io
insert into graph_io as known (run_id, job, dataset, is_output, seen_at, facets)
select run_id, job, dataset, is_output, seen_at, facets
from json_to_recordset(%(rows)s::json)
     as seen (run_id uuid, job uuid, dataset uuid, is_output boolean, seen_at timestamptz, facets jsonb)
on conflict (run_id, job, dataset, is_output) do update set
    seen_at = greatest(known.seen_at, excluded.seen_at),
    facets = latest_facets(known.facets, excluded.facets),
    pruned_at = case when excluded.seen_at > known.seen_at then null else known.pruned_at end;

-- name: insert_graph_edges
insert into graph_edge (job, dataset, is_output)
select job, dataset, is_output
from json_to_recordset(%(rows)s::json) as seen (job uuid, dataset uuid, is_output boolean)
on conflict do nothing;

-- name: upsert_graph_columns
insert into graph_columns as known (job, dataset, seen_at, digest)
select job, dataset, seen_at, digest
from json_to_recordset(%(rows)s::json) as seen (job uuid, dataset uuid, seen_at timestamptz, digest uuid)
on conflict (job, dataset) do update set
    seen_at = excluded.seen_at, digest = excluded.digest,
    -- To say the same again is no change for those who read it.
    changed = case when known.digest = excluded.digest then known.changed else pg_current_xact_id() end
where (excluded.seen_at, excluded.digest) > (known.seen_at, known.digest);

-- name: refresh_graph_edges
-- The run that speaks for a job: the newest settled one that said what it reads or writes, else the newest that did.
-- Limits and offsets keep the planner to one look-up in an index for each job and edge, whatever it believes of the tables.
update graph_edge set current = not current, changed = pg_current_xact_id()
where ctid = any(array(
    select e.place
    from unnest(%(jobs)s::uuid[]) as asked (job)
    cross join lateral (
        select run_id from graph_run r
        where r.job = asked.job and r.has_io
        order by settled desc, updated_at desc, run_id limit 1
    ) speaker
    cross join lateral (
        select ctid as place, dataset, is_output, current from graph_edge where job = asked.job offset 0
    ) e
    left join lateral (
        select true as here from graph_io i
        where i.run_id = speaker.run_id and i.job = asked.job and i.dataset = e.dataset and i.is_output = e.is_output
        limit 1
    ) said on true
    where e.current <> coalesce(said.here, false)
));

-- name: graph_horizon
-- What commits from now on is at or after the horizon, or was already running.
-- The newest stand at the end of an index; to ask whether any is new enough may read them all.
-- Edges come and go only where a job is touched. `forgotten`: not all of the changes since then are on record any more.
select pg_snapshot_xmin(pg_current_snapshot())::text as horizon,
       (select changed from graph_change order by changed desc limit 1) >= %(since)s::xid8 as changed,
       (select changed from graph_change order by changed limit 1) > %(since)s::xid8 as forgotten;

-- name: current_graph_edges
select job, dataset, is_output from graph_edge where current;

-- name: all_graph_nodes
select node_id, kind, namespace, name, facets #> '{symlinks,2,identifiers}' as symlinks,
       coalesce(hidden_at >= updated_at, false) as hidden
from graph_node;

-- name: changed_graph_edges
select job, dataset, is_output, current from graph_edge where changed >= %(since)s::xid8;

-- name: changed_graph_nodes
select node_id, kind, namespace, name, facets #> '{symlinks,2,identifiers}' as symlinks,
       coalesce(hidden_at >= updated_at, false) as hidden
from graph_node
where node_id = any(array(select distinct unnest(nodes) from graph_change where changed >= %(since)s::xid8));

-- name: nodes_as_of
select node_id from graph_node where node_id = any(%(ids)s::uuid[]) and created_at <= %(time)s;

-- name: jobs_that_touched
select distinct job from graph_edge where dataset = any(%(datasets)s::uuid[]);

-- name: job_edges_as_of
-- The rule of today's edges, of the runs that had begun by then; settled are those that had ended by then.
select asked.job, i.dataset, i.is_output
from unnest(%(jobs)s::uuid[]) as asked (job)
cross join lateral (
    select run_id from graph_run r
    where r.job = asked.job and r.has_io and r.created_at <= %(time)s
    order by (r.settled and coalesce(r.ended_at, r.created_at) <= %(time)s) desc, r.updated_at desc, run_id limit 1
) speaker
join graph_io i on i.run_id = speaker.run_id and i.job = asked.job;

-- name: datasets_of_runs
select distinct dataset from graph_io where run_id = any(%(runs)s::uuid[]);

-- name: dataset_history
-- Who wrote and who read these datasets, and which version: of a write one that is named, or that of a complete run; of
-- a read that of the project's own records, or one that is named.
select i.run_id, i.job, i.dataset, i.is_output, r.run_id is not null as is_run,
       case when i.is_output then i.seen_at else coalesce(r.started_at, r.created_at) end as at,
       case when i.is_output and not i.facets ? 'version'
            then case when r.state = 'COMPLETE' then md5('version' || i.dataset::text || i.run_id::text)::uuid::text end
            else i.facets #>> '{version,2,datasetVersion}' end as version,
       case when not i.is_output then
            (select array_agg(distinct own.sha256) from run_input own
             where own.run_id = i.run_id and own.dataset = n.name) end as own_versions
from graph_io i
join graph_node n on n.node_id = i.dataset
left join graph_run r on r.run_id = i.run_id and r.job = i.job and not r.designed
where i.dataset = any(%(datasets)s::uuid[]) and (r.run_id is not null or i.is_output)
  and i.pruned_at is null and r.pruned_at is null
order by at, i.run_id, i.job;

-- name: graph_runs
select r.run_id, j.namespace, j.name as job, r.state, r.started_at, r.ended_at, r.created_at, r.updated_at, r.facets
from graph_run r join graph_node j on j.node_id = r.job
where r.run_id = any(%(runs)s::uuid[]) and not r.designed and r.pruned_at is null
order by r.updated_at, j.node_id;

-- name: io_of_runs
select i.run_id, i.job, i.dataset, i.is_output, i.facets, j.namespace as job_namespace, j.name as job_name
from graph_io i join graph_node j on j.node_id = i.job
where i.run_id = any(%(runs)s::uuid[])
order by i.run_id, i.job, i.dataset, i.is_output;

-- name: job_facets_of_runs
-- What the events of a run's own moments said of its job: facets of a job are kept as of today only.
select r.run_id, j.namespace, j.name, e.event_time, e.body #> '{job,facets}' as facets
from graph_run r
join graph_node j on j.node_id = r.job
join event e on e.event_time = any(array[r.started_at, r.ended_at, r.created_at, r.updated_at])
where r.run_id = any(%(runs)s::uuid[]) and lower(e.run_id) = r.run_id::text
  and e.body #>> '{job,name}' = j.name and e.body #>> '{job,namespace}' = j.namespace
order by e.event_time, e.digest;

-- name: speakers_as_of
-- The runs whose edges job_edges_as_of tells.
select asked.job, speaker.run_id
from unnest(%(jobs)s::uuid[]) as asked (job)
cross join lateral (
    select run_id from graph_run r
    where r.job = asked.job and r.has_io and not r.designed and r.created_at <= %(time)s
    order by (r.settled and coalesce(r.ended_at, r.created_at) <= %(time)s) desc, r.updated_at desc, run_id limit 1
) speaker;

-- name: speakers
-- The runs whose edges are current, as refresh_graph_edges chooses them; of what only JobEvents say, `designed`.
select asked.job, speaker.run_id, speaker.designed
from unnest(%(jobs)s::uuid[]) as asked (job)
cross join lateral (
    select run_id, designed from graph_run r
    where r.job = asked.job and r.has_io
    order by settled desc, updated_at desc, run_id limit 1
) speaker;

-- name: events_of_runs
-- As far as they are of these jobs (of any where that is null). Found by their moments, for run ids are in no index; the
-- run of a JobEvent is only the graph's.
select e.event_id, e.event_time, e.body
from jsonb_to_recordset(%(runs)s) as asked (run_id uuid, job uuid)
join graph_run r on r.run_id = asked.run_id and (asked.job is null or r.job = asked.job)
join graph_node j on j.node_id = r.job
cross join lateral (
    select event_id, event_time, body from event
    where event_time between r.created_at and r.updated_at
      and case when r.designed then kind = 'job' else lower(run_id) = r.run_id::text end
    offset 0
) e
where e.body #>> '{job,name}' = j.name and e.body #>> '{job,namespace}' = j.namespace
  and (%(until)s::timestamptz is null or e.event_time <= %(until)s)
order by e.event_time, e.event_id;

-- name: events_about
-- The JobEvents and DatasetEvents of these moments about these nodes.
select e.event_id, e.event_time, e.body
from jsonb_to_recordset(%(said)s) as asked (kind text, namespace text, name text, time timestamptz)
join event e on e.event_time = asked.time and e.kind = asked.kind
where e.body #>> array[asked.kind, 'name'] = asked.name and e.body #>> array[asked.kind, 'namespace'] = asked.namespace
  and (%(until)s::timestamptz is null or e.event_time <= %(until)s)
order by e.event_time, e.event_id;

-- name: graph_nodes
select node_id, kind, namespace, name, facets, created_at, updated_at
from graph_node where node_id = any(%(ids)s::uuid[])
order by kind, namespace, name;

-- name: facets_of_io
select i.run_id, i.job, i.dataset, i.is_output, i.facets, i.seen_at, j.namespace as job_namespace, j.name as job_name,
       r.state
from jsonb_to_recordset(%(places)s) as asked (run_id uuid, job uuid, dataset uuid, is_output boolean)
join graph_io i using (run_id, job, dataset, is_output)
left join graph_run r on r.run_id = i.run_id and r.job = i.job
left join graph_node j on j.node_id = i.job;

-- name: graph_columns_horizon
select pg_snapshot_xmin(pg_current_snapshot())::text as horizon,
       coalesce((select changed from graph_columns order by changed desc limit 1) >= %(since)s::xid8, false) as changed;

-- name: changed_graph_columns
select distinct dataset from graph_columns where changed >= %(since)s::xid8;

-- name: columns_into
select dataset, body from graph_columns join graph_facet using (digest)
where dataset = any(%(datasets)s::uuid[]) order by dataset, job;

-- name: columns_out_of
-- Of which datasets columns may come from these: whatever a job's columns name it was seen to read.
select distinct c.dataset from graph_edge e join graph_columns c on c.job = e.job
where e.dataset = any(%(datasets)s::uuid[]) and not e.is_output;

-- name: columns_of_job
select dataset, body from graph_columns join graph_facet using (digest) where job = %(job)s order by dataset;

-- name: graph_fields
select n.node_id, f.body->'fields' as fields
from graph_node n join graph_facet f on f.digest = (n.facets #>> '{schema,1}')::uuid
where n.node_id = any(%(ids)s::uuid[]);

-- name: runs
select r.run_id, r.job as job_id, j.namespace, j.name as job, r.state, r.started_at, r.ended_at, r.created_at, r.updated_at,
       r.facets
from graph_run r join graph_node j on j.node_id = r.job
where r.run_id = any(%(ids)s::uuid[]) and not r.designed and r.pruned_at is null
order by r.updated_at desc, r.run_id;

-- name: run_io
-- Without the facets that are kept elsewhere.
select i.run_id, i.job, i.is_output, d.namespace, d.name, i.facets - 'schema' - 'columnLineage' as facets
from graph_io i join graph_node d on d.node_id = i.dataset
where i.run_id = any(%(ids)s::uuid[])
order by d.namespace, d.name;

-- name: job_runs
select r.run_id, r.job as job_id, j.namespace, j.name as job, r.state, r.started_at, r.ended_at, r.created_at, r.updated_at, r.facets
from graph_run r join graph_node j on j.node_id = r.job
where r.job = %(job)s and not r.designed and r.pruned_at is null
order by r.updated_at desc, r.run_id
limit %(limit)s offset %(offset)s;

-- name: latest_runs
-- Their facets are told where one run is asked for.
select r.run_id, j.node_id as job_id, j.namespace, j.name as job, r.state, r.started_at, r.ended_at, r.created_at,
       r.updated_at, '{}'::jsonb as facets
from graph_node j
cross join lateral (
    select * from graph_run where job = j.node_id and not designed and pruned_at is null order by updated_at desc, run_id limit %(limit)s
) r
where j.node_id = any(%(ids)s::uuid[])
order by r.updated_at desc, r.run_id;

-- name: count_job_runs
select count(*) as total from graph_run where job = %(job)s and not designed and pruned_at is null;

-- name: dataset_versions
-- Those that events name, each as it was first written; and of complete runs that named none, one a run.
select version, count(*) over () as total, run_id, seen_at, facets, job_namespace, job, state
from (
    select distinct on (i.facets #>> '{version,2,datasetVersion}', case when i.facets ? 'version' then null else i.run_id end)
           coalesce(i.facets #>> '{version,2,datasetVersion}',
                    md5('version' || i.dataset::text || i.run_id::text)::uuid::text) as version,
           i.run_id, i.seen_at, i.facets,
           j.namespace as job_namespace, j.name as job, r.state
    from graph_io i
    left join graph_run r on r.run_id = i.run_id and r.job = i.job
    left join graph_node j on j.node_id = i.job
    where i.dataset = any(%(ids)s::uuid[]) and i.is_output and (i.facets ? 'version' or r.state = 'COMPLETE')
      and i.pruned_at is null and r.pruned_at is null
    order by i.facets #>> '{version,2,datasetVersion}', case when i.facets ? 'version' then null else i.run_id end,
             i.seen_at, i.run_id
) written
where %(version)s::text is null or version = %(version)s
order by seen_at desc, run_id
limit %(limit)s offset %(offset)s;

-- name: graph_datasets
select node_id, namespace, name, facets, created_at, updated_at
from graph_node where node_id = any(%(ids)s::uuid[]);

-- name: graph_jobs
select j.node_id, j.namespace, j.name, j.facets, j.created_at, j.updated_at, to_jsonb(r) as latest_run
from graph_node j
left join lateral (
    select run_id, state, started_at, ended_at, created_at, updated_at, facets from graph_run
    where job = j.node_id and not designed and pruned_at is null
    order by updated_at desc, run_id limit 1
) r on true
where j.node_id = any(%(ids)s::uuid[]);

-- name: graph_namespaces
-- Those of what is there, and those that somebody declared.
with seen as (
    select namespace as name, min(created_at) as created_at, max(updated_at) as updated_at
    from graph_node where hidden_at is null or hidden_at < updated_at
    group by namespace
)
select name, least(seen.created_at, said.created_at) as created_at, greatest(seen.updated_at, said.updated_at) as updated_at,
       said.owner_name, said.description
from seen full join graph_namespace said using (name)
where seen.name is not null or said.hidden_at is null
order by name;

-- name: set_namespace
insert into graph_namespace (name, owner_name, description) values (%(name)s, %(owner)s, %(description)s)
on conflict (name) do update set
    owner_name = excluded.owner_name, description = excluded.description, hidden_at = null, updated_at = now();

-- name: hide_namespace
insert into graph_namespace (name, hidden_at) values (%(name)s, now())
on conflict (name) do update set hidden_at = now(), updated_at = now();

-- name: hide_nodes_of_namespace
with hidden as (
    update graph_node set hidden_at = now() where namespace = %(name)s returning node_id
)
insert into graph_change (nodes) select array_agg(node_id) from hidden having count(*) > 0;

-- name: hide_nodes
with hidden as (
    update graph_node set hidden_at = now() where node_id = any(%(ids)s::uuid[]) returning node_id
)
insert into graph_change (nodes) select array_agg(node_id) from hidden having count(*) > 0;

-- name: sources
-- Those that somebody declared, and those that facets of datasets name.
with seen as (
    select facets #>> '{dataSource,2,name}' as name, max(facets #>> '{dataSource,2,uri}') as url,
           min(created_at) as created_at, max(updated_at) as updated_at
    from graph_node where facets ? 'dataSource' and (hidden_at is null or hidden_at < updated_at)
    group by 1
)
select name, coalesce(said.type, upper(split_part(seen.url, ':', 1)), '') as type, coalesce(said.connection_url, seen.url, '') as url,
       said.description, least(seen.created_at, said.created_at) as created_at,
       greatest(seen.updated_at, said.updated_at) as updated_at, count(*) over () as total
from seen full join graph_source said using (name)
where name is not null and (%(name)s::text is null or name = %(name)s)
order by name
limit %(limit)s offset %(offset)s;

-- name: set_source
insert into graph_source (name, type, connection_url, description)
values (%(name)s, %(type)s, %(url)s, %(description)s)
on conflict (name) do update set
    type = excluded.type, connection_url = excluded.connection_url, description = excluded.description, updated_at = now();

-- name: tags
select name, description from graph_tag order by name limit %(limit)s offset %(offset)s;

-- name: set_tag
insert into graph_tag (name, description) values (%(name)s, %(description)s)
on conflict (name) do update set description = coalesce(excluded.description, graph_tag.description), updated_at = now();

-- name: set_tagged
insert into graph_tagged (node_id, field, tag, removed) values (%(node)s, %(field)s, %(tag)s, %(removed)s)
on conflict (node_id, field, tag) do update set removed = excluded.removed, said_at = now();

-- name: touch_node
-- Readers that keep the graph in memory tell it anew.
insert into graph_change (nodes) values (array[%(node)s::uuid]);

-- name: tagged
select node_id, field, tag, removed from graph_tagged where node_id = any(%(ids)s::uuid[]) order by said_at, tag;

-- name: job_versions
-- What a job read and wrote together, by the runs that did: each set is a version.
with io as (
    select r.run_id, r.created_at, r.updated_at,
           array_agg(i.dataset order by i.dataset) filter (where not i.is_output) as inputs,
           array_agg(i.dataset order by i.dataset) filter (where i.is_output) as outputs
    from graph_run r join graph_io i using (run_id, job)
    where r.job = %(job)s and r.has_io and r.settled and r.pruned_at is null
    group by r.run_id, r.created_at, r.updated_at
), versions as (
    select md5(%(job)s::text || coalesce(inputs::text, '') || coalesce(outputs::text, ''))::uuid as version, inputs, outputs,
           min(created_at) as created_at, max(updated_at) as updated_at,
           (array_agg(run_id order by updated_at desc, run_id))[1] as run_id
    from io group by inputs, outputs
)
select version, created_at, updated_at, run_id, count(*) over () as total,
       (select json_agg(json_build_object('namespace', namespace, 'name', name) order by namespace, name)
        from graph_node where node_id = any(inputs)) as inputs,
       (select json_agg(json_build_object('namespace', namespace, 'name', name) order by namespace, name)
        from graph_node where node_id = any(outputs)) as outputs
from versions
where %(version)s::uuid is null or version = %(version)s
order by updated_at desc, version
limit %(limit)s offset %(offset)s;

-- name: jobs_by_last_state
select j.node_id, count(*) over () as total
from graph_node j
cross join lateral (
    select state from graph_run where job = j.node_id and not designed and pruned_at is null order by updated_at desc, run_id limit 1
) last
where j.kind = 'job' and (%(namespace)s::text is null or j.namespace = %(namespace)s)
  and (j.hidden_at is null or j.hidden_at < j.updated_at) and last.state = any(%(states)s::text[])
order by j.namespace collate "C", j.name collate "C"
limit %(limit)s offset %(offset)s;

-- name: event_counts
-- Events of each kind in each interval of a period that ends now.
with ends as (
    select local at time zone %(zone)s as start, (local + %(step)s::interval) at time zone %(zone)s as finish
    from (select date_trunc(%(unit)s, now() at time zone %(zone)s) as newest) now,
         generate_series(newest - %(step)s::interval * (%(steps)s - 1), newest, %(step)s::interval) as local
)
select start, finish,
       coalesce(sum(total) filter (where event_type = 'START'), 0)::bigint as start_count,
       coalesce(sum(total) filter (where event_type = 'COMPLETE'), 0)::bigint as complete,
       coalesce(sum(total) filter (where event_type = 'FAIL'), 0)::bigint as fail,
       coalesce(sum(total) filter (where event_type = 'ABORT'), 0)::bigint as abort
from ends left join event_hour on hour >= start and hour < finish
group by start, finish
order by start;

-- name: node_counts
-- How many there were of a kind at the end of each interval.
with ends as (
    select local at time zone %(zone)s as start, (local + %(step)s::interval) at time zone %(zone)s as finish
    from (select date_trunc(%(unit)s, now() at time zone %(zone)s) as newest) now,
         generate_series(newest - %(step)s::interval * (%(steps)s - 1), newest, %(step)s::interval) as local
), firsts as (
    select created_at from graph_node where kind = %(kind)s and (hidden_at is null or hidden_at < updated_at)
    union all
    select min(created_at)
    from (
        select facets #>> '{dataSource,2,name}' as name, created_at from graph_node
        where facets ? 'dataSource' and (hidden_at is null or hidden_at < updated_at)
        union all
        select name, created_at from graph_source
    ) source
    where %(kind)s = 'source' and name is not null
    group by name
)
select start, finish, (select count(*) from firsts where created_at < finish) as count from ends order by start;

-- name: graph_run
select r.run_id, r.job as job_id, j.namespace, j.name as job, r.state, r.started_at, r.ended_at, r.created_at, r.updated_at, r.facets
from graph_run r join graph_node j on j.node_id = r.job
where r.run_id = %(run_id)s and not r.designed and r.pruned_at is null
order by r.updated_at desc, j.node_id;

-- name: pruned_run
select pruned_at from graph_run where run_id = %(run_id)s and pruned_at is not null limit 1;

-- name: retention_horizon
-- Of what was before it not all is told.
select max(before) as horizon from pruning;

-- name: insert_pruning
insert into pruning (pruned_at, before) values (clock_timestamp(), %(before)s)
returning pruned_at, (select greatest(max(before), %(before)s) from pruning) as horizon;

-- name: delete_pruning
delete from pruning where pruned_at = %(pruned_at)s;

-- name: clear_needed
delete from graph_needed;

-- name: insert_needed
-- A run is needed for the first reason that is told.
insert into graph_needed (job, run_id, rank, reason)
select r.job, r.run_id, %(rank)s, %(reason)s
from unnest(%(runs)s::uuid[]) as needed (run_id) join graph_run r using (run_id)
on conflict do nothing;

-- name: insert_unsent
insert into graph_needed (job, run_id, rank, reason)
select distinct r.job, r.run_id, %(rank)s, %(reason)s
from relay join event e using (event_id) join graph_run r on r.run_id = e.run_id::uuid
on conflict do nothing;

-- name: nodes_behind
select node_id from graph_node
where kind = %(kind)s and (%(last)s::uuid is null or node_id > %(last)s)
order by node_id limit %(limit)s;

-- name: release_runs
-- Of these jobs those that were pruned and are needed, or newest, by now.
update graph_run r set pruned_at = null
from kept_runs(%(jobs)s::uuid[], %(horizon)s) k
where (r.run_id, r.job) = (k.run_id, k.job) and r.pruned_at is not null;

-- name: mark_runs
with kept as materialized (
    select run_id, job from kept_runs(%(jobs)s::uuid[], %(horizon)s)
), old as (
    select r.run_id, r.job
    from unnest(%(jobs)s::uuid[]) as asked (job)
    cross join lateral (
        select run_id, job from graph_run
        where job = asked.job and not designed and pruned_at is null and updated_at < %(before)s and ended
        union all
        select run_id, job from graph_run
        where job = asked.job and designed and pruned_at is null and updated_at < %(before)s
    ) r
    where not exists (select from kept k where (k.run_id, k.job) = (r.run_id, r.job))
    limit %(limit)s
)
update graph_run r set pruned_at = %(pruned_at)s from old where (r.run_id, r.job) = (old.run_id, old.job)
returning r.designed;

-- name: old_runs
-- How many there are from before a time, by why they stay; without a reason they may go.
with kept as materialized (
    select distinct on (run_id, job) run_id, job, rank, reason
    from kept_runs(%(jobs)s::uuid[], %(horizon)s) order by run_id, job, rank
)
select r.designed, coalesce(k.rank, 99) as rank, coalesce(k.reason, case when not r.ended then 'not ended' end) as reason,
       count(*) as total
from unnest(%(jobs)s::uuid[]) as asked (job)
cross join lateral (
    select run_id, job, designed, ended from graph_run
    where job = asked.job and not designed and pruned_at is null and updated_at < %(before)s
    union all
    select run_id, job, true, true from graph_run
    where job = asked.job and designed and pruned_at is null and updated_at < %(before)s
) r
left join kept k on (k.run_id, k.job) = (r.run_id, r.job)
group by 1, 2, 3;

-- name: release_versions
update graph_io i set pruned_at = null
from newest_of_datasets(%(datasets)s::uuid[], %(horizon)s) k
where (i.run_id, i.job, i.dataset) = (k.run_id, k.job, k.dataset) and i.is_output and i.pruned_at is not null;

-- name: mark_versions
-- Those that no run wrote.
with kept as materialized (
    select run_id, job, dataset from newest_of_datasets(%(datasets)s::uuid[], %(horizon)s)
), old as (
    select i.run_id, i.job, i.dataset
    from graph_io i
    where i.dataset = any(%(datasets)s::uuid[]) and i.job = '00000000-0000-0000-0000-000000000000'
      and i.seen_at < %(before)s and i.pruned_at is null
      and not exists (select from kept k where (k.run_id, k.job, k.dataset) = (i.run_id, i.job, i.dataset))
    limit %(limit)s
)
update graph_io i set pruned_at = %(pruned_at)s
from old where (i.run_id, i.job, i.dataset) = (old.run_id, old.job, old.dataset) and i.is_output;

-- name: old_versions
with kept as materialized (
    select run_id, job, dataset from newest_of_datasets(%(datasets)s::uuid[], %(horizon)s)
)
select count(*) filter (where k.run_id is null) as total, count(k.run_id) as kept
from graph_io i left join kept k using (run_id, job, dataset)
where i.dataset = any(%(datasets)s::uuid[]) and i.job = '00000000-0000-0000-0000-000000000000'
  and i.seen_at < %(before)s and i.pruned_at is null;

-- name: mark_events
-- The next page of events from before a time, in the order of time; those whose runs were pruned are marked.
with page as materialized (
    select e.event_id, e.event_time, e.event_type, event_stays(e) as stays
    from event e
    where e.pruned_at is null and e.event_time < %(before)s and e.event_time >= %(time)s
      and (e.event_time, e.event_id) > (%(time)s, %(event_id)s)
    order by e.event_time, e.event_id limit %(limit)s
), marked as (
    update event e set pruned_at = %(pruned_at)s from page
    where e.event_id = page.event_id and not page.stays
    returning e.event_time, e.event_type
), counted as (
    update event_hour h set pruned = h.pruned + seen.total
    from (select date_trunc('hour', event_time, 'UTC') as hour, coalesce(event_type, '') as event_type, count(*) as total
          from marked group by 1, 2) seen
    where (h.hour, h.event_type) = (seen.hour, seen.event_type)
)
select count(*) as total, count(*) filter (where stays) as kept, max(event_time) as time,
       (array_agg(event_id order by event_time desc, event_id desc))[1] as event_id
from page;

-- name: settle_events
-- The next page of pruned events: those whose runs are back come back, the others that were pruned until a time go for good.
with page as materialized (
    select e.event_id, e.pruned_at, event_stays(e) as stays
    from event e where e.pruned_at is not null and e.event_id > %(event_id)s
    order by e.event_id limit %(limit)s
), gone as (
    delete from event e using page where e.event_id = page.event_id and not page.stays and page.pruned_at <= %(until)s::timestamptz
    returning e.event_id
), back as (
    update event e set pruned_at = null from page where e.event_id = page.event_id and page.stays
    returning e.event_time, e.event_type
), counted as (
    update event_hour h set pruned = h.pruned - seen.total
    from (select date_trunc('hour', event_time, 'UTC') as hour, coalesce(event_type, '') as event_type, count(*) as total
          from back group by 1, 2) seen
    where (h.hour, h.event_type) = (seen.hour, seen.event_type)
)
select count(*) as total, max(event_id) as event_id, (select count(*) from gone) as gone, (select count(*) from back) as back
from page;

-- name: note_purge
-- Noted first: what of them a crash leaves is not brought back any more.
update pruning set purged_at = coalesce(purged_at, now()) where pruned_at <= %(until)s;

-- name: purged_until
select max(pruned_at) as time from pruning where purged_at is not null;

-- name: purgeable_jobs
select distinct job
from (select job from graph_run where pruned_at <= %(until)s limit %(limit)s) doomed;

-- name: purge_runs
with doomed as materialized (
    select run_id, job from graph_run where pruned_at <= %(until)s and job = any(%(jobs)s::uuid[]) limit %(limit)s
), io as (
    delete from graph_io i using doomed d where (i.run_id, i.job) = (d.run_id, d.job)
)
delete from graph_run r using doomed d where (r.run_id, r.job) = (d.run_id, d.job)
returning r.designed;

-- name: purgeable_datasets
select distinct dataset
from (select dataset from graph_io where pruned_at <= %(until)s limit %(limit)s) doomed;

-- name: purge_versions
delete from graph_io where ctid = any(array(
    select ctid from graph_io where pruned_at <= %(until)s and dataset = any(%(datasets)s::uuid[]) limit %(limit)s
));

-- name: restore_runs
update graph_run set pruned_at = null
where ctid = any(array(select ctid from graph_run where pruned_at > coalesce(%(after)s::timestamptz, '-infinity') limit %(limit)s))
returning designed;

-- name: restore_versions
update graph_io set pruned_at = null
where ctid = any(array(select ctid from graph_io where pruned_at > coalesce(%(after)s::timestamptz, '-infinity') limit %(limit)s));

-- name: restore_events
with back as (
    update event set pruned_at = null
    where ctid = any(array(select ctid from event where pruned_at > coalesce(%(after)s::timestamptz, '-infinity') limit %(limit)s))
    returning event_time, event_type
), counted as (
    update event_hour h set pruned = h.pruned - seen.total
    from (select date_trunc('hour', event_time, 'UTC') as hour, coalesce(event_type, '') as event_type, count(*) as total
          from back group by 1, 2) seen
    where (h.hour, h.event_type) = (seen.hour, seen.event_type)
)
select count(*) as total from back;

-- name: undo_prunings
delete from pruning where purged_at is null;

-- name: insert_dagster_report
insert into dagster_report (dataset, partition, body) values (%(dataset)s, %(partition)s, %(body)s);

-- name: open_dagster_reports
select report_id, dataset, partition, body
from dagster_report where reported_at is null
order by report_id
for update skip locked;

-- name: close_dagster_report
update dagster_report set reported_at = now() where report_id = %(report_id)s;

-- name: run
select run_id, step, partition, state, fingerprint, code, parameters, declaration, environment, door, commit_sha,
       started_at, ended_at, error
from run where run_id = %(run_id)s;

-- name: run_inputs
select i.name, v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from run_input i join version v using (dataset, partition, sha256)
where i.run_id = %(run_id)s
order by i.ordinal;

-- name: run_that_wrote
select r.run_id
from run_output o join run r using (run_id)
where o.dataset = %(dataset)s and o.partition = %(partition)s and o.sha256 = %(sha256)s and r.state = 'COMPLETE'
order by (r.ended_at <= %(before)s::timestamptz) desc, r.ended_at desc
limit 1;

-- name: runs_that_wrote_ended
select coalesce(array_agg(r.ended_at order by r.ended_at), '{}') as ended_at
from run_output o join run r using (run_id)
where o.dataset = %(dataset)s and o.partition = %(partition)s and o.sha256 = %(sha256)s and r.state = 'COMPLETE';

-- name: table_read_from
select v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from run_input i
join run r using (run_id)
join run_output o using (run_id)
join version v on (v.dataset, v.partition, v.sha256) = (o.dataset, o.partition, o.sha256)
where i.name = 'raw' and (i.dataset, i.partition, i.sha256) = (%(dataset)s, %(partition)s, %(sha256)s)
  and r.state = 'COMPLETE'
order by r.ended_at desc, r.run_id, o.dataset like '%%.quarantine'
limit 1;

-- name: insert_bundle
insert into bundle (model, digest, dataset, run_id, metrics)
values (%(model)s, %(digest)s, %(dataset)s, %(run_id)s, %(metrics)s)
on conflict (model, digest) do update set metrics = excluded.metrics, run_id = excluded.run_id;

-- name: set_alias
insert into model_alias (model, alias, digest) values (%(model)s, %(alias)s, %(digest)s)
on conflict (model, alias) do update set digest = excluded.digest, set_at = now()
where model_alias.digest <> excluded.digest;

-- name: bundles
select b.model, b.digest, b.dataset, b.run_id, b.metrics, b.created_at,
       coalesce(array_agg(a.alias order by a.alias) filter (where a.alias is not null), '{}') as aliases
from bundle b left join model_alias a using (model, digest)
where %(model)s::text is null or b.model = %(model)s
group by b.model, b.digest
order by b.model, b.created_at desc;

-- name: champion
select b.model, b.digest, b.dataset, b.run_id, b.metrics
from model_alias a join bundle b using (model, digest)
where a.alias = 'champion' and a.model = %(model)s;

-- name: aliases
select alias, digest, set_at from model_alias where model = %(model)s;

-- name: bundle
select model, digest, dataset, run_id, metrics from bundle where model = %(model)s and digest = %(digest)s;

-- name: undecided_models
select c.model, c.digest
from model_alias c
where c.alias = 'challenger'
  and not exists (select from model_alias a where a.model = c.model and a.alias = 'champion' and a.digest = c.digest)
  and not exists (select from promotion p where p.model = c.model and p.decided_at >= c.set_at)
  and (c.settled_at is null or c.settled_at < c.set_at)
order by c.model;

-- name: settle_challenger
update model_alias set settled_at = now()
where model = %(model)s and alias = 'challenger' and digest = %(digest)s
  and (settled_at is null or settled_at < set_at);

-- name: insert_promotion
insert into promotion (model, digest, champion_before, promoted, decided_by, facts, conditions)
values (%(model)s, %(digest)s, %(champion_before)s, %(promoted)s, %(decided_by)s, %(facts)s, %(conditions)s)
returning promotion_id, decided_at;

-- name: promotions
select promotion_id, model, digest, champion_before, promoted, decided_by, facts, conditions, decided_at
from promotion where model = %(model)s
order by promotion_id desc;

-- name: insert_prediction
insert into prediction (prediction_id, model, digest, made_at, caller, engine, request_sha256, features_from)
values (%(prediction_id)s, %(model)s, %(digest)s, %(made_at)s, %(caller)s, %(engine)s, %(request_sha256)s,
        %(features_from)s);

-- name: prediction
select p.prediction_id, p.model, p.digest, p.made_at, p.caller, p.engine, p.request_sha256, p.features_from,
       b.dataset as bundle_dataset, b.run_id as bundle_run_id, b.metrics,
       (select count(*) from prediction_row r where r.prediction_id = p.prediction_id) as row_count
from prediction p join bundle b using (model, digest)
where p.prediction_id = %(prediction_id)s;

-- name: predicted
select asked.place, p.prediction_id, p.model, p.digest, p.made_at, p.caller, p.engine, p.request_sha256,
       p.features_from, b.dataset as bundle_dataset, b.run_id as bundle_run_id,
       r.ordinal, r.key, r.dataset, r.partition, r.sha256, r.position, r.features, r.margin_bits
from unnest(%(ids)s::uuid[], %(ordinals)s::int[]) with ordinality as asked (prediction_id, ordinal, place)
join prediction p using (prediction_id)
join bundle b using (model, digest)
left join lateral (
    -- Of an answer of several rows that is called by its bare id: two are enough to see that.
    select * from prediction_row r
    where r.prediction_id = asked.prediction_id and (asked.ordinal is null or r.ordinal = asked.ordinal)
    limit 2
) r on true
order by asked.place;

-- name: predicted_versions
select distinct dataset, partition, sha256 from prediction_row where dataset is not null;

-- name: served_bundles
select distinct v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from bundle b join version v on v.dataset = b.dataset and v.sha256 = b.digest
where exists (select 1 from prediction p where p.model = b.model and p.digest = b.digest)
   or exists (select 1 from model_alias a where a.model = b.model and a.digest = b.digest)
order by v.dataset, v.sha256;

-- name: insert_prediction_rows
insert into prediction_row
    (prediction_id, ordinal, key, dataset, partition, sha256, position, features, margin_bits)
select %(prediction_id)s, ordinal, key, dataset, partition, sha256, position, features, margin_bits
from jsonb_to_recordset(%(rows)s) as r
    (ordinal int, key text, dataset text, partition text, sha256 text, position bigint, features jsonb, margin_bits text);

-- name: prediction_rows
select prediction_id, ordinal, key, dataset, partition, sha256, position, features, margin_bits
from prediction_row
where prediction_id = %(prediction_id)s
order by ordinal;

-- name: ping
select 1 as ok;

-- name: events_oldest_first
select body
from event
where (%(after)s::timestamptz is null or event_time >= %(after)s)
  and (%(before)s::timestamptz is null or event_time < %(before)s)
  and pruned_at is null
order by event_time, digest
limit %(limit)s offset %(offset)s;

-- name: events_behind
select event_time, digest, body
from event
where digest is not null and pruned_at is null
  and (%(time)s::timestamptz is null or (event_time, digest) > (%(time)s, %(digest)s::uuid))
  and (%(since)s::timestamptz is null or event_time >= %(since)s)
  and (%(until)s::timestamptz is null or event_time < %(until)s)
  and (%(namespace)s::text is null or %(namespace)s in (body #>> '{job,namespace}', body #>> '{dataset,namespace}'))
order by event_time, digest
limit %(limit)s;

-- name: relay_queue
-- What is due and whose turn it is. An event that waits for a backend that was away holds back those after it;
-- one that the backend refused does not.
select r.event_id, e.body, r.attempts
from relay r join event e using (event_id)
where r.next_attempt_at <= now()
  and r.event_id < coalesce(
      (select min(event_id) from relay where next_attempt_at > now() and last_error not like 'refused: %%'),
      r.event_id + 1)
order by r.event_id
limit %(limit)s;

-- name: refuse_relay
update relay
set attempts = attempts + 1, last_error = 'refused: ' || %(error)s, next_attempt_at = now() + interval '1 day'
where event_id = %(event_id)s;

-- name: foundation
-- Versions and all that they came from, through every complete run that wrote them.
with recursive needed as (
    select dataset, partition, sha256
    from unnest(%(datasets)s::text[], %(partitions)s::text[], %(digests)s::text[]) as root (dataset, partition, sha256)
    union
    select i.dataset, i.partition, i.sha256
    from needed n
    join run_output o using (dataset, partition, sha256)
    join run r on r.run_id = o.run_id and r.state = 'COMPLETE'
    join run_input i on i.run_id = o.run_id
)
select v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from needed join version v using (dataset, partition, sha256)
order by v.dataset, v.partition, v.sha256;

-- name: writings
select o.dataset, o.partition as output_partition, o.sha256, o.lineage,
       r.run_id, r.step, r.partition, r.fingerprint, r.code, r.parameters, r.environment, r.commit_sha, r.started_at,
       r.ended_at,
       coalesce((select jsonb_agg(jsonb_build_array(i.name, i.dataset, i.partition, i.sha256) order by i.ordinal)
                 from run_input i where i.run_id = r.run_id), '[]'::jsonb) as inputs
from unnest(%(datasets)s::text[], %(partitions)s::text[], %(digests)s::text[]) as n (dataset, partition, sha256)
join run_output o using (dataset, partition, sha256)
join run r on r.run_id = o.run_id and r.state = 'COMPLETE'
order by r.ended_at desc, r.run_id;

-- name: manifest
select body, signature, signed_at from manifest where dataset = %(dataset)s and sha256 = %(sha256)s;

-- name: set_manifest
insert into manifest (dataset, sha256, body, signature, signed_at)
values (%(dataset)s, %(sha256)s, %(body)s, %(signature)s, now())
on conflict (dataset, sha256)
do update set body = excluded.body, signature = excluded.signature, signed_at = excluded.signed_at;

-- name: aliased_bundles
select distinct v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from model_alias a join bundle b using (model, digest)
join version v on v.dataset = b.dataset and v.sha256 = b.digest
order by v.dataset, v.sha256;

-- name: predicting_bundles
select distinct v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin
from bundle b join version v on v.dataset = b.dataset and v.sha256 = b.digest
where exists (select from prediction p where p.model = b.model and p.digest = b.digest)
order by v.dataset, v.sha256;

-- name: prediction_counts
-- How many predicted rows rest on each pair of a bundle and a version of the table that they came from, if from one.
select b.dataset as bundle, b.digest, r.dataset, r.partition, r.sha256, count(*) as predictions
from prediction p join bundle b using (model, digest)
join prediction_row r on r.prediction_id = p.prediction_id
group by b.dataset, b.digest, r.dataset, r.partition, r.sha256;

-- name: insert_freed_objects
insert into freed_object (md5, size_bytes)
select * from unnest(%(md5s)s::text[], %(sizes)s::bigint[])
on conflict (md5) do update set size_bytes = excluded.size_bytes, freed_at = now();

-- name: freed_object
select freed_at from freed_object where md5 = %(md5)s;

-- name: lock
select pg_advisory_lock(%(number)s);

-- name: try_lock
select pg_try_advisory_lock(%(number)s) as got;

-- name: unlock
select pg_advisory_unlock(%(number)s);

-- name: named_datasets
select dataset from version group by dataset order by dataset;

-- name: named_models
select model, dataset from bundle group by model, dataset order by model;

-- name: recorded_paths
select distinct file ->> 'path' as path from version, jsonb_array_elements(files) as file order by path;

-- name: named_versions
-- Versions of a dataset, of all that a file's path belongs to, or both; of each partition the current one first, then
-- those that were current before. A raw file that no step wrote is dated by who read it.
select v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin,
       c.sha256 is not null as is_current, coalesce(w.at, r.at, v.created_at) as recorded_at
from version v
left join current_version c using (dataset, partition, sha256)
left join lateral (select max(ended_at) as at from run_output o join run using (run_id)
                   where (o.dataset, o.partition, o.sha256) = (v.dataset, v.partition, v.sha256)) w on true
left join lateral (select max(started_at) as at from run_input i join run using (run_id)
                   where (i.dataset, i.partition, i.sha256) = (v.dataset, v.partition, v.sha256)) r on true
where (%(dataset)s::text is null or v.dataset = %(dataset)s)
  and (%(partition)s::text is null or v.partition = %(partition)s)
  and (%(file)s::jsonb is null or v.files @> %(file)s)
order by v.dataset, v.partition, is_current desc, recorded_at desc;

-- name: outputs_of_run
select v.dataset, v.partition, v.sha256, v.files, v.row_count, v.fields, v.origin,
       c.sha256 is not null as is_current, w.ended_at as recorded_at
from written w join version v using (dataset, partition, sha256)
left join current_version c using (dataset, partition, sha256)
where w.run_id = %(run_id)s
order by w.dataset like '%%.quarantine';

-- name: bundle_of
select model, digest, dataset, run_id, metrics from bundle where dataset = %(dataset)s and digest = %(digest)s;

-- name: reached_outputs
-- What was written by runs that read one of these versions (if times are given: while a run was the last to have written
-- it), or read what such a run had written (unless not `onward`).
-- The same bytes may have been written by several runs: what is read rests on the last of them, until the next.
with recursive
asked as (
    select dataset, partition, sha256, coalesce(since, '-infinity') as since, coalesce(until, 'infinity') as until
    from jsonb_to_recordset(%(versions)s)
        as a (dataset text, partition text, sha256 text, since timestamptz, until timestamptz)
),
reached (run_id) as (
    select i.run_id from asked join run_input i using (dataset, partition, sha256) join run r using (run_id)
    where r.started_at >= asked.since and r.started_at < asked.until
    union
    select i.run_id
    from reached join written w using (run_id)
    join run_input i on (i.dataset, i.partition, i.sha256) = (w.dataset, w.partition, w.sha256)
    join run r on r.run_id = i.run_id
    where %(onward)s and r.started_at >= w.since and r.started_at < w.until
)
select w.dataset, w.partition, w.sha256, w.run_id, w.step, w.ended_at, w.since::text, w.until::text,
       v.row_count, b.model, c.run_id is not null as is_current
from reached
-- One by one: how many are reached cannot be guessed, and a join planned for a few is slow for many.
cross join lateral (select * from written where written.run_id = reached.run_id offset 0) w
cross join lateral (select row_count from version v
                    where (v.dataset, v.partition, v.sha256) = (w.dataset, w.partition, w.sha256) offset 0) v
left join bundle b on b.dataset = w.dataset and b.digest = w.sha256
left join current_version c
    on (c.dataset, c.partition, c.sha256, c.run_id) = (w.dataset, w.partition, w.sha256, w.run_id)
order by w.dataset, w.partition, w.ended_at desc;

-- name: used_runs
-- Those of these runs whose output was predicted from while they were the last that had written it, or is a bundle that
-- answers, may answer, or has answered.
select w.run_id
from written w
where w.run_id = any(%(runs)s)
  and (exists (select from prediction_row r join prediction p using (prediction_id)
               where (r.dataset, r.partition, r.sha256) = (w.dataset, w.partition, w.sha256)
                 and p.made_at >= w.since and p.made_at < w.until)
       or exists (select from bundle b
                  where b.dataset = w.dataset and b.digest = w.sha256
                    and (exists (select from model_alias a where (a.model, a.digest) = (b.model, b.digest))
                         or exists (select from prediction p where (p.model, p.digest) = (b.model, b.digest)))));

-- name: failed_readers
-- Steps that read one of these versions (in its time) and failed, and have not succeeded since; each partition's last
-- failure.
select distinct on (r.step, r.partition) r.step, r.partition, i.name as input, r.error
from jsonb_to_recordset(%(versions)s)
    as g (dataset text, partition text, sha256 text, since timestamptz, until timestamptz)
join run_input i on (i.dataset, i.partition, i.sha256) = (g.dataset, g.partition, g.sha256)
join run r on r.run_id = i.run_id and r.state = 'FAIL' and r.started_at >= g.since and r.started_at < g.until
where not exists (select from run later where later.step = r.step and later.partition = r.partition
                  and later.state = 'COMPLETE' and later.ended_at > r.ended_at)
order by r.step, r.partition, r.ended_at desc;

-- name: deployments
-- The bundles among these, which of them answers, and what was ever decided on them.
select b.model, b.dataset, b.digest, b.run_id, b.created_at,
       (select coalesce(array_agg(a.alias order by a.alias), '{}') from model_alias a
        where (a.model, a.digest) = (b.model, b.digest)) as aliases,
       (select coalesce(jsonb_agg(jsonb_build_object('promoted', p.promoted, 'decided_by', p.decided_by,
                                                     'decided_at', p.decided_at) order by p.promotion_id), '[]')
        from promotion p where (p.model, p.digest) = (b.model, b.digest)) as decisions
from jsonb_to_recordset(%(bundles)s) as given (dataset text, sha256 text)
join bundle b on b.dataset = given.dataset and b.digest = given.sha256
order by b.model, b.created_at desc;

-- name: reached_predictions
-- Predictions by these bundles, from these versions, or from these rows (made while they held what was asked about);
-- all are counted, some listed: oldest first, so that a page stays what it was while others are made.
with asked as materialized (
    -- Once: hundreds of thousands of positions must not be taken out of JSON again for each prediction.
    select g.dataset, g.partition, g.sha256, g.since, g.until, at.value::bigint as position
    from jsonb_to_recordset(%(rows)s) as g (dataset text, partition text, sha256 text, since timestamptz,
                                            until timestamptz, positions jsonb)
    cross join lateral jsonb_array_elements_text(g.positions) at
),
found as (
    select p.prediction_id, r.ordinal, p.made_at, g.through = 'model' as by_model, g.through = 'training' as by_training,
           false as by_features
    from jsonb_to_recordset(%(bundles)s)
        as g (dataset text, sha256 text, through text, since timestamptz, until timestamptz)
    join bundle b on b.dataset = g.dataset and b.digest = g.sha256
    join prediction p on p.model = b.model and p.digest = b.digest and p.made_at >= g.since and p.made_at < g.until
    join prediction_row r on r.prediction_id = p.prediction_id
    union all
    select p.prediction_id, r.ordinal, p.made_at, false, false, true
    from jsonb_to_recordset(%(versions)s)
        as g (dataset text, partition text, sha256 text, since timestamptz, until timestamptz)
    join prediction_row r using (dataset, partition, sha256)
    join prediction p on p.prediction_id = r.prediction_id and p.made_at >= g.since and p.made_at < g.until
    union all
    select p.prediction_id, r.ordinal, p.made_at, false, false, true
    from asked join prediction_row r using (dataset, partition, sha256, position)
    join prediction p on p.prediction_id = r.prediction_id and p.made_at >= asked.since and p.made_at < asked.until
),
each as materialized (
    select prediction_id, ordinal, made_at, bool_or(by_model) as by_model, bool_or(by_training) as by_training,
           bool_or(by_features) as by_features
    from found group by prediction_id, ordinal, made_at
),
page as (
    select made_at, prediction_id, ordinal,
           array_remove(array[case when by_model then 'model' end, case when by_training then 'training' end,
                              case when by_features then 'features' end], null) as through,
           (select count(*) from prediction_row r where r.prediction_id = each.prediction_id) as row_count
    from each order by made_at, prediction_id, ordinal limit %(limit)s offset %(offset)s
)
select count(*) as count, count(*) filter (where by_model) as model, count(*) filter (where by_training) as training,
       count(*) filter (where by_features) as features,
       (select coalesce(jsonb_agg(jsonb_build_object(
            'id', prediction_id || case when row_count = 1 then '' else '.' || ordinal end,
            'through', through) order by made_at, prediction_id, ordinal), '[]') from page) as listed
from each;

-- name: described_versions
select v.dataset, v.partition, v.sha256, v.row_count, c.sha256 is not null as is_current
from jsonb_to_recordset(%(versions)s) as g (dataset text, partition text, sha256 text)
join version v using (dataset, partition, sha256)
left join current_version c using (dataset, partition, sha256)
order by v.dataset, v.partition, v.sha256;
