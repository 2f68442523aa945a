-- no-transaction
-- callspool: lock_timeout=0 statement_timeout=0 compatible=true
--
-- The retention's way to the oldest recordings of a business, built while everybody works.

create index concurrently if not exists recordings_kept on recordings (business_id, stored_at)
    where deleted_at is null and not legal_hold;
