-- Transcripts are found by their words, within one business or in all of them.
-- callspool: compatible=true
--
-- `words` holds the business too, as the lexeme B42, so that one index answers both questions: what the parser makes of a
-- text is in lower case, and never that. A text that is too long for its words, or has too many of them, is found by its
-- beginning: one recording must not fail the settlement of a whole batch.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

create function transcript_words(p_business_id bigint, p_text text) returns tsvector
language plpgsql immutable as $$
declare
    business tsvector := pg_catalog.array_to_tsvector(array['B' || p_business_id]);
begin
    return pg_catalog.to_tsvector('pg_catalog.simple'::regconfig, p_text) || business;
exception when program_limit_exceeded then
    return pg_catalog.to_tsvector('pg_catalog.simple'::regconfig, left(p_text, 50000)) || business;
end $$;

drop index transcript_words;
alter table transcript drop column words;
alter table transcript
    add column words tsvector not null generated always as (transcript_words(business_id, text)) stored;
create index transcript_words on transcript using gin (words);
-- For words that stand in most of them: the newest are read until a page is full.
create index transcript_made on transcript (made_at, job_id);
create index transcript_business_made on transcript (business_id, made_at, job_id);

-- One page, the newest first, behind (p_made_at, p_job_id) where that is given. The marks around what was found stand
-- nowhere else in a snippet. A plan for these words: which index is the better one depends on how common they are.
create function transcript_search(
    p_question text, p_business_id bigint, p_made_at timestamptz, p_job_id bigint, p_limit integer
) returns table (
    business_id bigint, call_sid text, recording_sid text, job_id bigint, language text, made_at timestamptz, snippet text
)
language plpgsql stable set search_path from current set plan_cache_mode = force_custom_plan set jit = off as $$
#variable_conflict use_column
declare
    question tsquery := websearch_to_tsquery('simple', p_question);
    wanted tsquery := question;
begin
    -- Nothing that could be looked for.
    if numnode(question) = 0 then return; end if;
    if p_business_id is not null then
        wanted := question && ('''B' || p_business_id || '''')::tsquery;
    end if;
    return query
        select t.business_id, t.call_sid, t.recording_sid, t.job_id, t.language, t.made_at,
               ts_headline('simple', translate(left(t.text, 100000), '«»', '""'), question,
                           'StartSel=«, StopSel=», MaxFragments=2, MinWords=6, MaxWords=18, FragmentDelimiter=" … "')
          from (select * from transcript c
                 where c.words @@ wanted
                   and (p_business_id is null or c.business_id = p_business_id)
                   and (p_made_at is null or (c.made_at, c.job_id) < (p_made_at, p_job_id))
                 order by c.made_at desc, c.job_id desc limit p_limit) t
         order by t.made_at desc, t.job_id desc;
end $$;
