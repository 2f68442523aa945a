//! What a request's conditions and its `Range` come to (RFC 9110, sections 13 and 14). Headers that make no sense count as
//! not sent.

use actix_web::{
    HttpRequest,
    http::{
        Method,
        header::{
            self, EntityTag, Header, HttpDate, IfMatch, IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince,
            Range,
        },
    },
};

/// What there is, as clients know it again.
#[derive(Debug)]
pub(super) struct Validators {
    /// A strong one.
    pub(super) etag: EntityTag,
    /// In whole seconds, as it is sent.
    pub(super) modified: HttpDate,
    /// Of all of it, in bytes; not 0.
    pub(super) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// From this byte to that one, both included.
    Part(u64, u64),
    /// The client has it.
    NotModified,
    /// The client's own condition does not hold.
    ConditionFailed,
    /// No byte of it is there.
    OutOfRange,
}

impl Wanted {
    pub(super) fn of(request: &HttpRequest, ours: &Validators) -> Self {
        if !may_go_on(request, ours) {
            return Self::ConditionFailed;
        }
        if has_it(request, ours) {
            return Self::NotModified;
        }
        // A Range is for GET only (section 14.2).
        if request.method() != Method::GET || !is_the_one_begun(request, ours) {
            return Self::All;
        }
        let Ok(Range::Bytes(ranges)) = Range::parse(request) else { return Self::All };
        // Several parts at a time may be answered with all of it, and nobody who plays audio asks for them.
        let [range] = ranges.as_slice() else { return Self::All };
        range.to_satisfiable_range(ours.size).map_or(Self::OutOfRange, |(first, last)| Self::Part(first, last))
    }
}

/// The bytes that are asked for of `size` of them, first and last, where it is a part: see [`crate::http::tried`].
pub(in crate::http) fn part(request: &HttpRequest, size: u64) -> Option<(u64, u64)> {
    let modified = (std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000)).into();
    match Wanted::of(request, &Validators { etag: EntityTag::new_strong("abc".to_owned()), modified, size }) {
        Wanted::Part(first, last) => Some((first, last)),
        _ => None,
    }
}

/// `If-Match`, else `If-Unmodified-Since`.
fn may_go_on(request: &HttpRequest, ours: &Validators) -> bool {
    if request.headers().contains_key(header::IF_MATCH) {
        return match IfMatch::parse(request) {
            Ok(IfMatch::Items(tags)) => tags.iter().any(|tag| tag.strong_eq(&ours.etag)),
            Ok(IfMatch::Any) | Err(_) => true,
        };
    }
    IfUnmodifiedSince::parse(request).map_or(true, |IfUnmodifiedSince(date)| ours.modified <= date)
}

/// `If-None-Match`, else `If-Modified-Since`.
fn has_it(request: &HttpRequest, ours: &Validators) -> bool {
    if request.headers().contains_key(header::IF_NONE_MATCH) {
        return match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&ours.etag)),
            Err(_) => false,
        };
    }
    IfModifiedSince::parse(request).is_ok_and(|IfModifiedSince(date)| ours.modified <= date)
}

/// `If-Range`: whether what the client has a part of is what we have.
fn is_the_one_begun(request: &HttpRequest, ours: &Validators) -> bool {
    if !request.headers().contains_key(header::IF_RANGE) {
        return true;
    }
    match IfRange::parse(request) {
        Ok(IfRange::EntityTag(tag)) => tag.strong_eq(&ours.etag),
        Ok(IfRange::Date(date)) => date == ours.modified,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use std::time::{Duration, SystemTime};

    const THEN: &str = "Thu, 01 Jan 1970 00:16:40 GMT";
    const BEFORE: &str = "Thu, 01 Jan 1970 00:16:39 GMT";
    const AFTER: &str = "Thu, 01 Jan 1970 00:16:41 GMT";

    fn wanted(method: Method, headers: &[(&'static str, &str)]) -> Wanted {
        let ours = Validators {
            etag: EntityTag::new_strong("abc".to_owned()),
            modified: (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)).into(),
            size: 100,
        };
        let request = TestRequest::default().method(method);
        let request = headers.iter().fold(request, |request, header| request.insert_header(*header));
        Wanted::of(&request.to_http_request(), &ours)
    }

    #[test]
    fn one_part_is_given_and_anything_else_is_all_of_it() {
        for (range, expected) in [
            ("bytes=0-9", Wanted::Part(0, 9)),
            ("bytes=90-", Wanted::Part(90, 99)),
            ("bytes=90-1000", Wanted::Part(90, 99)),
            ("bytes=-10", Wanted::Part(90, 99)),
            ("bytes=-1000", Wanted::Part(0, 99)),
            ("bytes=0-0", Wanted::Part(0, 0)),
            ("bytes=99-", Wanted::Part(99, 99)),
            ("bytes=100-", Wanted::OutOfRange),
            ("bytes=100-200", Wanted::OutOfRange),
            ("bytes=-0", Wanted::OutOfRange),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=5-2", Wanted::All),
            ("bytes=x-y", Wanted::All),
            ("bytes=99999999999999999999-", Wanted::All),
            ("seconds=1-2", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(wanted(Method::GET, &[("range", range)]), expected, "{range}");
            assert_eq!(wanted(Method::HEAD, &[("range", range)]), Wanted::All, "{range}");
        }
    }

    #[test]
    fn a_part_is_given_only_of_what_the_client_has_begun() {
        let part = Wanted::Part(0, 9);
        for (if_range, expected) in [
            ("\"abc\"", part.clone()),
            ("W/\"abc\"", Wanted::All),
            ("\"other\"", Wanted::All),
            (THEN, part),
            (BEFORE, Wanted::All),
            (AFTER, Wanted::All),
            ("nonsense", Wanted::All),
        ] {
            let headers = [("range", "bytes=0-9"), ("if-range", if_range)];
            assert_eq!(wanted(Method::GET, &headers), expected, "{if_range}");
        }
    }

    #[test]
    fn conditions_are_weighed_in_their_order() {
        for (headers, expected) in [
            (&[("if-none-match", "\"abc\"")][..], Wanted::NotModified),
            (&[("if-none-match", "\"x\", W/\"abc\"")], Wanted::NotModified),
            (&[("if-none-match", "*")], Wanted::NotModified),
            (&[("if-none-match", "\"abc\""), ("range", "bytes=0-9")], Wanted::NotModified),
            (&[("if-none-match", "\"x\"")], Wanted::All),
            (&[("if-none-match", "\"x\""), ("if-modified-since", AFTER)], Wanted::All),
            (&[("if-modified-since", THEN)], Wanted::NotModified),
            (&[("if-modified-since", BEFORE)], Wanted::All),
            (&[("if-modified-since", "soon")], Wanted::All),
            (&[("if-match", "\"abc\"")], Wanted::All),
            (&[("if-match", "*")], Wanted::All),
            (&[("if-match", "W/\"abc\"")], Wanted::ConditionFailed),
            (&[("if-match", "\"x\""), ("if-none-match", "\"abc\"")], Wanted::ConditionFailed),
            (&[("if-unmodified-since", BEFORE)], Wanted::ConditionFailed),
            (&[("if-unmodified-since", THEN)], Wanted::All),
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(wanted(method, headers), expected, "{headers:?}");
            }
        }
    }
}
