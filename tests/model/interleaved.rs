//! What this process's threads share, under every order in which they can come. The board is compiled here once more, with
//! locks that hand over where the schedule says so.

use callspool::domain::hold::{Hold, HoldKey};
use chrono::Utc;
use hold_board::HoldBoard;
use shuttle::{
    sync::{Arc, Mutex},
    thread,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

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

/// A worker meets a hold while the keeper copies: afterwards it stands on the board.
fn a_worker_and_a_keeper(copy: fn(&Fleet, &HoldBoard) -> bool) {
    let (fleet, board, storage) = (Fleet::default(), HoldBoard::default(), HoldKey::storage());
    let keeper = {
        let (fleet, board) = (fleet.clone(), board.clone());
        thread::spawn(move || copy(&fleet, &board))
    };
    meet(&fleet, &board, storage.clone());
    keeper.join().unwrap();
    assert!(board.first([&storage], Utc::now()).is_some(), "a hold is forgotten");
    assert!(!board.lets_claim(), "the storage is full");
}

/// A worker counts an answer while the keeper tells them: each is told once.
fn answers_are_told_once() {
    let (board, host) = (HoldBoard::default(), HoldKey::host("h"));
    board.credit(&host);
    let keeper = {
        let board = board.clone();
        thread::spawn(move || board.take_answers().iter().map(|(_, count)| count).sum::<u32>())
    };
    board.credit(&host);
    let told = board.take_answers_of(&host);
    assert_eq!(told + keeper.join().unwrap() + board.take_answers_of(&host), 2);
}

/// Goes through all orders; how many there were.
fn in_every_order(scene: fn()) -> usize {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = orders.clone();
    let counted_scene = move || {
        counted.fetch_add(1, Relaxed);
        scene();
    };
    shuttle::check_dfs(counted_scene, None);
    orders.load(Relaxed)
}

#[test]
fn a_hold_that_a_worker_met_stays_on_the_board_in_whatever_order_it_is_copied() {
    let orders = in_every_order(|| a_worker_and_a_keeper(refresh));
    assert!(orders > 10, "only {orders} orders were tried");
}

#[test]
fn a_keeper_that_counts_late_is_found_out() {
    let found = catch_unwind(AssertUnwindSafe(|| in_every_order(|| a_worker_and_a_keeper(refresh_and_count_late))));
    assert!(found.is_err(), "no order showed the mistake that was planted");
}

#[test]
fn good_answers_are_told_once_in_whatever_order_they_are_counted() {
    let orders = in_every_order(answers_are_told_once);
    assert!(orders > 10, "only {orders} orders were tried");
}
