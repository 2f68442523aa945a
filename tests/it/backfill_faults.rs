//! The backfill actor that fails on purpose.

use crate::support::backfills::{Application, COUNT_UP, Folder, along_leads};

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_dies_anywhere_is_made_anew_and_goes_on() {
    for place in ["started", "io", "timer"] {
        for kind in ["panic", "error"] {
            let application = Application::with_leads(100).await;
            let folder = Folder::new([("count.sql", along_leads("batch=10 pause=0", COUNT_UP))]);
            let after = if place == "started" { 0 } else { 4 };
            let fault = format!(
                "[[faults]]\nactor = \"backfill\"\nplace = \"{place}\"\nkind = \"{kind}\"\nafter = {after}\n"
            );
            let process = folder.setup(&application.database).config(&fault).start();
            let is_down = |line: &serde_json::Value| line["marker"] == "ACTOR_DOWN" && line["actor"] == "backfill";
            process.line(&format!("{kind} in {place}"), is_down).await;
            assert_eq!(process.event("BACKFILL_DONE").await["rows"], 100, "{kind} in {place}");
            assert_eq!(application.counts().await, (100, 1, 1), "{kind} in {place}");
        }
    }
}
