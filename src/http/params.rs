//! Parts of a path and parameters of a query, each refused by its name.

use super::problem::Problem;
use crate::domain::{
    enqueue_request::FieldFault,
    ids::{BusinessId, JobId},
    json_fields::{LEFT_SHOWN, not_shown},
};
use actix_web::HttpRequest;
use std::{borrow::Cow, fmt, ops::RangeInclusive, str::FromStr};
use url::form_urlencoded;

/// Rows of one page: what may be asked for, and what is given where nothing is.
pub(super) const PAGE: RangeInclusive<u16> = 1..=1_000;
pub(super) const PAGE_DEFAULT: u16 = 50;

pub(super) fn job_id(text: &str) -> Result<JobId, Problem> {
    let fault = || FieldFault::new("id", "id must be the whole number that enqueueing answered");
    text.parse().map(JobId).map_err(|_| Problem::invalid(vec![fault()]))
}

pub(super) fn business_id(text: &str) -> Result<BusinessId, Problem> {
    text.parse().map_err(|_| Problem::invalid(vec![FieldFault::new("id", "id must be a positive whole number")]))
}

/// What is left of a query, and what was wrong with what was taken.
pub(super) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    known: Vec<&'static str>,
    faults: Vec<FieldFault>,
}

impl<'a> Query<'a> {
    pub(super) fn of(request: &'a HttpRequest) -> Self {
        let pairs = form_urlencoded::parse(request.query_string().as_bytes()).collect();
        Self { pairs, known: Vec::new(), faults: Vec::new() }
    }

    pub(super) fn take<T: FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Option<T> {
        self.take_with(name, str::parse)
    }

    pub(super) fn take_with<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.known.push(name);
        let at = self.pairs.iter().position(|(other, _)| other == name)?;
        let (_, value) = self.pairs.remove(at);
        parse(&value).map_err(|error| self.faults.push(FieldFault::new(name, error))).ok()
    }

    pub(super) fn job(&mut self, name: &'static str) -> Option<JobId> {
        self.take_with(name, |text| {
            text.parse().map(JobId).map_err(|_| format!("{name} must be the id of a job, a whole number"))
        })
    }

    /// `limit`, as every list has it.
    pub(super) fn limit(&mut self) -> u16 {
        self.number("limit", PAGE).unwrap_or(PAGE_DEFAULT)
    }

    pub(super) fn number(&mut self, name: &'static str, allowed: RangeInclusive<u16>) -> Option<u16> {
        self.take_with(name, |text| {
            let number = text.parse().ok().filter(|number| allowed.contains(number));
            number.ok_or_else(|| {
                format!("{name} must be a whole number from {} to {}", allowed.start(), allowed.end())
            })
        })
    }

    /// After the last parameter was taken: what is left is wrong too.
    pub(super) fn end(mut self) -> Result<(), Problem> {
        let known = &self.known;
        let more = self.pairs.len().saturating_sub(LEFT_SHOWN);
        let left = self.pairs.iter().take(LEFT_SHOWN).map(|(name, _)| match known.as_slice() {
            known if known.contains(&name.as_ref()) => FieldFault::new(name.as_ref(), "stands there twice"),
            [] => FieldFault::new(name.as_ref(), "there is no such parameter; there are none"),
            known => FieldFault::new(
                name.as_ref(),
                format!("there is no such parameter; there are {}", known.join(", ")),
            ),
        });
        self.faults.extend(left);
        self.faults.extend(not_shown("parameters", more));
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid(self.faults)) }
    }
}

/// `after` of the page behind this one; none behind a page that is not full.
pub(super) fn next<T, Id>(page: &[T], limit: u16, id: impl FnOnce(&T) -> Id) -> Option<Id> {
    page.last().filter(|_| page.len() == usize::from(limit)).map(id)
}

/// For a route without parameters.
pub(super) fn none(request: &HttpRequest) -> Result<(), Problem> {
    Query::of(request).end()
}
