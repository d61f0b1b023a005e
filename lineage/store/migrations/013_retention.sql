-- Retention (decision 017): what was pruned is marked, and left out of answers until it is brought back or removed for good.
-- What is drawn and asked as of a time is reckoned over marked rows as well: a mark changes no edge.

-- One row for each time that somebody pruned; its rows carry its `pruned_at`. Of the graph before `before` not all is told.
create table pruning (
    pruned_at timestamptz primary key,
    before timestamptz not null,
    purged_at timestamptz
);

alter table event add column pruned_at timestamptz;
alter table event_hour add column pruned bigint not null default 0;
create index event_shown on event (event_time, digest) where pruned_at is null;
create index event_pruned on event (event_id) where pruned_at is not null;

alter table graph_run add column pruned_at timestamptz;
drop index graph_run_by_job;
create index graph_run_by_job on graph_run (job, updated_at desc, run_id) where not designed and pruned_at is null;
create index graph_run_designed on graph_run (job, updated_at desc) where designed and pruned_at is null;
create index graph_run_pruned on graph_run (pruned_at) where pruned_at is not null;

-- Of versions that no run wrote (their job is the one of no name); what runs read and wrote goes with the run.
alter table graph_io add column pruned_at timestamptz;
create index graph_io_said on graph_io (dataset, seen_at) where job = '00000000-0000-0000-0000-000000000000';
create index graph_io_pruned on graph_io (pruned_at) where pruned_at is not null;

-- Runs that something outside the graph needs, written anew by whoever prunes.
create unlogged table graph_needed (
    job uuid not null,
    run_id uuid not null,
    rank int not null,
    reason text not null,
    primary key (job, run_id)
);

create function graph_node_id(kind text, namespace text, name text) returns uuid
language sql immutable parallel safe as $$
    select md5(kind || e'\t' || namespace || e'\t' || name)::uuid
$$;

-- Of each dataset what was written last before a time, what was written last as a version, and what was read last.
create function newest_of_datasets(datasets uuid[], before timestamptz)
returns table (run_id uuid, job uuid, dataset uuid) language sql stable as $$
    select newest.run_id, newest.job, asked.dataset
    from unnest(datasets) as asked (dataset)
    cross join lateral (
        (select i.run_id, i.job from graph_io i
         where i.dataset = asked.dataset and i.is_output and i.seen_at < before
         order by i.seen_at desc, i.run_id desc, i.job desc limit 1)
        union
        (select i.run_id, i.job from graph_io i left join graph_run r using (run_id, job)
         where i.dataset = asked.dataset and i.is_output and i.seen_at < before
           and (i.facets ? 'version' or r.state = 'COMPLETE')
         order by i.seen_at desc, i.run_id desc, i.job desc limit 1)
        union
        (select i.run_id, i.job from graph_io i
         where i.dataset = asked.dataset and not i.is_output and i.seen_at < before
         order by i.seen_at desc, i.run_id desc, i.job desc limit 1)
    ) newest
$$;

-- Of each job the run that spoke for it at a time, by the rule of its edges; the same among its runs alone, for a JobEvent
-- may speak; and its newest run.
create function newest_of_jobs(jobs uuid[], before timestamptz)
returns table (run_id uuid, job uuid) language sql stable as $$
    select newest.run_id, asked.job
    from unnest(jobs) as asked (job)
    cross join lateral (
        (select r.run_id from (
            (select s.run_id, s.settled from graph_run s
             where s.job = asked.job and s.has_io and s.settled and s.updated_at < before
             order by s.updated_at desc, s.run_id limit 1)
            union all
            (select s.run_id, s.settled from graph_run s
             where s.job = asked.job and s.has_io and not s.settled and s.updated_at < before
             order by s.updated_at desc, s.run_id limit 1)
         ) r order by r.settled desc limit 1)
        union
        (select r.run_id from (
            (select s.run_id, s.settled from graph_run s
             where s.job = asked.job and s.has_io and s.settled and s.updated_at < before and not s.designed
             order by s.updated_at desc, s.run_id limit 1)
            union all
            (select s.run_id, s.settled from graph_run s
             where s.job = asked.job and s.has_io and not s.settled and s.updated_at < before and not s.designed
             order by s.updated_at desc, s.run_id limit 1)
         ) r order by r.settled desc limit 1)
        union
        (select r.run_id from graph_run r
         where r.job = asked.job and not r.designed and r.pruned_at is null and r.updated_at < before
         order by r.updated_at desc, r.run_id limit 1)
    ) newest
$$;

-- What must stay of the runs of some jobs (and of the datasets that these ever touched), and why; the least rank is told.
create function kept_runs(jobs uuid[], before timestamptz)
returns table (run_id uuid, job uuid, rank int, reason text) language sql stable as $$
    select n.run_id, n.job, 0, 'newest of a job' from newest_of_jobs(jobs, before) n
    union all
    select n.run_id, n.job, 1, 'newest of a dataset'
    from newest_of_datasets(array(select distinct e.dataset from graph_edge e where e.job = any(jobs)), before) n
    union all
    select n.run_id, n.job, n.rank, n.reason from graph_needed n where n.job = any(jobs)
$$;

-- Whether a node of today rests on what was said of it at a time: the last that was, or a facet.
create function graph_node_rests_on(node_id uuid, said_at timestamptz) returns boolean language sql stable as $$
    select exists (
        select from graph_node n
        where n.node_id = graph_node_rests_on.node_id
          and (n.updated_at <= said_at
               or exists (select from jsonb_each(n.facets) facet where (facet.value->>0)::timestamptz = said_at)))
$$;

-- Whether an event stays: one of a run does if its run is there; what was declared if what it came to is there.
create function event_stays(e event) returns boolean language sql stable as $$
    select exists (select from relay where relay.event_id = e.event_id) or case e.kind
        when 'run' then exists (
            select from graph_run r where r.run_id = e.run_id::uuid and r.pruned_at is null)
        when 'job' then exists (
            select from graph_node_id('job', e.body #>> '{job,namespace}', e.body #>> '{job,name}') node_id
            where graph_node_rests_on(node_id, e.event_time) or exists (
                select from graph_run r
                where r.job = node_id and r.designed and r.pruned_at is null and r.updated_at = e.event_time))
        else exists (
            select from graph_node_id('dataset', e.body #>> '{dataset,namespace}', e.body #>> '{dataset,name}') node_id
            where graph_node_rests_on(node_id, e.event_time) or exists (
                select from graph_io i
                where i.run_id = md5(node_id || e'\t' || (e.body #>> '{dataset,facets,version,datasetVersion}'))::uuid
                  and i.job = '00000000-0000-0000-0000-000000000000' and i.dataset = node_id and i.is_output
                  and i.pruned_at is null))
        end
$$;
