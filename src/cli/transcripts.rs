//! `callspool transcripts`: what was said in recordings, found by its words.

use super::{
    exit::Exit,
    jobs::checked_call_sid,
    output::{self, Format, or_dash},
    table::{Column, Table},
    times::age,
};
use crate::{
    app::Session,
    store::{
        BusinessId, CallSid, Lookup, Question, RecordingBook, RecordingFilter, RecordingSid, StoreError,
        TranscriptBook, TranscriptPlace, TranscriptSearch, TranscriptView,
    },
};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum TranscriptsCommand {
    /// Those with these words, the newest first; the next page goes on with --after
    ///
    /// All of the words have to stand there, as they are spoken; "a phrase" in quotation marks, OR, and -word for those
    /// without it are understood.
    Search(SearchArgs),
    /// The words of one recording, with their times
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct SearchArgs {
    /// What is looked for
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    /// Those of one business
    #[arg(long, value_name = "N")]
    business_id: Option<BusinessId>,
    /// Go on behind this place, as the page before names it
    #[arg(long, value_name = "PLACE")]
    after: Option<TranscriptPlace>,
    /// 1 to 100
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The call that was recorded: CA…
    call_sid: String,
    /// Whose, where several have the call
    #[arg(long, value_name = "N")]
    business_id: Option<BusinessId>,
    /// Which, where the call has several: RE…
    #[arg(long, value_name = "SID")]
    recording_sid: Option<String>,
    #[command(flatten)]
    format: Format,
}

pub fn transcripts(command: &TranscriptsCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        TranscriptsCommand::Search(args) => search(args, session),
        TranscriptsCommand::Show(args) => show(args, session),
    }
}

/// How the database says that a statement ran into its time limit.
const QUERY_CANCELED: &str = "57014";

fn search(args: &SearchArgs, session: &Session) -> anyhow::Result<Exit> {
    let question: Question = match args.words.join(" ").parse() {
        Ok(question) => question,
        Err(error) => return Ok(usage(&error, "give the words as they are spoken")),
    };
    let search = TranscriptSearch { question, business_id: args.business_id, after: args.after, limit: args.limit };
    let found = match session.io.block_on(session.store.search_transcripts(&search)) {
        Err(StoreError { sqlstate: Some(state), .. }) if state == QUERY_CANCELED => {
            output::complain("the database gave up: too many transcripts have these words");
            output::next("give more words, or one business by --business-id");
            return Ok(Exit::Failed);
        }
        found => found?,
    };
    if args.format.json {
        output::json(&found)?;
        return Ok(Exit::Done);
    }
    let mut table =
        Table::new([Column::word("CALL"), Column::number("BUSINESS"), Column::whole("AGE"), Column::text("WORDS")]);
    for it in &found {
        table.row([it.call_sid.to_string(), it.business_id.to_string(), age(it.made_at), it.snippet.clone()]);
    }
    table.print()?;
    if let (Some(last), true) = (found.last(), found.len() == usize::from(args.limit)) {
        output::hint(&format!("older ones: the same with --after {}", last.place()));
    }
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, session: &Session) -> anyhow::Result<Exit> {
    let Some(call_sid) = (match checked_call_sid(Some(&args.call_sid), session) {
        Ok(call_sid) => call_sid,
        Err(exit) => return Ok(exit),
    }) else {
        return Ok(Exit::Usage);
    };
    let form = session.settings.twilio.sid_form;
    let recording_sid = match args.recording_sid.as_deref().map(|sid| RecordingSid::parse(sid, form)).transpose() {
        Ok(recording_sid) => recording_sid,
        Err(error) => return Ok(usage(&error, "take it as `callspool jobs show` shows it")),
    };
    let filter = RecordingFilter { call_sid: call_sid.clone(), business_id: args.business_id, recording_sid };
    let (store, io) = (&session.store, &session.io);
    let transcript = match Lookup::stored(io.block_on(store.recordings(&filter))?) {
        Some(Lookup::Stored { recording, .. }) => {
            let of = (recording.business_id, &recording.call_sid, recording.recording_sid.as_ref());
            io.block_on(store.transcript(of.0, of.1, of.2))?
        }
        Some(Lookup::Ambiguous(businesses)) => {
            let ids: Vec<String> = businesses.iter().map(ToString::to_string).collect();
            output::complain(&format!("call {call_sid} is known for businesses {}", ids.join(", ")));
            output::next("say which by --business-id");
            return Ok(Exit::Usage);
        }
        _ => None,
    };
    let Some(transcript) = transcript else { return Ok(none(&call_sid)) };
    if args.format.json {
        output::json(&transcript)?;
    } else {
        print(&transcript)?;
    }
    Ok(Exit::Done)
}

fn usage(error: &dyn std::error::Error, next: &str) -> Exit {
    output::complain(&error.to_string());
    output::next(next);
    Exit::Usage
}

fn none(call_sid: &CallSid) -> Exit {
    output::complain(&format!("there is no transcript of call {call_sid}"));
    output::next(&format!(
        "`callspool jobs list --call-sid {call_sid}` says what becomes of it; a job of the type full makes one"
    ));
    Exit::Failed
}

/// Of the longest name.
const NAME_WIDTH: usize = 13;

fn print(transcript: &TranscriptView) -> anyhow::Result<()> {
    let TranscriptView { business_id, call_sid, recording_sid, job_id, text, language, model, segments, made_at } =
        transcript;
    output::fields(
        NAME_WIDTH,
        [
            ("call_sid", call_sid.to_string()),
            ("business_id", business_id.to_string()),
            ("recording_sid", or_dash(recording_sid.as_ref())),
            ("job_id", job_id.to_string()),
            ("language", or_dash(language.as_ref())),
            ("model", model.clone()),
            ("made_at", made_at.to_rfc3339()),
        ],
    )?;
    output::line("")?;
    if segments.is_empty() {
        output::fields(NAME_WIDTH, [("text", text.clone())])?;
    }
    for segment in segments {
        let times = format!("{:>NAME_WIDTH$}", format!("{:.1} s", segment.start));
        output::fields(NAME_WIDTH, [(times.as_str(), segment.text.clone())])?;
    }
    Ok(())
}
