-- Which rows of its inputs each row of an output came from: files beside the table. They belong to the run and not to
-- the version, for equal bytes can come from other rows; positions count through the run's own inputs.

alter table run_output add column lineage jsonb not null default '[]';
