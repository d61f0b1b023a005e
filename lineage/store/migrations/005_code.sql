-- What a run was computed with, so that a replay can name what has changed since: the digest of each definition that
-- its code reaches (once per code digest, which many runs share), and what the step declares beside its code.

create table code (
    digest text primary key,
    definitions jsonb not null
);

-- json and not jsonb: the order of a mapping, such as a source's columns, is part of what is declared.
alter table run add column declaration json;
