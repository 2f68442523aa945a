//! The board, used by one at a time. `tests/model` has every order of several.

use super::hold_board::HoldBoard;
use crate::domain::hold::{Hold, HoldKey};
use chrono::{TimeDelta, Utc};

fn hold(key: HoldKey) -> Hold {
    let kind = key.kind();
    Hold { key, kind, since: Utc::now(), until: None, probe_at: None, message: String::new(), met: 1 }
}

#[test]
fn a_copy_that_is_older_than_what_was_noted_here_is_not_taken() {
    let (board, account, now) = (HoldBoard::default(), HoldKey::account("AC1"), Utc::now());
    assert!(!board.lets_claim(), "nothing is known yet");
    let before = board.noted();
    board.note(&hold(account.clone()));
    assert!(!board.replace(before, Vec::new()));
    assert_eq!(board.first([&HoldKey::storage(), &account], now).map(|hold| hold.key), Some(account.clone()));
    assert!(board.replace(board.noted(), vec![hold(HoldKey::storage())]));
    assert_eq!(board.first([&account], now), None);
    assert!(!board.lets_claim());
    assert!(board.replace(board.noted(), Vec::new()) && board.lets_claim());
}

#[test]
fn a_hold_whose_time_is_over_stands_no_more_though_the_copy_has_it() {
    let (board, rate, now) = (HoldBoard::default(), HoldKey::rate("AC1"), Utc::now());
    board.note(&Hold { until: Some(now), ..hold(rate.clone()) });
    assert_eq!(board.first([&rate], now), None);
    assert!(board.first([&rate], now - TimeDelta::seconds(1)).is_some());
}

#[test]
fn answers_are_told_once() {
    let (board, host) = (HoldBoard::default(), HoldKey::host("h"));
    board.credit(&host);
    board.credit(&host);
    assert_eq!(board.take_answers_of(&host), 2);
    board.credit(&host);
    assert_eq!(board.take_answers(), [(host, 1)]);
    assert_eq!(board.take_answers(), []);
}
