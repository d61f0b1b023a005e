-- Which predictions rest on a row, or on any row, of a table's version: asked of every version that something reached.

create index prediction_row_by_version on prediction_row (dataset, partition, sha256, position);

-- Which version of which dataset a file's path names.

create index version_by_file on version using gin (files jsonb_path_ops);

-- From when until when a run was the last that had written these bytes: what was read or predicted from them then rests
-- on what that run had read. Whoever read them before any run ended, read what the first one wrote.

create view written as
select o.run_id, o.dataset, o.partition, o.sha256, r.step, r.ended_at, span.since, span.until
from run_output o
join run r using (run_id)
cross join lateral (
    select case when bool_or((other.ended_at, other.run_id) < (r.ended_at, r.run_id)) then r.ended_at
                else '-infinity' end as since,
           coalesce(min(other.ended_at) filter (where (other.ended_at, other.run_id) > (r.ended_at, r.run_id)),
                    'infinity') as until
    from run_output same join run other using (run_id)
    where (same.dataset, same.partition, same.sha256) = (o.dataset, o.partition, o.sha256)
) span;
