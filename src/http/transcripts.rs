//! `/v1/transcripts`: what was said, found by its words.

use super::{
    HttpDeps,
    params::{self, Query},
    problem::Problem,
};
use crate::domain::{
    access::Scope,
    enqueue_request::FieldFault,
    ids::BusinessId,
    transcript::{InvalidQuestion, Question, TranscriptFound, TranscriptPlace, TranscriptSearch},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Transcripts of one page: what may be asked for, and what is given where nothing is.
const PAGE: std::ops::RangeInclusive<u16> = 1..=100;
const PAGE_DEFAULT: u16 = 20;

/// A page of transcripts, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct TranscriptsPage {
    transcripts: Vec<TranscriptFound>,
    /// `after` of the next page; null on the last.
    next: Option<String>,
}

pub async fn search(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let mut query = Query::of(&request);
    let question = query.take::<Question>("q");
    let business_id = query.take::<BusinessId>("business_id");
    let limit = query.number("limit", PAGE).unwrap_or(PAGE_DEFAULT);
    let after = query.take::<TranscriptPlace>("after");
    query.end()?;
    let missing = || Problem::invalid(vec![FieldFault::new("q", InvalidQuestion)]);
    let question = question.ok_or_else(missing)?;
    let search = TranscriptSearch { question, business_id, after, limit };
    let book = Arc::clone(&deps.transcripts);
    let transcripts = deps.on_io(async move { book.search_transcripts(&search).await }).await?;
    let next = params::next(&transcripts, limit, |found| found.place().to_string());
    Ok(HttpResponse::Ok().json(TranscriptsPage { transcripts, next }))
}
