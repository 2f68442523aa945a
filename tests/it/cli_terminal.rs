//! What a person sees on a terminal, and what a script reads in a pipe.

use crate::support::{
    Database,
    gate::Folder,
    new_job,
    process::Setup,
    terminal::{On, Shown},
};
use callspool::store::JobBook;

const RED: &str = "\u{1b}[31m";

/// Two jobs of which one is dead after an error that fills a line.
async fn setup() -> (Database, Setup) {
    let database = Database::migrated().await;
    let store = database.store();
    store.enqueue(&[new_job(1, 1), new_job(1, 2)]).await.unwrap();
    store.close().await;
    let long = "the provider answered 500 ".repeat(7);
    database
        .run(&format!(
            "insert into callspool.job_history (job_id, business_id, call_sid, job_type, state, attempt, max_attempts,
                 priority, enqueued_at, finished_at, error_code, error_message)
             values (900, 1, 'CA{}', 'download_only', 'dead', 8, 8, 5, now(), now(), 'http_status', '{long}')",
            "9".repeat(30)
        ))
        .await;
    let setup = Setup::new(&database);
    (database, setup)
}

fn fits(shown: &Shown, columns: usize, what: &str) {
    assert!(shown.width() <= columns, "{what} at {columns}: {} columns in\n{}", shown.width(), shown.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_fits_the_terminal_and_has_colour_there_and_is_whole_and_plain_in_a_pipe() {
    let (_database, setup) = setup().await;
    for columns in [200, 120, 80, 60, 40, 20] {
        let shown = setup.show(&["jobs", "list"], columns, On::Output, "").await;
        assert_eq!(shown.code, 0, "{shown:?}");
        fits(&shown, columns.into(), "jobs list");
        assert!(shown.raw.contains(&format!("{RED}dead")), "{shown:?}");
        assert!(shown.text().contains("900") && shown.text().contains("500"), "{}", shown.text());
        // As a table, as soon as one fits.
        assert_eq!(shown.lines()[0].contains("LAST ERROR"), columns >= 80, "{}", shown.text());
    }
    let piped = setup.say(&["jobs", "list"]).await;
    assert!(!piped.out.contains('\u{1b}') && !piped.out.contains('…'), "{}", piped.out);
    let row = piped.out.lines().find(|line| line.contains("900")).unwrap();
    assert!(row.contains(&"9".repeat(30)) && row.matches("the provider answered 500").count() == 7, "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_listed_or_shown_fits_a_narrow_terminal() {
    let (_database, setup) = setup().await;
    for arguments in [
        &["status"][..],
        &["jobs", "show", "900"],
        &["jobs", "explain", "900"],
        &["jobs", "explain", "1"],
        &["businesses", "list"],
        &["businesses", "set", "1", "--max-slots", "3"],
        &["businesses", "list"],
        &["businesses", "show", "1"],
        &["config", "show"],
        &["migrate", "status"],
    ] {
        let shown = setup.show(arguments, 60, On::Output, "").await;
        assert!(shown.code == 0 && !shown.text().is_empty(), "{arguments:?}: {shown:?}");
        fits(&shown, 60, &arguments.join(" "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_wants_no_colour_gets_any() {
    let (_database, setup) = setup().await;
    let setup = setup.var("NO_COLOR", "1");
    for arguments in [&["jobs", "list"][..], &["jobs", "explain", "900"], &["migrate", "status"]] {
        let shown = setup.show(arguments, 100, On::Output, "").await;
        assert!(!shown.raw.contains('\u{1b}'), "{shown:?}");
        fits(&shown, 100, &arguments.join(" "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_shows_how_many_jobs_are_enqueued() {
    let (_database, setup) = setup().await;
    let setup = setup.var("TWILIO_API_BASE", "http://127.0.0.1:1");
    let file = tempfile::NamedTempFile::new().unwrap();
    let line =
        |n| format!("{{\"business_id\": 42, \"call_sid\": \"CA{n}\", \"recording_url\": \"/Recordings/RE{n}\"}}\n");
    std::fs::write(file.path(), (1..=3_000).map(line).collect::<String>()).unwrap();
    let arguments = ["enqueue", "--file", file.path().to_str().unwrap()];
    let shown = setup.show(&arguments, 100, On::All, "").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.text().contains("of 3000 jobs enqueued"), "{}", shown.text());
    assert_eq!(shown.lines().iter().filter(|line| line.ends_with(" ready")).count(), 3_000);
    let piped = setup.say(&arguments).await;
    assert_eq!((piped.code, piped.err.as_str()), (0, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_shows_which_migration_runs() {
    let (database, folder) =
        (Database::empty().await, Folder::with(&[("1_slow.sql", "select pg_sleep(1);"), ("2_b.sql", "select 1;")]));
    let shown = Setup::application(&database, &folder).show(&["migrate", "run"], 120, On::All, "").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    for expected in ["migrations", "application 1: slow", "MIGRATION_DONE"] {
        assert!(shown.text().contains(expected), "{expected} is not in:\n{}", shown.text());
    }
    // The log's lines stand apart from the bar.
    assert!(
        shown.lines().iter().all(|line| !(line.contains("MIGRATION_") && line.contains("migrations  "))),
        "{}",
        shown.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_before_more_than_one_job_is_changed() {
    let (database, setup) = setup().await;
    let ready = "select count(*) from callspool.job_ready";
    for (typed, code, left) in [("\n", 1, 2_i64), ("n\n", 1, 2), ("yes\n", 0, 0)] {
        let shown = setup.show(&["jobs", "cancel", "--state", "ready"], 100, On::All, typed).await;
        assert!(shown.text().contains("cancel 2 jobs? [y/N]"), "{}", shown.text());
        assert_eq!((shown.code, database.one::<i64>(ready).await), (code, left), "{}", shown.text());
        assert_eq!(shown.text().contains("nothing was changed"), code == 1, "{}", shown.text());
    }
    let shown = setup.show(&["jobs", "retry", "--state", "cancelled", "--yes"], 100, On::All, "").await;
    assert!(shown.code == 0 && !shown.text().contains("[y/N]"), "{}", shown.text());
    let one = setup.show(&["jobs", "cancel", "1"], 100, On::All, "").await;
    assert!(one.code == 0 && !one.text().contains("[y/N]"), "{}", one.text());
}
