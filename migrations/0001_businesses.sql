-- Businesses: the ring that claims walk.
--
-- One row a tenant, made when its first bell is read. `running` is the number of its leases, over the whole fleet, and
-- is written only by who holds the row's lock: claim, settle, reap. `has_more` says that ready jobs may be there; the
-- claim clears it under the lock when it finds fewer than it wanted, the doorbell sets it.
--
-- Changes of `running` stay HOT: the only other index is partial on `runnable`, which seldom changes, and half of each
-- page is kept free. `ready` and `scheduled` lag by what still lies in the doorbell; they exist so that nobody counts
-- over the backlog.

create table business (
    business_id bigint primary key check (business_id > 0),
    max_slots integer not null check (max_slots between 0 and 10000),
    weight smallint not null default 1 check (weight between 1 and 100),
    paused boolean not null default false,
    running integer not null default 0 check (running >= 0),
    has_more boolean not null default false,
    ready bigint not null default 0,
    scheduled bigint not null default 0,
    done bigint not null default 0,
    cancelled bigint not null default 0,
    dead bigint not null default 0,
    runnable boolean generated always as (has_more and not paused and running < max_slots) stored
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

create index business_runnable on business (business_id) where runnable;
