//! What this process's threads share, under every order in which they can come. The board is compiled here once more, with
//! locks that hand over where the schedule says so.

use callspool::domain::hold::{Hold, HoldKey};
use chrono::Utc;
use hold_board::HoldBoard;
use shuttle::{
    sync::{Arc, Mutex},
    thread,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[allow(dead_code, reason = "the rest of it is used elsewhere")]
#[path = "../../src/actors/hold_board.rs"]
mod hold_board;

/// The holds that the fleet knows.
type Fleet = Arc<Mutex<Vec<Hold>>>;

fn hold(key: HoldKey) -> Hold {
    let kind = key.kind();
    Hold { key, kind, since: Utc::now(), until: None, probe_at: None, message: String::new(), met: 1 }
}

/// A worker that failed: the fleet first, then the board.
fn meet(fleet: &Fleet, board: &HoldBoard, key: HoldKey) {
    let hold = hold(key);
    fleet.lock().unwrap().push(hold.clone());
    board.note(&hold);
}

/// The keeper's copy.
fn refresh(fleet: &Fleet, board: &HoldBoard) -> bool {
    let noted = board.noted();
    let holds = fleet.lock().unwrap().clone();
    board.replace(noted, holds)
}

/// As it would be if the keeper counted only when it has the copy.
fn refresh_and_count_late(fleet: &Fleet, board: &HoldBoard) -> bool {
    let holds = fleet.lock().unwrap().clone();
    board.replace(board.noted(), holds)
}

/// Two workers meet a hold each while the keeper copies: afterwards both stand on the board.
fn two_workers_and_a_keeper(copy: fn(&Fleet, &HoldBoard) -> bool) {
    let (fleet, board) = (Fleet::default(), HoldBoard::default());
    let keys = [HoldKey::account("AC1"), HoldKey::storage()];
    let workers = keys.clone().map(|key| {
        let (fleet, board) = (fleet.clone(), board.clone());
        thread::spawn(move || meet(&fleet, &board, key))
    });
    let keeper = {
        let (fleet, board) = (fleet.clone(), board.clone());
        thread::spawn(move || copy(&fleet, &board))
    };
    for worker in workers {
        worker.join().unwrap();
    }
    keeper.join().unwrap();
    for key in &keys {
        assert!(board.first([key], Utc::now()).is_some(), "{key:?} is forgotten");
    }
    assert!(!board.lets_claim(), "the storage is full");
    assert!(copy(&fleet, &board), "nobody notes anything now");
    assert_eq!(board.first(&keys, Utc::now()).map(|hold| hold.key), Some(keys[0].clone()));
}

/// A worker counts answers while the keeper tells them: each is told once.
fn answers_are_told_once() {
    let board = HoldBoard::default();
    let host = HoldKey::host("h");
    let workers = [(); 2].map(|()| {
        let (board, host) = (board.clone(), host.clone());
        thread::spawn(move || board.credit(&host))
    });
    let one = {
        let (board, host) = (board.clone(), host.clone());
        thread::spawn(move || board.take_answers_of(&host))
    };
    let all: u32 = board.take_answers().iter().map(|(_, count)| count).sum();
    for worker in workers {
        worker.join().unwrap();
    }
    let told = one.join().unwrap() + all + board.take_answers_of(&host);
    assert_eq!(told, 2);
}

#[test]
fn a_hold_that_a_worker_met_stays_on_the_board_in_whatever_order_it_is_copied() {
    let orders = shuttle::check_dfs(|| two_workers_and_a_keeper(refresh), None);
    assert!(orders > 100, "only {orders} orders were tried");
}

#[test]
fn a_keeper_that_counts_late_is_found_out() {
    let found = catch_unwind(AssertUnwindSafe(|| {
        shuttle::check_dfs(|| two_workers_and_a_keeper(refresh_and_count_late), None);
    }));
    assert!(found.is_err(), "no order showed the mistake that was planted");
}

#[test]
fn good_answers_are_told_once_in_whatever_order_they_are_counted() {
    let orders = shuttle::check_dfs(answers_are_told_once, None);
    assert!(orders > 100, "only {orders} orders were tried");
}
