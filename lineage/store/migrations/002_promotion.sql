-- Every decision on which version of a model answers: by the gate, or by hand. Refusals are kept as well.
-- A champion from before this table stays one; the next version that is trained is its first challenger.

create table promotion (
    promotion_id bigint generated always as identity primary key,
    model text not null,
    digest text not null,
    champion_before text,
    promoted boolean not null,
    decided_by text not null check (decided_by in ('gate', 'promote', 'rollback')),
    -- sha256 over everything that the decision rests on: the same facts are not decided twice.
    facts text not null,
    conditions jsonb not null,
    decided_at timestamptz not null default now(),
    foreign key (model, digest) references bundle,
    foreign key (model, champion_before) references bundle
);
create index promotion_by_model on promotion (model, promotion_id desc);
