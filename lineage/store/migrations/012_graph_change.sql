-- Which nodes each transaction touched: one row, instead of an index over all nodes that every event writes to. A node
-- that is updated, but not in what indexes hold, stays on its page where that has room.
drop index graph_node_changed;
alter table graph_node drop column changed, set (fillfactor = 70);

create table graph_change (
    change_id bigint generated always as identity primary key,
    changed xid8 not null default pg_current_xact_id(),
    nodes uuid[] not null
);
create index graph_change_changed on graph_change (changed);
-- Who read the graph before the oldest row here has to read all of it.
insert into graph_change (nodes) values ('{}');

-- What feeds the columns of a dataset is read when it is asked for.
create index graph_columns_by_dataset on graph_columns (dataset);
