-- The signed manifest of each bundle: the bytes of its provenance file and of its signature. A bundle from before there
-- were signatures has neither, which is on record too: one that merely lacks its row was tampered with.

create table manifest (
    dataset text not null,
    sha256 text not null,
    body text,
    signature text,
    signed_at timestamptz,
    primary key (dataset, sha256),
    check ((body is null) = (signature is null))
);

insert into manifest (dataset, sha256) select distinct dataset, digest from bundle;

-- What gc took out of the cache, and when. Bytes that are written again are back; this stays.
create table freed_object (
    md5 text primary key,
    size_bytes bigint not null,
    freed_at timestamptz not null default now()
);
