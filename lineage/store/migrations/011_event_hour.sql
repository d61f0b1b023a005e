-- How many events of a type there are in each hour: to count millions takes seconds, to add up hours does not.
create table event_hour (
    hour timestamptz not null,
    event_type text not null,
    total bigint not null,
    primary key (hour, event_type)
);
insert into event_hour
select date_trunc('hour', event_time, 'UTC'), coalesce(event_type, ''), count(*) from event group by 1, 2;
