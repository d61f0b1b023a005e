-- What a page says of each expectation of a check, in the order of `expectations`; null where it is not known (any more).

alter table check_result add column wording jsonb;
create index check_result_by_version on check_result (dataset, partition, sha256);
